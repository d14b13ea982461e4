// The request loop of bench. Requests go to the root's submit functions: one that completes at once costs no promise and
// no buffer of its own; one that is pending takes a slot, and its callback, made once per slot, sends the next.

import type { Clock } from '../../common/clock.js'
import { BlockError } from '../../common/error.js'
import type { BackendRoot } from '../../io/backend/root.js'
import { submitFlush, submitRead, submitWrite } from '../../io/backend/submit.js'
import type { Completion } from '../../io/node-io.js'

/** What to send. Offsets and sizes are in bytes. */
export interface BenchPlan {
  count: number
  /** Requests in flight at most. */
  depth: number
  bytes: number
  step: number
  offset: number
  /** Length of the image; offsets wrap around at it. */
  length: number
  write: boolean
  /** Byte that write buffers, and read buffers before they are read into, are filled with. */
  pattern: number
  /** Requests between two flushes; 0: none. */
  flushInterval: number
  /** A flush waits until nothing is in flight, and all that follows waits for it. */
  drainOnFlush: boolean
}

/** A buffer and the callback of the request that uses it. */
interface Slot {
  buffer: Uint8Array
  done(): void
}

/** Completions between two looks at the clock, and milliseconds after which a turn of the event loop is due. */
const LOOK_EVERY = 256
const TURN_MS = 1

/** Sends all requests of `plan`; rejects with the first failure, once nothing is in flight. */
export function runBench(
  root: BackendRoot,
  plan: BenchPlan,
  clock: Clock,
  makeBuffer: (bytes: number) => Uint8Array,
): Promise<void> {
  return new Promise((resolve, reject) => {
    new BenchRun(root, plan, clock, makeBuffer, resolve, reject).start()
  })
}

class BenchRun {
  readonly #root: BackendRoot
  readonly #plan: BenchPlan
  readonly #clock: Clock
  readonly #makeBuffer: (bytes: number) => Uint8Array
  readonly #resolve: () => void
  readonly #reject: (error: unknown) => void
  readonly #free: Slot[] = []
  #offset: number
  #unsent: number
  #inFlight = 0
  #sinceFlush = 0
  #flushing = false
  #failed = false
  #failure: unknown
  #untilLook = LOOK_EVERY
  #turnBegan = 0
  #sending = false
  #ended = false
  readonly #onTurn = () => {
    this.#turnBegan = this.#clock.now()
    this.#send()
  }
  readonly #onFailure = (error: unknown) => this.#fail(error)

  constructor(
    root: BackendRoot,
    plan: BenchPlan,
    clock: Clock,
    makeBuffer: (bytes: number) => Uint8Array,
    resolve: () => void,
    reject: (error: unknown) => void,
  ) {
    this.#root = root
    this.#plan = plan
    this.#clock = clock
    this.#makeBuffer = makeBuffer
    this.#resolve = resolve
    this.#reject = reject
    this.#offset = plan.offset
    this.#unsent = plan.count
  }

  start(): void {
    this.#turnBegan = this.#clock.now()
    this.#send()
  }

  /** Sends until the queue is full, everything is sent, or a turn is due. */
  #send(): void {
    if (this.#sending || this.#ended) return
    this.#sending = true
    try {
      while (this.#unsent > 0 && this.#inFlight < this.#plan.depth && !this.#failed && !this.#blocked()) {
        if (!this.#sendOne()) continue
        if (--this.#untilLook > 0) continue
        this.#untilLook = LOOK_EVERY
        if (this.#clock.now() - this.#turnBegan < TURN_MS) continue
        this.#clock.nextTurn(this.#onTurn)
        return
      }
    } finally {
      this.#sending = false
    }
    this.#endIfIdle()
  }

  /** Sends the next request; true where it completed at once. */
  #sendOne(): boolean {
    const plan = this.#plan
    const slot = this.#takeSlot()
    if (slot === undefined) return false
    const offset = this.#offset
    this.#unsent--
    this.#advance()
    let pending: Completion
    try {
      pending = plan.write ? submitWrite(this.#root, offset, slot.buffer) : submitRead(this.#root, offset, slot.buffer)
    } catch (error) {
      this.#free.push(slot)
      this.#fail(error)
      return false
    }
    if (plan.flushInterval > 0) this.#sinceFlush++
    if (pending === undefined) {
      this.#free.push(slot)
      return true
    }
    this.#inFlight++
    pending.then(slot.done, this.#onPendingFailure)
    return false
  }

  #advance(): void {
    const next = this.#offset + this.#plan.step
    this.#offset = next < this.#plan.length ? next : next % this.#plan.length
  }

  /** A slot that is free, or a new one; undefined (and the run has failed) where there is no memory for it. */
  #takeSlot(): Slot | undefined {
    const free = this.#free.pop()
    if (free !== undefined) return free
    try {
      return this.#newSlot()
    } catch (cause) {
      this.#fail(new BlockError('ENOMEM', `no memory for ${this.#plan.bytes} bytes`, { op: 'bench', cause }))
      return undefined
    }
  }

  #newSlot(): Slot {
    const slot: Slot = {
      buffer: this.#makeBuffer(this.#plan.bytes).fill(this.#plan.pattern),
      done: () => {
        this.#inFlight--
        this.#free.push(slot)
        this.#send()
      },
    }
    return slot
  }

  readonly #onPendingFailure = (error: unknown) => {
    this.#inFlight--
    this.#fail(error)
    this.#endIfIdle()
  }

  /** Sends a flush where one is due; true while nothing else may be sent. */
  #blocked(): boolean {
    const { flushInterval, drainOnFlush } = this.#plan
    if (this.#flushing) return drainOnFlush
    if (flushInterval === 0 || this.#sinceFlush < flushInterval) return false
    if (drainOnFlush && this.#inFlight > 0) return true
    this.#sinceFlush = 0
    return this.#sendFlush() && drainOnFlush
  }

  /** True where the flush is still pending. */
  #sendFlush(): boolean {
    let pending: Completion
    try {
      pending = submitFlush(this.#root)
    } catch (error) {
      this.#fail(error)
      return false
    }
    if (pending === undefined) return false
    this.#flushing = true
    pending.then(() => {
      this.#flushing = false
      this.#send()
    }, this.#onFlushFailure)
    return true
  }

  readonly #onFlushFailure = (error: unknown) => {
    this.#flushing = false
    this.#onFailure(error)
    this.#endIfIdle()
  }

  #fail(error: unknown): void {
    if (!this.#failed) this.#failure = error
    this.#failed = true
  }

  /** Ends the run when nothing is in flight and nothing is left to send. */
  #endIfIdle(): void {
    if (this.#inFlight > 0 || this.#flushing || this.#ended) return
    if (this.#failed) {
      this.#ended = true
      this.#reject(this.#failure)
    } else if (this.#unsent === 0) {
      // The last requests may have made one more flush due.
      if (this.#blocked()) return
      if (this.#inFlight > 0 || this.#flushing) return
      this.#ended = true
      if (this.#failed) this.#reject(this.#failure)
      else this.#resolve()
    }
  }
}
