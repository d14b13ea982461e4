// Reads that complete only where the page cache has the data: preadv2 with RWF_NOWAIT (readv(2)). Nothing is allocated per
// call: one iovec array is filled anew each time, and the address of a buffer is asked for once.

import { type Bytes, IoVector } from '../../common/io-vector.js'
import type { Libc } from './libc.js'

/** The data is not in the cache (or the call would wait for another reason); ask the pool. */
export const READ_WOULD_WAIT = -1
/** This file cannot be read in this way. */
export const READ_UNSUPPORTED = -2
/** Most segments of one cached read. */
export const CACHED_READ_SEGMENTS = 64

/**
 * Reads into `into` (at most {@link CACHED_READ_SEGMENTS} segments) what the cache has of it, from its start: the count of
 * bytes, 0 at the end of the file, or one of the constants. Never waits for a disk.
 */
export type ReadCached = (fd: number, into: Bytes, offset: number) => number

const RWF_NOWAIT = 8
const EAGAIN = 11
const TWO_32 = 0x1_0000_0000

/** Makes the function for one process. */
export function createReadCached(libc: Libc): ReadCached {
  const { preadv2, errno, address } = libc
  const iovec = new Uint32Array(4 * CACHED_READ_SEGMENTS)
  const iovecAddress = address(new Uint8Array(iovec.buffer))
  // A buffer's memory does not move while it is attached, and a detached one has views of length 0.
  const bases = new WeakMap<ArrayBufferLike, number>()

  function describe(index: number, view: Uint8Array): void {
    const { buffer } = view
    let base = bases.get(buffer)
    if (base === undefined) {
      base = address(view) - view.byteOffset
      bases.set(buffer, base)
    }
    const start = base + view.byteOffset
    iovec[index] = start >>> 0
    iovec[index + 1] = Math.floor(start / TWO_32)
    iovec[index + 2] = view.byteLength
  }

  function describeAll(vector: IoVector): number {
    const { buffers } = vector
    for (let i = 0; i < buffers.length; i++) describe(4 * i, buffers[i] as Uint8Array)
    return buffers.length
  }

  return (fd, into, offset) => {
    let count = 1
    if (into instanceof IoVector) count = describeAll(into)
    else describe(0, into)
    const got = preadv2(fd, iovecAddress, count, offset, RWF_NOWAIT)
    if (got >= 0) return got
    // Any other error is left to the pool's read, which reports it with its name.
    return errno() === EAGAIN ? READ_WOULD_WAIT : READ_UNSUPPORTED
  }
}
