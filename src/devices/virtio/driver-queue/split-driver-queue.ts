// The driver's side of a split virtqueue in guest memory (virtio 1.2, 2.7). Each descriptor is written once, each index
// once a batch. Where buffers are used in order (2.7.9) descriptors are taken in ring order, and a used element may stand
// for a batch: what it skips has been used completely.

import { highHalf, lowHalf } from '../../../common/units.js'
import { le16, le32 } from '../../../protocols/virtio/little-endian.js'
import {
  AVAIL_RING_WORD,
  availEventWord,
  passesEvent,
  RING_FLAGS_WORD,
  RING_INDEX_WORD,
  ringDistance,
  USED_RING_WORD32,
  usedEventWord,
  VIRTQ_AVAIL_F_NO_INTERRUPT,
  VIRTQ_DESC_BYTES,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
  VIRTQ_USED_F_NO_NOTIFY,
} from '../../../protocols/virtio/split-ring.js'
import type { GuestMemory } from '../memory/guest-memory.js'
import { placeQueue, splitParts } from '../queue/queue-layout.js'
import type { QueueFeatures } from '../queue/queue-state.js'
import type { DriverQueue } from './driver-queue.js'
import { broken, DriverQueueCore } from './driver-queue-core.js'
import type { QueuePlan } from './queue-plan.js'

/** A split queue as its driver has it. */
export class SplitDriverQueue extends DriverQueueCore implements DriverQueue {
  private readonly mask: number
  private readonly table: Uint32Array
  private readonly avail: Uint16Array
  private readonly used: Uint16Array
  private readonly used32: Uint32Array
  /** Behind each free descriptor, and behind each one of a chain but its last. In order: the next one of the ring. */
  private readonly next: Uint16Array
  /** Of the chain at each head: descriptors of the queue (0: the device does not have it), the last one. */
  private readonly chainLength: Uint16Array
  private readonly chainLast: Uint16Array
  /** The chain being built: words it goes to, and where its descriptors stand there. */
  private words: Uint32Array
  private head = 0
  private descriptor = 0
  private nextAvail = 0
  private shownAvail = 0
  private nextUsed = 0
  private seenUsed = 0

  /** Empties the queue's memory. Throws EINVAL where a part does not lie in one region. */
  constructor(memory: GuestMemory, plan: QueuePlan, features: QueueFeatures) {
    const { size } = plan
    const parts = splitParts(placeQueue(memory, plan.config, size))
    super(memory, plan, features)
    this.mask = size - 1
    this.table = parts.table
    this.avail = parts.avail
    this.used = parts.used
    this.used32 = parts.used32
    this.words = parts.table
    this.next = new Uint16Array(size)
    this.chainLength = new Uint16Array(size)
    this.chainLast = new Uint16Array(size)
    for (let i = 0; i < size; i++) this.next[i] = (i + 1) & this.mask
    this.table.fill(0)
    this.avail.fill(0)
    this.used.fill(0)
  }

  begin(descriptors: number): number {
    const { tables } = this
    this.nested = tables !== undefined && descriptors > 1 && descriptors <= tables.entries
    const needed = this.nested ? 1 : descriptors
    if (this.free < needed) return -1
    const head = this.firstFree
    this.free -= needed
    this.head = head
    this.left = descriptors
    this.bytes = 0
    this.chainLength[head] = needed
    if (tables !== undefined && this.nested) {
      this.words = tables.words
      this.word = tables.wordOf(head)
      this.descriptor = 0
      this.firstFree = this.next[head] as number
      this.chainLast[head] = head
      this.write(this.table, head * 4, tables.addressOf(head), descriptors * VIRTQ_DESC_BYTES, VIRTQ_DESC_F_INDIRECT)
    } else {
      this.words = this.table
      this.descriptor = head
    }
    return head
  }

  append(address: number, bytes: number, writable: boolean): void {
    const left = this.left - 1
    this.left = left
    let rest = 0
    if (writable) {
      rest = VIRTQ_DESC_F_WRITE
      this.bytes += bytes
    }
    if (this.nested) {
      const entry = this.descriptor + 1
      this.descriptor = entry
      if (left > 0) rest |= VIRTQ_DESC_F_NEXT | (entry << 16)
      this.write(this.words, this.word, address, bytes, rest)
      this.word += 4
      return
    }
    const index = this.descriptor
    const next = this.next[index] as number
    if (left > 0) rest |= VIRTQ_DESC_F_NEXT | (next << 16)
    else {
      this.firstFree = next
      this.chainLast[this.head] = index
    }
    this.descriptor = next
    this.write(this.words, index * 4, address, bytes, rest)
  }

