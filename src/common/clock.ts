// Time and turns as the library sees them. The host hands a Clock in; tests hand in one they drive.

/** A pending timer. */
export interface Timer {
  /** Ends the timer; nothing happens where it has fired already. */
  cancel(): void
}

/** The source of time, timers and turns of one graph. */
export interface Clock {
  /** Milliseconds since an arbitrary start; never goes back. May have fractions. */
  now(): number
  /**
   * Calls `callback` once, at the earliest `ms` milliseconds from now. A request may wait for it, so it keeps a process
   * alive, unless it is a mere watch (`watching`).
   */
  after(ms: number, callback: () => void, watching?: boolean): Timer
  /** Calls `callback` on a new turn of the event loop, after timers, I/O and other callbacks that are due. */
  nextTurn(callback: () => void): void
}

const LONGEST_TIMEOUT_MS = 2 ** 31 - 1

/** The clock of the host: performance.now, setTimeout, and setImmediate where the host has it. */
export const hostClock: Clock = {
  now: () => performance.now(),
  after(ms, callback, watching = false) {
    let handle: ReturnType<typeof setTimeout>
    const wait = (left: number): void => {
      // Hosts take a longer time for none at all.
      const part = Math.min(left, LONGEST_TIMEOUT_MS)
      handle = part < left ? setTimeout(() => wait(left - part), part) : setTimeout(callback, part)
      if (watching) unrefTimer(handle)
    }
    wait(ms)
    return { cancel: () => clearTimeout(handle) }
  },
  nextTurn: hostNextTurn(),
}

function unrefTimer(handle: unknown): void {
  if (typeof handle === 'object' && handle !== null && 'unref' in handle && typeof handle.unref === 'function') {
    handle.unref()
  }
}

function hostNextTurn(): (callback: () => void) => void {
  const immediate = (globalThis as { setImmediate?: (callback: () => void) => void }).setImmediate
  if (immediate !== undefined) return (callback) => immediate(callback)
  return (callback) => {
    const { port1, port2 } = new MessageChannel()
    port1.onmessage = () => {
      port1.close()
      callback()
    }
    port2.postMessage(undefined)
  }
}
