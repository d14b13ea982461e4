// Time that a test drives: nothing passes until the test says so. Timers fire in the order of their times, equal ones in
// the order they were set; between two of them every microtask runs to its end.

import type { Clock, Timer } from '../common/clock.js'

interface PendingTimer {
  at: number
  order: number
  callback: () => void
}

/** A clock for `createGraph({ clock })` and drivers under test. */
export class VirtualClock implements Clock {
  #now = 0
  #order = 0
  #timers: PendingTimer[] = []
  #turns: (() => void)[] = []

  now(): number {
    return this.#now
  }

  after(ms: number, callback: () => void): Timer {
    const timer: PendingTimer = { at: this.#now + Math.max(ms, 0), order: this.#order++, callback }
    this.#timers.push(timer)
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== timer)
      },
    }
  }

  nextTurn(callback: () => void): void {
    this.#turns.push(callback)
    // A turn comes by itself, as on a host, only later than the microtasks that are due.
    if (this.#turns.length === 1) void settleMicrotasks().then(() => this.#runTurns())
  }

  /** Timers that have not fired. */
  get pendingTimers(): number {
    return this.#timers.length
  }

  /** When the next timer fires; undefined where there is none. */
  get nextTimerAt(): number | undefined {
    return this.#next()?.at
  }

  /** Lets `ms` milliseconds pass, firing what becomes due, with all microtasks in between. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms
    await settleMicrotasks()
    for (let timer = this.#next(); timer !== undefined && timer.at <= end; timer = this.#next()) {
      await this.#fire(timer)
    }
    this.#now = end
    await settleMicrotasks()
  }

  /** Fires timers until none is left, at most `limit` of them. */
  async runAll(limit = 100_000): Promise<void> {
    await settleMicrotasks()
    for (let count = 0; count < limit; count++) {
      const timer = this.#next()
      if (timer === undefined) return
      await this.#fire(timer)
    }
  }

  async #fire(timer: PendingTimer): Promise<void> {
    this.#timers = this.#timers.filter((other) => other !== timer)
    this.#now = Math.max(this.#now, timer.at)
    timer.callback()
    await settleMicrotasks()
  }

  #next(): PendingTimer | undefined {
    let first: PendingTimer | undefined
    for (const timer of this.#timers) {
      if (first === undefined || timer.at < first.at || (timer.at === first.at && timer.order < first.order))
        first = timer
    }
    return first
  }

  #runTurns(): void {
    for (const turn of this.#turns.splice(0)) turn()
  }
}

/** How many rounds of microtasks count as all of them: deeper chains of awaits need more. */
const ROUNDS = 64

/** Waits until what can run without time passing has run, as far as {@link ROUNDS} rounds of microtasks go. */
export async function settleMicrotasks(rounds: number = ROUNDS): Promise<void> {
  for (let round = 0; round < rounds; round++) await undefined
}
