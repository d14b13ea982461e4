// Where a file has data and holes, and changing that: lseek(2) SEEK_DATA and SEEK_HOLE, fallocate(2), copy_file_range(2).
// Seeks are made at once, since they touch only metadata; what can take long runs on the pool.

import { createCallLimit } from './call-limit.js'
import { type Libc, nativeError } from './libc.js'

/** Space of a file. All numbers are bytes; errors are BlockErrors with the code of the host. */
export interface FileSpace {
  /** Start of the first data at or after `offset`; undefined where there is only a hole up to the end. */
  seekData(fd: number, offset: number): number | undefined
  /** Start of the first hole at or after `offset`, the end of the file included; undefined at or behind the end. */
  seekHole(fd: number, offset: number): number | undefined
  /** Where the end is: the size of a block device too. */
  seekEnd(fd: number): number
  /** Allocates without changing what is read; grows the file if need be. */
  allocate(fd: number, offset: number, bytes: number): Promise<void>
  /** Makes a range zero and keeps or makes it allocated; grows the file if need be. */
  zeroRange(fd: number, offset: number, bytes: number): Promise<void>
  /** Makes a range a hole. Does not grow the file. */
  punchHole(fd: number, offset: number, bytes: number): Promise<void>
  /** Copies inside the host; the count of bytes copied, 0 at the end of the source. */
  copyRange(
    sourceFd: number,
    sourceOffset: number,
    targetFd: number,
    targetOffset: number,
    bytes: number,
  ): Promise<number>
}

const SEEK_END = 2
const SEEK_DATA = 3
const SEEK_HOLE = 4
const FALLOC_FL_KEEP_SIZE = 1
const FALLOC_FL_PUNCH_HOLE = 2
const FALLOC_FL_ZERO_RANGE = 16
const ENXIO = 6
const EINTR = 4

/** Makes the functions for one process. */
export function createFileSpace(libc: Libc): FileSpace {
  const limit = createCallLimit()

  function seek(fd: number, offset: number, whence: number): number | undefined {
    const found = libc.lseek(fd, offset, whence)
    if (found >= 0) return found
    const errno = libc.errno()
    if (errno === ENXIO && whence !== SEEK_END) return undefined
    throw nativeError(errno, 'lseek')
  }

  function fallocate(fd: number, mode: number, offset: number, bytes: number): Promise<void> {
    return limit(async () => {
      await called(libc, 'fallocate', (done) => libc.fallocate.async(fd, mode, offset, bytes, done))
    })
  }

  return {
    seekData: (fd, offset) => seek(fd, offset, SEEK_DATA),
    seekHole: (fd, offset) => seek(fd, offset, SEEK_HOLE),
    seekEnd: (fd) => seek(fd, 0, SEEK_END) ?? 0,
    allocate: (fd, offset, bytes) => fallocate(fd, 0, offset, bytes),
    zeroRange: (fd, offset, bytes) => fallocate(fd, FALLOC_FL_ZERO_RANGE, offset, bytes),
    punchHole: (fd, offset, bytes) => fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, bytes),
    copyRange: (sourceFd, sourceOffset, targetFd, targetOffset, bytes) =>
      limit(() => {
        const from = offsetCell(sourceOffset)
        const to = offsetCell(targetOffset)
        return called(libc, 'copy_file_range', (done) =>
          libc.copyFileRange.async(sourceFd, from, targetFd, to, bytes, 0, done),
        )
      }),
  }
}

function called(
  libc: Libc,
  what: string,
  call: (done: (error: Error | null, result: number) => void) => void,
): Promise<number> {
  return new Promise((resolve, reject) => {
    call((error, result) => {
      if (error !== null) reject(error)
      else if (result >= 0) resolve(result)
      else {
        const errno = libc.errno()
        if (errno === EINTR) resolve(called(libc, what, call))
        else reject(nativeError(errno, what))
      }
    })
  })
}

/** A loff_t in memory. */
function offsetCell(offset: number): Uint8Array {
  const cell = new Uint8Array(8)
  const view = new DataView(cell.buffer)
  view.setUint32(0, offset >>> 0, true)
  view.setUint32(4, Math.floor(offset / 0x1_0000_0000), true)
  return cell
}
