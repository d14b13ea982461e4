// Reads and writes between a buffer and the page cache, made by the calling thread itself: preadv2 and pwritev2 (readv(2)).

import type { Bytes } from '../../common/io-vector.js'
import { createIovecList } from './iovec-list.js'
import type { Libc } from './libc.js'

/** The data is not in the cache (or the call would wait for another reason); ask the pool. */
export const READ_WOULD_WAIT = -1
/** This file cannot be read in this way. */
export const READ_UNSUPPORTED = -2

/**
 * Reads into `into` (at most `IOVEC_SEGMENTS` segments) what the cache has of it, from its start: the count of bytes, 0 at the
 * end of the file, or one of the constants. Never waits for a disk (RWF_NOWAIT).
 */
export type ReadCached = (fd: number, into: Bytes, offset: number) => number

/**
 * Writes `data` (at most `IOVEC_SEGMENTS` segments) and returns how many bytes of it, from its start, are written; less than
 * all where the host did not take the rest. It waits as long as the host makes it: file systems that take RWF_NOWAIT for
 * writes into the cache are few.
 */
export type WriteCached = (fd: number, data: Bytes, offset: number) => number

const RWF_NOWAIT = 8
const EAGAIN = 11

/** Makes the function for one process. */
export function createReadCached(libc: Libc): ReadCached {
  const { preadv2, errno } = libc
  const iovec = createIovecList(libc)
  return (fd, into, offset) => {
    const got = preadv2(fd, iovec.address, iovec.fill(into), offset, RWF_NOWAIT)
    if (got >= 0) return got
    // Any other error is left to the pool's read, which reports it with its name.
    return errno() === EAGAIN ? READ_WOULD_WAIT : READ_UNSUPPORTED
  }
}

/** Makes the function for one process. */
export function createWriteCached(libc: Libc): WriteCached {
  const { pwritev2 } = libc
  const iovec = createIovecList(libc)
  // An error is left to the pool's write, which reports it with its name.
  return (fd, data, offset) => Math.max(0, pwritev2(fd, iovec.address, iovec.fill(data), offset, 0))
}
