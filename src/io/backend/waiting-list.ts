// Requests that wait at a root, first come first served: those held while a section is open, those parked after an error.
// One that is cancelled leaves at once.

import { BlockError } from '../../common/error.js'
import type { AbortHub } from './abort-hub.js'

/** A request that waits. `start` runs in the step that takes it from the list. */
interface Waiting {
  readonly start: () => void
  readonly cancel: (error: BlockError) => void
  readonly signal: AbortSignal | undefined
  readonly onAbort: () => void
}

/** A list of waiting requests. */
export class WaitingList {
  readonly #waiting = new Set<Waiting>()
  readonly #hub: AbortHub
  readonly #backend: string

  constructor(hub: AbortHub, backend: string) {
    this.#hub = hub
    this.#backend = backend
  }

  get size(): number {
    return this.#waiting.size
  }

  /** Appends a request. Exactly one of `start` and `cancel` is called, once. */
  add(signal: AbortSignal | undefined, start: () => void, cancel: (error: BlockError) => void): void {
    const onAbort = () => {
      this.#waiting.delete(waiting)
      cancel(canceled(this.#backend, 'the request was aborted while it waited'))
    }
    const waiting: Waiting = { start, cancel, signal, onAbort }
    this.#waiting.add(waiting)
    if (signal !== undefined) this.#hub.listen(signal, onAbort)
  }

  /** Starts the first request, if any. */
  startFirst(): void {
    for (const waiting of this.#waiting) {
      this.#remove(waiting)
      waiting.start()
      return
    }
  }

  /** Cancels all with ECANCELED. */
  cancelAll(why: string): void {
    for (const waiting of [...this.#waiting]) {
      if (!this.#waiting.has(waiting)) continue
      this.#remove(waiting)
      waiting.cancel(canceled(this.#backend, why))
    }
  }

  #remove(waiting: Waiting): void {
    this.#waiting.delete(waiting)
    if (waiting.signal !== undefined) this.#hub.forget(waiting.signal, waiting.onAbort)
  }
}

/** The error of a request that ended before it was done. */
export function canceled(backend: string, why: string): BlockError {
  return new BlockError('ECANCELED', why, { node: backend })
}