  end(): void {
    this.endChain(this.head)
    this.avail[AVAIL_RING_WORD + (this.nextAvail & this.mask)] = le16(this.head)
    this.nextAvail = (this.nextAvail + 1) & 0xffff
  }

  /** Shows the device what was added, by one index update; whether it wants a kick for it (2.7.10.1). */
  publish(): boolean {
    const old = this.shownAvail
    const now = this.nextAvail
    if (old === now) return false
    // Sequentially consistent: descriptors and entries before the index, the index before what the device wants (2.7.13.3.1).
    Atomics.store(this.avail, RING_INDEX_WORD, le16(now))
    this.shownAvail = now
    if (this.eventIndex) return passesEvent(le16(Atomics.load(this.used, availEventWord(this.size))), now, old)
    return (le16(Atomics.load(this.used, RING_FLAGS_WORD)) & VIRTQ_USED_F_NO_NOTIFY) === 0
  }

  pending(): number {
    this.look()
    return ringDistance(this.nextUsed, this.seenUsed)
  }

  reap(): number {
    if (this.nextUsed === this.seenUsed && !this.look()) return -1
    return this.inOrder ? this.reapInOrder() : this.reapOne()
  }

  /** With an event index: when the used index passes the one `after` ahead (2.7.7.1). */
  enableNotifications(after = 1): boolean {
    if (this.eventIndex) {
      Atomics.store(this.avail, usedEventWord(this.size), le16((this.nextUsed + after - 1) & 0xffff))
      return this.pending() >= after
    }
    Atomics.store(this.avail, RING_FLAGS_WORD, 0)
    return this.pending() > 0
  }

  /** An event index just passed, or the flag. */
  disableNotifications(): void {
    if (this.eventIndex) Atomics.store(this.avail, usedEventWord(this.size), le16((this.nextUsed - 1) & 0xffff))
    else Atomics.store(this.avail, RING_FLAGS_WORD, le16(VIRTQ_AVAIL_F_NO_INTERRUPT))
  }

  private write(words: Uint32Array, word: number, address: number, bytes: number, rest: number): void {
    words[word] = le32(lowHalf(address))
    words[word + 1] = le32(highHalf(address))
    words[word + 2] = le32(bytes)
    words[word + 3] = le32(rest >>> 0)
  }

  /** Reads the device's index; whether something has come back. */
  private look(): boolean {
    const index = le16(Atomics.load(this.used, RING_INDEX_WORD))
    const count = ringDistance(this.nextUsed, index)
    if (count > this.inFlight) throw broken(`returned ${count} chains of ${this.inFlight}`)
    this.seenUsed = index
    return count > 0
  }

  private reapOne(): number {
    const head = this.readElement()
    const last = this.chainLast[head] as number
    this.next[last] = this.firstFree
    this.firstFree = head
    this.release(head)
    return head
  }

  /** The element at the place of the first of a batch names its last (2.7.9). */
  private reapInOrder(): number {
    if (this.batchLast < 0) {
      this.batchLast = this.readElement()
      this.batchLength = this.usedLength
    }
    const head = this.oldest
    this.usedLength = this.writable[head] as number
    this.oldest = (head + (this.chainLength[head] as number)) & this.mask
    this.release(head)
    if (head === this.batchLast) {
      this.usedLength = this.batchLength
      this.batchLast = -1
    } else if (this.nextUsed === this.seenUsed) {
      throw broken(`returned a batch up to ${this.batchLast}, which is not among the oldest`)
    }
    return head
  }

  private readElement(): number {
    const word = USED_RING_WORD32 + 2 * (this.nextUsed & this.mask)
    const head = le32(this.used32[word] as number)
    this.usedLength = le32(this.used32[word + 1] as number)
    if (head >= this.size || this.chainLength[head] === 0) throw broken(`returned ${head}, which it does not have`)
    return head
  }

  private release(head: number): void {
    this.nextUsed = (this.nextUsed + 1) & 0xffff
    this.free += this.chainLength[head] as number
    this.chainLength[head] = 0
    this.inFlight--
  }
}
