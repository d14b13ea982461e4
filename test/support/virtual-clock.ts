// Time that stands still until a test moves it. Timers fire in the order of their times, turns in the order of asking.

import type { Clock, Timer } from '../../src/common/clock.js'

interface Pending {
  at: number
  serial: number
  callback: () => void
}

/** A clock driven by its test. */
export class VirtualClock implements Clock {
  #now = 0
  #serial = 0
  #timers: Pending[] = []
  #turns: (() => void)[] = []

  /** How often anybody asked for the time. */
  reads = 0

  now(): number {
    this.reads++
    return this.#now
  }

  after(ms: number, callback: () => void): Timer {
    const pending = { at: this.#now + ms, serial: this.#serial++, callback }
    this.#timers.push(pending)
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== pending)
      },
    }
  }

  nextTurn(callback: () => void): void {
    this.#turns.push(callback)
  }

  /** Timers that are set. */
  get timers(): number {
    return this.#timers.length
  }

  /** Turns that are asked for. */
  get turns(): number {
    return this.#turns.length
  }

  /** Moves the time without firing anything. */
  set(now: number): void {
    this.#now = now
  }

  /** Runs what waits for a new turn, then what that caused in microtasks. */
  async turn(): Promise<void> {
    const due = this.#turns
    this.#turns = []
    for (const callback of due) callback()
    await settled()
  }

  /** Moves the time by `ms`, firing each timer at its time. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms
    for (;;) {
      const due = this.#timers.filter((timer) => timer.at <= end)
      due.sort((a, b) => a.at - b.at || a.serial - b.serial)
      const next = due[0]
      if (next === undefined) break
      this.#timers = this.#timers.filter((timer) => timer !== next)
      this.#now = next.at
      next.callback()
      await settled()
    }
    this.#now = end
    await settled()
  }
}

/** Lets every microtask that is due, and those they cause, run. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 50; i++) await Promise.resolve()
}

/** Lets all microtasks run, however many follow from one another. */
export function drainMicrotasks(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}
