// A leaky bucket: every request pours in its units, time lets them out at the average rate. While the bucket overflows,
// requests wait. With a burst length above 1 a second, small bucket holds the rate during the burst below its maximum.

import type { BucketLimit } from './limits.js'

/** Without a burst rate, what a tenth of a second lets out may come at once. */
const PLAIN_CAPACITY_SECONDS = 0.1

/** The level of one rate. */
export class LeakyBucket {
  #limit: BucketLimit
  #level = 0
  #burstLevel = 0

  constructor(limit: BucketLimit) {
    this.#limit = limit
  }

  /** Takes new limits and starts empty. */
  setLimit(limit: BucketLimit): void {
    this.#limit = limit
    this.#level = 0
    this.#burstLevel = 0
  }

  /** Lets `ms` milliseconds pass. */
  leak(ms: number): void {
    const { avg, max, length } = this.#limit
    this.#level = Math.max(this.#level - (avg * ms) / 1000, 0)
    if (length > 1) this.#burstLevel = Math.max(this.#burstLevel - (max * ms) / 1000, 0)
  }

  /** Pours in `units` bytes or requests. */
  pour(units: number): void {
    if (this.#limit.avg === 0) return
    this.#level += units
    if (this.#limit.length > 1) this.#burstLevel += units
  }

  /** Milliseconds until the bucket no longer overflows; 0 where it does not. */
  waitMs(): number {
    const { avg, max, length } = this.#limit
    if (avg === 0) return 0
    const extra = this.#level - (max === 0 ? avg * PLAIN_CAPACITY_SECONDS : max * length)
    if (extra > 0) return (extra / avg) * 1000
    if (length === 1) return 0
    const burstExtra = this.#burstLevel - max * PLAIN_CAPACITY_SECONDS
    return burstExtra > 0 ? (burstExtra / max) * 1000 : 0
  }
}
