// Opening a node: the descriptor, what it refers to, what the host can do for it, and the I/O half made of that.

import { BlockError, toBlockError } from '../../common/error.js'
import { defaultLimits, IOV_MAX, MAX_LENGTH } from '../../common/limits.js'
import { BDRV_O_NOCACHE } from '../../common/open-flags.js'
import { BDRV_REQ_MAY_UNMAP, BDRV_REQ_NO_FALLBACK, BDRV_REQ_ZERO_WRITE } from '../../common/request.js'
import type { OpenContext, OpenedNode } from '../../global-state/driver.js'
import { deviceParts, type HostFile, type HostStat } from '../../platform/host-file.js'
import type { NativeFileCalls } from '../../platform/native/file-calls.js'
import { type DirectAlignment, probeDirectAlignment } from './alignment.js'
import { type CacheDoors, findCacheDoors, NO_CACHE_DOORS } from './cache-doors.js'
import { Descriptor } from './descriptor.js'
import { openHostPath, refuseOtherThanImage } from './host-open.js'
import { createImageLocks } from './image-locks.js'
import { createFileIo } from './io.js'
import { type OpenFile, registerOpenFile } from './open-file.js'
import type { FileOptions } from './options.js'
import type { FilePlatform } from './platform.js'

/** Opens the file `options` name. */
export async function openFileNode(
  platform: FilePlatform,
  context: OpenContext,
  options: FileOptions,
): Promise<OpenedNode<OpenFile>> {
  const native = await nativeCalls(platform, context, options)
  const direct = (context.openFlags & BDRV_O_NOCACHE) !== 0
  const { fd, writable } = await openForContext(platform.host, context, options.filename, direct)
  try {
    const stat = await platform.host.stat(fd)
    refuseOtherThanImage(stat, options.filename, options['host-device'])
    if (stat.size > MAX_LENGTH)
      throw new BlockError('EFBIG', `the file is longer than ${MAX_LENGTH} bytes`, { op: 'open' })
    const alignment = await directAlignment(platform.host, fd, direct)
    const cacheDoors = await findCacheDoors(platform, native, options.aio, fd, stat.kind)
    const found = { fd, stat, writable, direct, alignment, cacheDoors }
    const file = describeFile(platform.host, native, context.nodeName, options, found)
    const io = createFileIo(file, context.node)
    registerOpenFile(io, file)
    return {
      io,
      state: file,
      limits: fileLimits(file),
      zeroFlags: native === undefined ? 0 : BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK,
      truncateFlags: stat.kind === 'file' ? BDRV_REQ_ZERO_WRITE : 0,
    }
  } catch (thrown) {
    await platform.host.close(fd).catch(() => {
      // The reason why the open failed is the one to report.
    })
    throw toBlockError(thrown, { node: context.nodeName, op: 'open' })
  }
}

/** The alignments a descriptor needs; 1 unless it is direct. */
export function directAlignment(host: HostFile, fd: number, direct: boolean): Promise<DirectAlignment> {
  return direct ? probeDirectAlignment(host, fd) : Promise.resolve({ request: 1, memory: 1 })
}

/** Limits of an open file. */
export function fileLimits(file: OpenFile): { requestAlignment: number; minMemAlignment: number; maxIov: number } {
  const { minMemAlignment } = defaultLimits()
  return {
    requestAlignment: file.requestAlignment,
    minMemAlignment: file.direct ? file.memoryAlignment : minMemAlignment,
    maxIov: IOV_MAX,
  }
}

/** What a descriptor turned out to be. */
export interface FoundFile {
  fd: number
  stat: HostStat
  writable: boolean
  direct: boolean
  alignment: DirectAlignment
  cacheDoors: CacheDoors
}

/** The state of a node over a descriptor, which it owns from here on. */
export function describeFile(
  host: HostFile,
  native: NativeFileCalls | undefined,
  nodeName: string,
  options: Pick<FileOptions, 'filename' | 'locking'>,
  found: FoundFile,
): OpenFile {
  const { stat, direct, cacheDoors } = found
  const { major, minor } = deviceParts(stat.targetDevice)
  return {
    nodeName,
    path: options.filename,
    identity: { device: stat.device, inode: stat.inode },
    host,
    native,
    device: stat.kind === 'block-device' ? `${major}:${minor}` : undefined,
    locks: native === undefined || options.locking === 'off' ? undefined : createImageLocks(native.locks),
    cacheDoors,
    descriptor: new Descriptor(host, found.fd),
    writable: found.writable,
    direct,
    requestAlignment: found.alignment.request,
    memoryAlignment: found.alignment.memory,
    doors: direct ? NO_CACHE_DOORS : cacheDoors,
    otherCalls: 0,
    lacksZeroRange: false,
    lacksPunchHole: false,
    flushFailure: undefined,
  }
}

async function nativeCalls(
  platform: FilePlatform,
  context: OpenContext,
  options: FileOptions,
): Promise<NativeFileCalls | undefined> {
  const native = options.native ? await platform.native() : undefined
  if (native !== undefined) return native
  if (options.locking === 'on') {
    throw new BlockError('ENOTSUP', 'image locking needs native calls', {
      node: context.nodeName,
      op: 'open',
      hint: "install koffi (64-bit Linux), or set the option 'locking' to off",
    })
  }
  const lost = options.locking === 'off' ? '' : 'the image is not locked against other processes, '
  context.notice(
    `no native calls (koffi is not installed, turned off, or does not know this host): ${lost}holes are not seen or made, cached reads go to the thread pool`,
  )
  return undefined
}

async function openForContext(
  host: HostFile,
  context: OpenContext,
  path: string,
  direct: boolean,
): Promise<{ fd: number; writable: boolean }> {
  if (context.readOnly) return { fd: await openHostPath(host, path, { writable: false, direct }), writable: false }
  try {
    return { fd: await openHostPath(host, path, { writable: true, direct }), writable: true }
  } catch (thrown) {
    const error = toBlockError(thrown)
    if (error.code !== 'EACCES' && error.code !== 'EROFS' && error.code !== 'EPERM') throw error
    context.applyAutoReadOnly(error.code, error.message)
    return { fd: await openHostPath(host, path, { writable: false, direct }), writable: false }
  }
}
