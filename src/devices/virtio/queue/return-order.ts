// VIRTIO_F_IN_ORDER (virtio 1.2, 2.7.9 and 2.8.8): heads go back in the order in which they were taken, and one used entry
// may stand for a batch, with the head of its last chain. The driver takes the skipped ones for used completely: a chain
// that was written only in part has to be the last of its batch. What completes early is held.

import { assert } from '../../../common/assert.js'
import { VIRTQ_MAX_CHAIN_BYTES } from '../../../protocols/virtio/split-ring.js'

const ABSENT = 0
const PENDING = 1
const DONE = 2

/** How a chain ended that is held for its turn: bytes written, and bytes there was room for. */
export interface HeldCompletion {
  readonly length: number
  readonly writable: number
}

/** A head that has to go back in its turn, with its completion where that came early. */
export interface OrderedHead {
  readonly head: number
  readonly done: HeldCompletion | undefined
}

/** The order of one queue, and what has completed in it. */
export class ReturnOrder {
  /** Of the head that {@link next} gave last: the length its used entry says, and whether the entry must be its own. */
  length = 0
  closesBatch = false

  private readonly order: Uint16Array
  private readonly done: Uint8Array
  private readonly lengths: Uint32Array
  private readonly writable: Uint32Array
  private first = 0
  private count = 0

  constructor(size: number) {
    this.order = new Uint16Array(size)
    this.done = new Uint8Array(size)
    this.lengths = new Uint32Array(size)
    this.writable = new Uint32Array(size)
  }

  /** A head has been taken, or will be fetched before any other that is taken. */
  taken(head: number): void {
    const { order } = this
    let last = this.first + this.count
    if (last >= order.length) last -= order.length
    order[last] = head
    this.done[head] = PENDING
    this.count++
  }

  /** There is room for `writable` bytes in its chain. */
  room(head: number, writable: number): void {
    this.writable[head] = writable
  }

  /** A head has completed with `length` bytes written. */
  complete(head: number, length: number): void {
    assert(this.done[head] === PENDING, `head ${head} is not in flight`)
    this.done[head] = DONE
    this.lengths[head] = length
  }

  /** Whether the oldest head has completed, so that something can go back. */
  get ready(): boolean {
    return this.count > 0 && this.done[this.order[this.first] as number] === DONE
  }

  /** The oldest head, which is out of the order now, or -1 where it has not completed. */
  next(): number {
    if (!this.ready) return -1
    const head = this.order[this.first] as number
    this.first = this.first + 1 === this.order.length ? 0 : this.first + 1
    this.count--
    this.done[head] = ABSENT
    this.length = this.lengths[head] as number
    this.closesBatch = this.length !== this.writable[head] || !this.ready
    return head
  }

  /** The heads that have not gone back, the oldest first. */
  heads(): OrderedHead[] {
    return Array.from({ length: this.count }, (_, i) => {
      const head = this.order[(this.first + i) % this.order.length] as number
      const done = this.done[head] === DONE
      const completion = { length: this.lengths[head] as number, writable: this.writable[head] as number }
      return { head, done: done ? completion : undefined }
    })
  }
}

/** Whether a chain can have ended so. */
export function isCompletion({ length, writable }: HeldCompletion): boolean {
  const whole = Number.isSafeInteger(length) && Number.isSafeInteger(writable)
  return whole && length >= 0 && length <= writable && writable <= VIRTQ_MAX_CHAIN_BYTES
}
