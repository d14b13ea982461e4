// Requests that run while the next commands do. What they did is told when the tool waits for something anyway, not in the
// middle of another command's output.

/** Tells what a request did. */
type Tell = () => void

/** The requests under way. */
export class AioRequests {
  readonly #running = new Set<Promise<void>>()
  #ended: Tell[] = []

  /** Requests that have not ended. */
  get count(): number {
    return this.#running.size
  }

  /** Begins a request; it never rejects. */
  start(request: () => Promise<Tell>): void {
    const running = request().then((tell) => {
      this.#ended.push(tell)
      this.#running.delete(running)
    })
    this.#running.add(running)
  }

  /** Tells of all requests that have ended. */
  deliver(): void {
    const ended = this.#ended
    this.#ended = []
    for (const tell of ended) tell()
  }

  /** Waits until no request is under way, and tells of all. */
  async flush(): Promise<void> {
    while (this.#running.size > 0) await Promise.race(this.#running)
    this.deliver()
  }

  /** Waits until a request has ended. */
  async next(): Promise<void> {
    if (this.#running.size > 0) await Promise.race(this.#running)
    this.deliver()
  }
}
