// What native calls add for files, in one object: present or absent as a whole, so that a driver asks once.

import { createReadCached, createWriteCached, type ReadCached, type WriteCached } from './cached-transfer.js'
import { createFileAttributes, type FileAttributes } from './file-attributes.js'
import { createFileLocks, type FileLocks } from './file-locks.js'
import { createFileSpace, type FileSpace } from './file-space.js'
import { loadLibc } from './libc.js'

/** Native calls for files. */
export interface NativeFileCalls {
  readonly readCached: ReadCached
  readonly writeCached: WriteCached
  readonly space: FileSpace
  readonly locks: FileLocks
  readonly attributes: FileAttributes
  /** Where the first byte of `view` is in memory. */
  address(view: Uint8Array): number
}

let loading: Promise<NativeFileCalls | undefined> | undefined

/** The native calls of this process; undefined where the host or the installation has none (see `loadLibc`). */
export function loadNativeFileCalls(): Promise<NativeFileCalls | undefined> {
  loading ??= load()
  return loading
}

async function load(): Promise<NativeFileCalls | undefined> {
  const libc = await loadLibc()
  if (libc === undefined) return undefined
  return {
    readCached: createReadCached(libc),
    writeCached: createWriteCached(libc),
    space: createFileSpace(libc),
    locks: createFileLocks(libc),
    attributes: createFileAttributes(libc),
    address: libc.address,
  }
}
