// The ways into the host's cache that need no thread of the pool, and which of them a file has.

import type { HostFileKind } from '../../platform/host-file.js'
import type { NativeFileCalls } from '../../platform/native/file-calls.js'
import { CachedReads } from './cached-reads.js'
import { InlineWrites } from './inline-writes.js'
import { isOnLocalFileSystem } from './local-file-system.js'
import type { FileOptions } from './options.js'
import type { FilePlatform } from './platform.js'

/** What a file has as long as the cache is not bypassed. */
export interface CacheDoors {
  /** Reads that complete at once. */
  readonly cachedReads: CachedReads | undefined
  /** Writes that complete at once. */
  readonly inlineWrites: InlineWrites | undefined
}

/** None: every request goes to the pool. */
export const NO_CACHE_DOORS: CacheDoors = { cachedReads: undefined, inlineWrites: undefined }

/** The doors of an open file of this kind. */
export async function findCacheDoors(
  platform: FilePlatform,
  native: NativeFileCalls | undefined,
  aio: FileOptions['aio'],
  fd: number,
  kind: HostFileKind,
): Promise<CacheDoors> {
  if (native === undefined || aio === 'threads') return NO_CACHE_DOORS
  const { host, now } = platform
  const cachedReads = new CachedReads(native.readCached)
  // Nobody knows how far away the disk behind a device file is.
  const writes = aio === 'inline' && kind === 'file' && (await isOnLocalFileSystem(host, fd))
  return { cachedReads, inlineWrites: writes ? new InlineWrites(native.writeCached, now) : undefined }
}
