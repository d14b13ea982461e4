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
    chosen?.release()
    return chosen !== undefined
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
      if (before() || this.step()) idle = 0
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
