// A limit of bytes per second over the time since it was made.

import type { Clock } from '../common/clock.js'

/** Holds copies back. */
export class RateLimit {
  readonly #bytesPerSecond: number
  readonly #clock: Pick<Clock, 'now'>
  readonly #sleep: (ms: number) => Promise<void>
  readonly #began: number
  #admitted = 0

  /** `sleep` keeps the process alive, which a timer of the clock does not. No limit where `bytesPerSecond` is 0. */
  constructor(bytesPerSecond: number, clock: Pick<Clock, 'now'>, sleep: (ms: number) => Promise<void> = sleepAwake) {
    this.#bytesPerSecond = bytesPerSecond
    this.#clock = clock
    this.#sleep = sleep
    this.#began = clock.now()
  }

  /** Waits until `bytes` more keep the average below the limit. */
  async admit(bytes: number): Promise<void> {
    if (this.#bytesPerSecond === 0) return
    const due = this.#began + (this.#admitted / this.#bytesPerSecond) * 1000
    this.#admitted += bytes
    const wait = due - this.#clock.now()
    if (wait > 0) await this.#sleep(wait)
  }
}

function sleepAwake(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
