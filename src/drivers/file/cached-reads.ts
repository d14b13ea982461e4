// When to try a read that completes at once. A try that misses costs as much as it saves when it hits; so after a run of
// misses tries are left out for a while, longer each time, until one hits again.

import { type Bytes, IoVector } from '../../common/io-vector.js'
import { KiB } from '../../common/units.js'
import { READ_UNSUPPORTED, type ReadCached } from '../../platform/native/cached-transfer.js'
import { IOVEC_SEGMENTS } from '../../platform/native/iovec-list.js'

/** Larger reads go to the pool: copying them holds up everybody longer than the way to another thread and back. */
const LARGEST_TRY = 128 * KiB
const MISSES_BEFORE_REST = 8
const LONGEST_REST = 1024

/** Tries cached reads on one file. */
export class CachedReads {
  readonly #readCached: ReadCached
  #misses = 0
  #rest = 0
  #nextRest = MISSES_BEFORE_REST
  #unsupported = false

  constructor(readCached: ReadCached) {
    this.#readCached = readCached
  }

  /** Reads what is cached of `into` from its start on and returns the count of bytes; 0 says: ask the pool. */
  tryRead(fd: number, into: Bytes, offset: number): number {
    if (this.#rest > 0) {
      this.#rest--
      return 0
    }
    if (into.length > LARGEST_TRY || this.#unsupported) return 0
    if (into instanceof IoVector && into.buffers.length > IOVEC_SEGMENTS) return 0
    const got = this.#readCached(fd, into, offset)
    if (got > 0) {
      this.#misses = 0
      this.#nextRest = MISSES_BEFORE_REST
      return got
    }
    this.#missed(got)
    return 0
  }

  #missed(got: number): void {
    if (got === READ_UNSUPPORTED) this.#unsupported = true
    if (++this.#misses < MISSES_BEFORE_REST) return
    // One try after each rest: it decides whether the next rest doubles.
    this.#misses = MISSES_BEFORE_REST - 1
    this.#rest = this.#nextRest
    this.#nextRest = Math.min(this.#nextRest * 2, LONGEST_REST)
  }
}
