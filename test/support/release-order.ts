// Lets requests of controlled nodes go in an order that a seed decides, until a promise settles. When nothing is left to let go
// and it has not, the run is stuck.

import type { ControlledRequest, Controller } from '../../src/testing/storage/controlled.js'
import { drainMicrotasks } from './virtual-clock.js'

/** Turns of the loop that may pass with nothing to let go: the host has threads of its own. */
const PATIENCE = 200

/** Decides who goes next. */
export class ReleaseOrder {
  readonly #controller: Controller
  #state: number
  readonly #ranked: boolean
  /** The request to go so many steps from now fails instead; 0 for none. */
  failIn = 0
  /** Requests that were made to fail. */
  failed = 0
  /** Calls on their way in threads of the host: as long as there are any, nothing is stuck. */
  away = 0
  readonly #ranks = new WeakMap<ControlledRequest, number>()

  constructor(controller: Controller, seed: number) {
    this.#controller = controller
    this.#state = seed | 0
    // Half of the runs pick at random; in the others each request has a rank for good, so that some wait for very long.
    this.#ranked = (seed & 1) !== 0
  }

  /** A number from 0 up to `end`. */
  below(end: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % end
  }

  /** Lets one request go; false where none waits. */
  step(): boolean {
    const { pending } = this.#controller
    const chosen = this.#ranked ? this.#highest(pending) : pending[this.below(Math.max(pending.length, 1))]
    if (chosen !== undefined && this.failIn > 0 && --this.failIn === 0) {
      this.failed++
      chosen.fail('EIO')
    } else chosen?.release()
    return chosen !== undefined
  }

  /** Runs `act`, which waits for threads of the host. */
  async outside<T>(act: () => Promise<T>): Promise<T> {
    this.away++
    try {
      return await act()
    } finally {
      this.away--
    }
  }

  /** Waits for `promise`, letting requests go meanwhile. `before` runs ahead of each step; true stands for a step it has made. */
  async drive<T>(promise: Promise<T>, before: () => boolean = () => false): Promise<T> {
    let settled = false
    const watched = promise.finally(() => {
      settled = true
    })
    watched.catch(() => {})
    for (let idle = 0; idle < PATIENCE; idle++) {
      await drainMicrotasks()
      if (settled) return watched
      if (before() || this.step() || this.away > 0) idle = 0
    }
    throw new Error('stuck: nothing is on its way below, and requests do not end')
  }

  #highest(pending: readonly ControlledRequest[]): ControlledRequest | undefined {
    let best: ControlledRequest | undefined
    for (const one of pending) {
      if (!this.#ranks.has(one)) this.#ranks.set(one, this.below(1 << 20))
      if (best === undefined || (this.#ranks.get(one) ?? 0) > (this.#ranks.get(best) ?? 0)) best = one
    }
    return best
  }
}
