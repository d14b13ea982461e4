// When a write is made by the thread that asks for it: into the page cache it takes some microseconds, less than the way to
// another thread and back. Nobody can tell in advance whether the host will make it wait; so the time it took is counted
// against what such a write may take, and when the debt has grown writes go to the pool for a while, longer each time.

import { type Bytes, IoVector } from '../../common/io-vector.js'
import { KiB, MiB } from '../../common/units.js'
import type { WriteCached } from '../../platform/native/cached-transfer.js'
import { IOVEC_SEGMENTS } from '../../platform/native/iovec-list.js'

const LARGEST = MiB
/** The host may have to read the rest of a page that is written in part. */
const PAGE_BYTES = 4 * KiB
/** What a write may take: so many milliseconds, and so many for each byte. */
const EACH_MS = 0.1
const BYTE_MS = 1 / MiB
/** Milliseconds beyond that, of all writes together, which end the writing by this thread. */
const MOST_DEBT_MS = 10
/** Writes that then go to the pool; doubled each time, halved after so many quick ones. */
const FIRST_REST = 64
const LONGEST_REST = 16 * KiB
const QUICK_WRITES = 1024

/** Makes writes of one file at once where that is likely to be quick. */
export class InlineWrites {
  readonly #writeCached: WriteCached
  /** Milliseconds of a clock that never goes back. */
  readonly #now: () => number
  #debt = 0
  #quick = 0
  #rest = 0
  #nextRest = FIRST_REST

  constructor(writeCached: WriteCached, now: () => number) {
    this.#writeCached = writeCached
    this.#now = now
  }

  /** Writes `data` from its start on and returns the count of bytes written; the rest, which may be all of it, is the pool's. */
  tryWrite(fd: number, data: Bytes, offset: number): number {
    if (!isFit(data, offset)) return 0
    if (this.#rest > 0) {
      this.#rest--
      return 0
    }
    const start = this.#now()
    const written = this.#writeCached(fd, data, offset)
    this.#count(this.#now() - start - EACH_MS - data.length * BYTE_MS)
    return written
  }

  /** `late`: milliseconds more than a write may take; negative where it was quick. */
  #count(late: number): void {
    this.#debt = Math.max(0, this.#debt + late)
    if (this.#debt > MOST_DEBT_MS) {
      this.#debt = 0
      this.#quick = 0
      this.#rest = this.#nextRest
      this.#nextRest = Math.min(this.#nextRest * 2, LONGEST_REST)
    } else if (late <= 0 && ++this.#quick === QUICK_WRITES) {
      this.#quick = 0
      this.#nextRest = Math.max(this.#nextRest / 2, FIRST_REST)
    }
  }
}

function isFit(data: Bytes, offset: number): boolean {
  const { length } = data
  if (length > LARGEST || (offset & (PAGE_BYTES - 1)) !== 0 || (length & (PAGE_BYTES - 1)) !== 0) return false
  return !(data instanceof IoVector) || data.buffers.length <= IOVEC_SEGMENTS
}
