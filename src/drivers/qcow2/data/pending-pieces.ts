// The pieces of one request that are under way at once. The first error ends the request, but not before every piece has
// settled: buffers go back to their owner then.

import type { Completion } from '../../../io/node-io.js'

/** Pieces that may be under way at once. */
const MOST = 16

/** Collects pieces; `settled` waits for all of them. */
export class PendingPieces {
  #pending: Promise<void>[] = []
  #failure: { error: unknown } | undefined

  get failed(): boolean {
    return this.#failure !== undefined
  }

  /** Takes a piece that has been begun. */
  add(piece: Completion): void {
    if (piece === undefined) return
    this.#pending.push(
      piece.then(undefined, (error: unknown) => {
        this.fail(error)
      }),
    )
  }

  /** Takes note of an error; the first one counts. */
  fail(error: unknown): void {
    this.#failure ??= { error }
  }

  /** Waits where as many are under way as may be. */
  async room(): Promise<void> {
    if (this.#pending.length >= MOST) await this.#drain()
  }

  /** Waits for all, then throws the first error. */
  async settled(): Promise<void> {
    await this.#drain()
    if (this.#failure !== undefined) throw this.#failure.error
  }

  async #drain(): Promise<void> {
    const pending = this.#pending
    this.#pending = []
    for (const piece of pending) await piece
  }
}
