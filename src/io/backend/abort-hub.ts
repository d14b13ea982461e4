// Abort signals of the requests that wait at a root. One signal may serve thousands of requests, so each signal has one
// listener per root, with a list behind it, and none while nobody waits.

interface Entry {
  readonly listener: () => void
  readonly waiting: Set<() => void>
}

/** The signals that requests waiting at one root listen to. */
export class AbortHub {
  readonly #entries = new Map<AbortSignal, Entry>()

  /** Signals that have a listener. */
  get size(): number {
    return this.#entries.size
  }

  /** Calls `cancel` once when `signal` aborts, unless {@link forget} is called before. */
  listen(signal: AbortSignal, cancel: () => void): void {
    let entry = this.#entries.get(signal)
    if (entry === undefined) {
      entry = { listener: () => this.#abort(signal), waiting: new Set() }
      this.#entries.set(signal, entry)
      signal.addEventListener('abort', entry.listener)
    }
    entry.waiting.add(cancel)
  }

  /** Takes {@link listen} back; the last one of a signal takes its listener away. */
  forget(signal: AbortSignal, cancel: () => void): void {
    const entry = this.#entries.get(signal)
    if (entry === undefined) return
    entry.waiting.delete(cancel)
    if (entry.waiting.size > 0) return
    this.#entries.delete(signal)
    signal.removeEventListener('abort', entry.listener)
  }

  #abort(signal: AbortSignal): void {
    const entry = this.#entries.get(signal)
    if (entry === undefined) return
    this.#entries.delete(signal)
    signal.removeEventListener('abort', entry.listener)
    for (const cancel of entry.waiting) cancel()
  }
}
