// Pieces of a long copy: a bounded number of them at once, and each with a turn, so that writes can reach their target in the
// order in which the pieces came.

import type { MaybePromise } from '../common/maybe-promise.js'

/** What a piece does. `turn` resolves when every piece before it has ended. */
export type PieceWork<T> = (piece: T, turn: Promise<void>) => Promise<void>

/**
 * Works on `pieces`, at most `limit` at once. Rejects with the first failure, of a piece or of where they come from, once nothing
 * is under way any more; pieces that have not begun by then never do.
 */
export async function workInOrder<T>(
  pieces: AsyncIterable<T> | Iterable<T>,
  limit: number,
  work: PieceWork<T>,
): Promise<void> {
  const run = new PieceRun(limit, work)
  try {
    for await (const piece of pieces) {
      await run.room()
      if (run.failure !== undefined) break
      run.begin(piece)
    }
  } catch (error) {
    run.failure ??= { error }
  }
  await run.idle()
  if (run.failure !== undefined) throw run.failure.error
}

class PieceRun<T> {
  readonly #limit: number
  readonly #work: PieceWork<T>
  #running = 0
  #last: Promise<void> = Promise.resolve()
  #wake: () => void = () => {}
  failure: { error: unknown } | undefined

  constructor(limit: number, work: PieceWork<T>) {
    this.#limit = limit
    this.#work = work
  }

  /** Waits until one more may begin. */
  room(): MaybePromise<void> {
    if (this.#running >= this.#limit) return this.#oneEnds()
  }

  begin(piece: T): void {
    const turn = this.#last
    const ended = this.#attempt(piece, turn)
    // A turn is over when its work is, and every turn before it.
    this.#last = ended.then(() => turn)
  }

  async idle(): Promise<void> {
    while (this.#running > 0) await this.#oneEnds()
  }

  #oneEnds(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve
    })
  }

  /** Never rejects. */
  async #attempt(piece: T, turn: Promise<void>): Promise<void> {
    this.#running++
    try {
      await this.#work(piece, turn)
    } catch (error) {
      this.failure ??= { error }
    } finally {
      this.#running--
      this.#wake()
    }
  }
}
