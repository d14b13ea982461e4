// A notification between two threads: one word in shared memory that the one end changes and the other end sleeps on. The
// word counts, so that a ring between looking and falling asleep is not slept through; its lowest bit says closed.

const CLOSED = 1
const RING = 2

/** How a sleep on a {@link Doorbell} ended. */
export type Waking = 'rung' | 'closed' | 'timed-out'

/** One direction. Each end has an object of its own over the same word. */
export class Doorbell {
  /** How often this end has rung it. */
  rung = 0
  /** How often this end was woken by it, or kept from falling asleep. */
  answered = 0

  private readonly word: Int32Array

  /** At byte `offset`, a multiple of 4, of memory that is 0 in the beginning. */
  constructor(buffer: SharedArrayBuffer, offset: number) {
    this.word = new Int32Array(buffer, offset, 1)
  }

  /** Wakes the other end. */
  ring(): void {
    this.rung++
    Atomics.add(this.word, 0, RING)
    Atomics.notify(this.word, 0)
  }

  /** Wakes the other end for good. */
  close(): void {
    Atomics.or(this.word, 0, CLOSED)
    Atomics.notify(this.word, 0)
  }

  /** What to give to {@link wait}: read before looking whether there is a reason to wait. */
  read(): number {
    return Atomics.load(this.word, 0)
  }

  /** Blocks until the bell is not as it was `seen` any more. For threads that may block: not for a browser's main thread. */
  wait(seen: number, timeoutMs: number): Waking {
    if ((seen & CLOSED) !== 0) return 'closed'
    return this.woken(Atomics.wait(this.word, 0, seen, timeoutMs))
  }

  /** The same for a thread whose event loop goes on meanwhile. It does not keep a process alive. */
  async waitAsync(seen: number, timeoutMs: number): Promise<Waking> {
    if ((seen & CLOSED) !== 0) return 'closed'
    return this.woken(await Atomics.waitAsync(this.word, 0, seen, timeoutMs).value)
  }

  private woken(outcome: 'ok' | 'not-equal' | 'timed-out'): Waking {
    if (outcome === 'timed-out') return 'timed-out'
    this.answered++
    return 'rung'
  }
}
