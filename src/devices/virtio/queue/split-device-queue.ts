// The device's side of a split virtqueue (virtio 1.2, 2.7). One object lives from enabling to reset. The memory belongs to
// a guest that may change it at any moment: each field is read once, and what was read is checked and used.
// The device keeps its own indices; what a driver writes into the used ring is never believed.

import { assert } from '../../../common/assert.js'
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
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
  VIRTQ_USED_F_NO_NOTIFY,
} from '../../../protocols/virtio/split-ring.js'
import { DescriptorChain } from '../memory/descriptor-chain.js'
import type { GuestMemory } from '../memory/guest-memory.js'
import { addBuffer } from './chain-rules.js'
import {
  type DeviceQueue,
  FETCH_CHAIN,
  FETCH_EMPTY,
  FETCH_FAULT,
  type FetchResult,
  NO_HEAD,
  type QueueBytes,
  type QueueState,
} from './device-queue.js'
import type { InflightTracker } from './inflight-tracker.js'
import { QueueCore } from './queue-core.js'
import type { QueueParts } from './queue-layout.js'
import type { QueueFeatures } from './queue-state.js'
import type { ReturnOrder } from './return-order.js'
import { type EarlierList, takeOver } from './taken-heads.js'

const NO_DESCRIPTORS = new Uint32Array(0)

/** A running split queue. */
export class SplitDeviceQueue extends QueueCore implements DeviceQueue {
  private readonly table: Uint32Array
  private readonly avail: Uint16Array
  private readonly used: Uint16Array
  private readonly used32: Uint32Array
  private readonly mask: number
  /** Next available entry to take, and the driver's index as last read. */
  private nextAvail: number
  private seenAvail: number
  /** Where the next used element goes, and the index the driver has been shown. */
  private nextUsed: number
  private shownUsed: number

  constructor(
    memory: GuestMemory,
    parts: QueueParts,
    features: QueueFeatures,
    state: QueueState,
    id: number,
    tracker?: InflightTracker,
  ) {
    super(memory, parts.size, features, id, tracker)
    this.mask = parts.size - 1
    this.table = parts.table
    this.avail = parts.avail
    this.used = parts.used
    this.used32 = parts.used32
    this.nextAvail = state.availIndex
    this.seenAvail = state.availIndex
    this.nextUsed = state.usedIndex
    this.shownUsed = state.usedIndex
  }

  fetch(chain: DescriptorChain): FetchResult {
    chain.begin(NO_HEAD)
    if (this.fault !== undefined) return FETCH_FAULT
    if (this.heads.earlier > 0) return this.enter(chain, this.heads.nextEarlier())
    if (this.nextAvail === this.seenAvail && !this.look()) return this.fault === undefined ? FETCH_EMPTY : FETCH_FAULT
    const head = le16(this.avail[AVAIL_RING_WORD + (this.nextAvail & this.mask)] as number)
    this.nextAvail = (this.nextAvail + 1) & 0xffff
    const reason = this.heads.take(head)
    if (reason !== undefined) return this.fail(reason)
    this.tracker?.taken(head, NO_DESCRIPTORS, 0)
    this.order?.taken(head)
    return this.enter(chain, head)
  }

  push(head: number, length: number): void {
    if (this.order === undefined) this.giveBack(head, length, 1)
    else this.order.complete(head, length)
  }

  get unpublished(): boolean {
    return this.nextUsed !== this.shownUsed || this.order?.ready === true
  }

  /** Shows the driver all that was pushed, by one index update; whether it wants to be notified (2.7.7.2). */
  publish(): boolean {
    if (this.order !== undefined) this.returnInOrder(this.order)
    const old = this.shownUsed
    const now = this.nextUsed
    if (old === now) return false
    // The store is sequentially consistent: elements before the index (2.7.8.2), the index before what the driver wants.
    Atomics.store(this.used, RING_INDEX_WORD, le16(now))
    this.shownUsed = now
    this.tracker?.published(now, false)
    if (this.eventIndex) return passesEvent(le16(Atomics.load(this.avail, usedEventWord(this.size))), now, old)
    return (le16(Atomics.load(this.avail, RING_FLAGS_WORD)) & VIRTQ_AVAIL_F_NO_INTERRUPT) === 0
  }

  /** Asks the driver for no notifications. With an event index nothing is written: an index passed long ago asks for none. */
  suppressNotifications(): void {
    if (!this.eventIndex) Atomics.store(this.used, RING_FLAGS_WORD, le16(VIRTQ_USED_F_NO_NOTIFY))
  }

  /** Asks for a notification of the next chain, then looks again (2.7.10.2). */
  allowNotifications(): boolean {
    if (this.eventIndex) Atomics.store(this.used, availEventWord(this.size), le16(this.nextAvail))
    else Atomics.store(this.used, RING_FLAGS_WORD, 0)
    return this.fault === undefined && (this.heads.earlier > 0 || this.look())
  }

