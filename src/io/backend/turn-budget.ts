// Synchronous completion must not starve timers, sockets and abort signals: after 256 completions, or 1 ms, since the last
// turn of the event loop, all further ones settle on a new turn, together. The clock is read rarely, since that costs
// more than a request.

import type { Clock } from '../../common/clock.js'
import type { IoEnvironment } from '../environment.js'

const MAX_COMPLETIONS = 256
const MAX_MS = 1
/** Completions between two looks at the clock. A large buffer counts for several. */
const LOOK_EVERY = 32

/** One shared promise for whatever is done already. */
export const DONE: Promise<void> = Promise.resolve()

/** What a root has completed since the last turn. */
export class TurnBudget {
  readonly #environment: IoEnvironment
  readonly #clock: Clock
  #spent = 0
  #lookAt = LOOK_EVERY
  #turnedAt: number
  #turn: Promise<void> | undefined

  constructor(environment: IoEnvironment) {
    this.#environment = environment
    this.#clock = environment.clock
    this.#turnedAt = environment.coarseNow
  }

  /** Counts a completion of `bytes` bytes; undefined where it may settle now, else the turn on which it must. */
  spend(bytes: number): Promise<void> | undefined {
    this.#spent += 1 + (bytes >>> 16)
    return this.#spent < this.#lookAt ? undefined : this.#look()
  }

  #look(): Promise<void> | undefined {
    if (this.#turn !== undefined) return this.#turn
    const now = this.#clock.now()
    this.#environment.coarseNow = now
    if (this.#spent < MAX_COMPLETIONS && now - this.#turnedAt < MAX_MS) {
      this.#lookAt = this.#spent + LOOK_EVERY
      return undefined
    }
    // Until the turn has come, every look ends here.
    this.#lookAt = 0
    this.#turn = new Promise((resolve) => {
      this.#clock.nextTurn(() => {
        this.#begin()
        resolve()
      })
    })
    return this.#turn
  }

  #begin(): void {
    this.#turn = undefined
    this.#spent = 0
    this.#lookAt = LOOK_EVERY
    this.#turnedAt = this.#clock.now()
    this.#environment.coarseNow = this.#turnedAt
  }
}