  availableBytes(limits: QueueBytes): QueueBytes {
    const found = { readable: 0, writable: 0 }
    if (this.fault !== undefined || !this.look()) return found
    const chain = new DescriptorChain()
    for (let at = this.nextAvail; at !== this.seenAvail; at = (at + 1) & 0xffff) {
      const head = le16(this.avail[AVAIL_RING_WORD + (at & this.mask)] as number)
      chain.begin(head)
      if (head >= this.size || this.walk(chain, head) !== undefined) break
      found.readable += chain.readableBytes
      found.writable += chain.writableBytes
      if (found.readable >= limits.readable && found.writable >= limits.writable) break
    }
    return found
  }

  refetch(heads: readonly number[], lists: readonly EarlierList[] = []): number {
    let taken = 0
    for (const [i, head] of heads.entries()) if (takeOver(this.heads, this.order, head, lists[i])) taken++
    return taken
  }

  slotsOf(_head: number): number {
    return 1
  }

  save(): QueueState {
    assert(this.nextUsed === this.shownUsed, 'what was pushed has to be published before the queue is saved')
    return { availIndex: this.nextAvail, availWrap: false, usedIndex: this.nextUsed, usedWrap: false }
  }

  private enter(chain: DescriptorChain, head: number): FetchResult {
    chain.begin(head)
    const reason = this.walk(chain, head)
    this.order?.room(head, chain.writableBytes)
    return reason === undefined ? FETCH_CHAIN : this.fail(reason)
  }

  /** One used element for `count` heads, of which `head` is the last (2.7.8, 2.7.9); it stands at the place of the first. */
  private giveBack(head: number, length: number, count: number): void {
    const word = USED_RING_WORD32 + 2 * (this.nextUsed & this.mask)
    this.used32[word] = le32(head)
    this.used32[word + 1] = le32(length)
    this.nextUsed = (this.nextUsed + count) & 0xffff
    this.leave(head)
  }

  private leave(head: number): void {
    this.heads.release(head)
    this.tracker?.returning(head)
  }

  private returnInOrder(order: ReturnOrder): void {
    let count = 0
    for (let head = order.next(); head >= 0; head = order.next()) {
      count++
      if (order.closesBatch) {
        this.giveBack(head, order.length, count)
        count = 0
      } else {
        this.leave(head)
      }
    }
  }

  /** Reads the driver's index; whether it is ahead. A queue holds `size` entries, so that no index may be further ahead. */
  private look(): boolean {
    const index = le16(Atomics.load(this.avail, RING_INDEX_WORD))
    const ahead = ringDistance(this.nextAvail, index)
    if (ahead > this.size) {
      // Virtio 1.2, 2.7.6.1: an index that moves back looks just the same.
      this.fail(`available index ${index} is ${ahead} ahead in a queue of ${this.size}`)
      return false
    }
    this.seenAvail = index
    return ahead !== 0
  }

  /** Follows a chain. The word with flags and next is read at once, so that both are of one moment. What is wrong, if so. */
  private walk(chain: DescriptorChain, head: number): string | undefined {
    let words = this.table
    let at = 0
    let entries = this.size
    let index = head
    let nested = false
    for (let left = entries; left > 0; left--) {
      const word = at + index * 4
      const low = le32(words[word] as number)
      const high = le32(words[word + 1] as number)
      const length = le32(words[word + 2] as number)
      const rest = le32(words[word + 3] as number)
      if ((rest & VIRTQ_DESC_F_INDIRECT) !== 0) {
        const { indirect } = this
        const reason = this.enterTable(high, low, length, rest, nested)
        if (reason !== undefined || indirect === undefined) return reason
        nested = true
        words = indirect.words
        at = indirect.at
        entries = indirect.entries
        left = entries + 1
        index = 0
        continue
      }
      const reason = addBuffer(chain, this.memory, high, low, length, (rest & VIRTQ_DESC_F_WRITE) !== 0)
      if (reason !== undefined) return reason
      if ((rest & VIRTQ_DESC_F_NEXT) === 0) return undefined
      index = rest >>> 16
      if (index >= entries) return `next descriptor ${index} is not in the table (virtio 1.2, 2.7.5)`
    }
    return 'chain longer than its table, or a loop (virtio 1.2, 2.7.5.2)'
  }

  /** Normal descriptors may precede the one that names a table (2.7.5.3.2); whether it is writable is ignored there. */
  private enterTable(high: number, low: number, length: number, rest: number, nested: boolean): string | undefined {
    if (this.indirect === undefined) return 'indirect descriptor, which was not agreed (virtio 1.2, 2.7.5.3.1)'
    if (nested) return 'indirect descriptor in an indirect table (virtio 1.2, 2.7.5.3.1)'
    if ((rest & VIRTQ_DESC_F_NEXT) !== 0) return 'indirect descriptor with a next one (virtio 1.2, 2.7.5.3.1)'
    return this.indirect.locate(this.memory, high, low, length)
  }
}
