// The device's side of a packed virtqueue (virtio 1.2, 2.8). One object lives from enabling to reset. Both sides write the
// one ring, so that nothing in it is believed but the descriptor at the next slot, once its flags say that it is available.
// The flags of the first used descriptor of a batch are written last: the driver sees all of the batch or nothing.

import { assert } from '../../../common/assert.js'
import { le32 } from '../../../protocols/virtio/little-endian.js'
import {
  availableTurn,
  PACKED_TURN_MASK,
  packedEvent,
  packedEventWanted,
  RING_EVENT_FLAGS_DESC,
  RING_EVENT_FLAGS_DISABLE,
  RING_EVENT_FLAGS_ENABLE,
  usedTurn,
} from '../../../protocols/virtio/packed-ring.js'
import { VIRTQ_DESC_F_INDIRECT, VIRTQ_DESC_F_NEXT, VIRTQ_DESC_F_WRITE } from '../../../protocols/virtio/split-ring.js'
import { DescriptorChain } from '../memory/descriptor-chain.js'
import type { GuestMemory } from '../memory/guest-memory.js'
import { addBuffer, type IndirectTable } from './chain-rules.js'
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
import type { PackedQueueParts } from './queue-layout.js'
import { entriesTaken, type QueueFeatures } from './queue-state.js'
import type { ReturnOrder } from './return-order.js'
import { type EarlierList, takeOver } from './taken-heads.js'

const WRITE = VIRTQ_DESC_F_WRITE << 16
const NEXT = VIRTQ_DESC_F_NEXT << 16
const INDIRECT = VIRTQ_DESC_F_INDIRECT << 16

/** A running packed queue. Heads are buffer ids. */
export class PackedDeviceQueue extends QueueCore implements DeviceQueue {
  private readonly ring: Uint32Array
  /** The same words as int32: what an atomic load gives needs no box then. */
  private readonly turns: Int32Array
  private readonly driverEvent: Uint32Array
  private readonly deviceEvent: Uint32Array
  /** The descriptors of the chain that is being fetched, for the tracker. */
  private readonly read: Uint32Array | undefined
  /** How many slots of the ring each head occupies, and how many are occupied by none. */
  private readonly slots: Uint16Array
  private free: number
  /** Next slot to take, and the driver's wrap counter there. */
  private nextAvail: number
  private availWrap: boolean
  /** What a walk found: slots behind its chain, and the id in its last descriptor. */
  private walked = 0
  private walkedId = 0
  /** Where the next used descriptor goes, and the device's wrap counter there. */
  private nextUsed: number
  private usedWrap: boolean
  /** Slots used since the driver was shown something, and the last word of the first descriptor there, yet to be written. */
  private unshown = 0
  private heldWord = 0
  private held = 0

  constructor(
    memory: GuestMemory,
    parts: PackedQueueParts,
    features: QueueFeatures,
    state: QueueState,
    id: number,
    tracker?: InflightTracker,
  ) {
    super(memory, parts.size, features, id, tracker)
    this.ring = parts.ring
    this.turns = new Int32Array(parts.ring.buffer, parts.ring.byteOffset, parts.ring.length)
    this.driverEvent = parts.driverEvent
    this.deviceEvent = parts.deviceEvent
    this.read = tracker === undefined ? undefined : new Uint32Array(4 * parts.size)
    this.slots = new Uint16Array(parts.size)
    this.free = parts.size - entriesTaken(state, parts.size, true)
    this.nextAvail = state.availIndex
    this.availWrap = state.availWrap
    this.nextUsed = state.usedIndex
    this.usedWrap = state.usedWrap
  }

  fetch(chain: DescriptorChain): FetchResult {
    chain.begin(NO_HEAD)
    if (this.fault !== undefined) return FETCH_FAULT
    if (this.heads.earlier > 0) return this.enterEarlier(chain)
    const rest = this.lastWord(this.nextAvail)
    if ((rest & PACKED_TURN_MASK) !== availableTurn(this.availWrap)) return FETCH_EMPTY
    const reason = this.walk(chain, this.nextAvail, this.availWrap, rest, this.free) ?? this.heads.take(this.walkedId)
    if (reason !== undefined) return this.fail(reason)
    const head = this.walkedId
    chain.head = head
    this.slots[head] = this.walked
    this.free -= this.walked
    this.nextAvail += this.walked
    if (this.nextAvail >= this.size) {
      this.nextAvail -= this.size
      this.availWrap = !this.availWrap
    }
    this.order?.taken(head)
    this.order?.room(head, chain.writableBytes)
    if (this.read !== undefined) this.tracker?.taken(head, this.read, this.walked)
    return FETCH_CHAIN
  }

  push(head: number, length: number): void {
    if (this.order === undefined) this.giveBack(head, length, this.leave(head))
    else this.order.complete(head, length)
  }

  get unpublished(): boolean {
    return this.unshown > 0 || this.order?.ready === true
  }

  /** Shows the driver all that was pushed, by one store; whether it wants to be notified (2.8.10). */
  publish(): boolean {
    if (this.order !== undefined) this.returnInOrder(this.order)
    const slots = this.unshown
    if (slots === 0) return false
    // The store is sequentially consistent: the rest of the batch before it, it before what the driver wants (2.8.22).
    Atomics.store(this.ring, this.heldWord, le32(this.held))
    this.unshown = 0
    this.tracker?.published(this.nextUsed, this.usedWrap)
    const event = le32(Atomics.load(this.driverEvent, 0))
    return packedEventWanted(event, this.nextUsed, this.usedWrap, slots, this.size, this.eventIndex)
  }

  suppressNotifications(): void {
    Atomics.store(this.deviceEvent, 0, le32(packedEvent(RING_EVENT_FLAGS_DISABLE)))
  }

  /** Asks for a notification of the next chain, then looks again (2.8.10). */
  allowNotifications(): boolean {
    const event = this.eventIndex
      ? packedEvent(RING_EVENT_FLAGS_DESC, this.nextAvail, this.availWrap)
      : packedEvent(RING_EVENT_FLAGS_ENABLE)
    Atomics.store(this.deviceEvent, 0, le32(event))
    if (this.fault !== undefined) return false
    if (this.heads.earlier > 0) return true
    return (this.lastWord(this.nextAvail) & PACKED_TURN_MASK) === availableTurn(this.availWrap)
  }

  availableBytes(limits: QueueBytes): QueueBytes {
    const found = { readable: 0, writable: 0 }
    const chain = new DescriptorChain()
    let slot = this.nextAvail
    let wrap = this.availWrap
    for (let free = this.free; free > 0 && this.fault === undefined; free -= this.walked) {
      const rest = this.lastWord(slot)
      if ((rest & PACKED_TURN_MASK) !== availableTurn(wrap)) break
      chain.begin(NO_HEAD)
      if (this.walk(chain, slot, wrap, rest, free) !== undefined) break
      found.readable += chain.readableBytes
      found.writable += chain.writableBytes
      if (found.readable >= limits.readable && found.writable >= limits.writable) break
      slot += this.walked
      if (slot >= this.size) {
        slot -= this.size
        wrap = !wrap
      }
    }
    return found
  }

  refetch(heads: readonly number[], lists: readonly EarlierList[] = []): number {
    let taken = 0
    for (const [i, head] of heads.entries()) {
      const list = lists[i]
      if (list === undefined || !isList(list, this.size)) continue
      if (!takeOver(this.heads, this.order, head, list)) continue
      this.slots[head] = list.slots
      taken++
    }
    return taken
  }

  slotsOf(head: number): number {
    return this.slots[head] as number
  }

  save(): QueueState {
    assert(this.unshown === 0, 'what was pushed has to be published before the queue is saved')
    const { nextAvail, availWrap, nextUsed, usedWrap } = this
    return { availIndex: nextAvail, availWrap, usedIndex: nextUsed, usedWrap }
  }

  private enterEarlier(chain: DescriptorChain): FetchResult {
    const head = this.heads.nextEarlier()
    const list = this.heads.earlierList as EarlierList
    chain.head = head
    const reason = this.walkList(chain, list.descriptors)
    this.order?.room(head, chain.writableBytes)
    return reason === undefined ? FETCH_CHAIN : this.fail(reason)
  }

  /** Lets go of a head; the slots it occupied. */
  private leave(head: number): number {
    this.heads.release(head)
    this.tracker?.returning(head)
    const slots = this.slots[head] as number
    this.free += slots
    return slots
  }

  /** One used descriptor for a chain, or in order for a batch whose last chain is `head` (2.8.6, 2.8.8). */
  private giveBack(head: number, length: number, slots: number): void {
    const word = this.nextUsed * 4 + 3
    const rest = usedTurn(this.usedWrap) | (length > 0 ? WRITE : 0) | head
    this.ring[word - 1] = le32(length)
    if (this.unshown === 0) {
      this.heldWord = word
      this.held = rest
    } else {
      this.ring[word] = le32(rest)
    }
    this.unshown += slots
    this.nextUsed += slots
    if (this.nextUsed >= this.size) {
      this.nextUsed -= this.size
      this.usedWrap = !this.usedWrap
    }
  }

  private returnInOrder(order: ReturnOrder): void {
    let slots = 0
    for (let head = order.next(); head >= 0; head = order.next()) {
      slots += this.leave(head)
      if (!order.closesBatch) continue
      this.giveBack(head, order.length, slots)
      slots = 0
    }
  }

  /** Id and flags of a slot, read at once. The load orders what is read behind it. */
  private lastWord(slot: number): number {
    return le32(Atomics.load(this.turns, slot * 4 + 3)) | 0
  }

  /**
   * Follows the chain whose first slot has `first` as its last word, through `free` slots at most: sets `walked` and
   * `walkedId`. What is wrong, if so.
   */
  private walk(
    chain: DescriptorChain,
    from: number,
    fromWrap: boolean,
    first: number,
    free: number,
  ): string | undefined {
    const { ring, read } = this
    let slot = from
    let turn = availableTurn(fromWrap)
    let rest = first
    for (let walked = 1; walked <= free; walked++) {
      const word = slot * 4
      const low = le32(ring[word] as number)
      const high = le32(ring[word + 1] as number)
      const length = le32(ring[word + 2] as number)
      if (read !== undefined) note(read, walked - 1, low, high, length, rest)
      const reason =
        (rest & INDIRECT) === 0
          ? addBuffer(chain, this.memory, high, low, length, (rest & WRITE) !== 0)
          : this.enterTable(chain, high, low, length, rest, walked)
      if (reason !== undefined) return reason
      if ((rest & NEXT) === 0) {
        this.walked = walked
        this.walkedId = rest & 0xffff
        return undefined
      }
      if (walked === free) break
      slot++
      if (slot === this.size) {
        slot = 0
        turn ^= PACKED_TURN_MASK
      }
      rest = this.lastWord(slot)
      if ((rest & PACKED_TURN_MASK) !== turn) return 'list with a descriptor that is not available (virtio 1.2, 2.8.17)'
    }
    return 'list of more descriptors than are free in the ring (virtio 1.2, 2.8.17)'
  }

  /** The same through the descriptors of an earlier life, which stand one behind the other. */
  private walkList(chain: DescriptorChain, words: Uint32Array): string | undefined {
    for (let word = 0, walked = 1; word < words.length; word += 4, walked++) {
      const [low = 0, high = 0, length = 0, rest = 0] = words.subarray(word, word + 4)
      const reason =
        (rest & INDIRECT) === 0
          ? addBuffer(chain, this.memory, high, low, length, (rest & WRITE) !== 0)
          : this.enterTable(chain, high, low, length, rest, walked)
      if (reason !== undefined) return reason
    }
    return undefined
  }

  private enterTable(
    chain: DescriptorChain,
    high: number,
    low: number,
    length: number,
    rest: number,
    walked: number,
  ): string | undefined {
    if (this.indirect === undefined) return 'indirect descriptor, which was not agreed (virtio 1.2, 2.8.19)'
    if (walked > 1 || (rest & NEXT) !== 0) return 'indirect descriptor in a list (virtio 1.2, 2.8.19)'
    return this.indirect.locate(this.memory, high, low, length) ?? this.addTable(chain, this.indirect)
  }

  /**
   * All descriptors of a table, in order. WRITE is the only valid flag in it; the others, INDIRECT among them, and the id are
   * reserved and ignored by the device (virtio 1.2, 2.8.7), although a driver must not set them (2.8.19).
   */
  private addTable(chain: DescriptorChain, table: IndirectTable): string | undefined {
    const { words, at, entries } = table
    for (let word = at, end = at + entries * 4; word < end; word += 4) {
      const low = le32(words[word] as number)
      const high = le32(words[word + 1] as number)
      const length = le32(words[word + 2] as number)
      const rest = le32(words[word + 3] as number)
      const reason = addBuffer(chain, this.memory, high, low, length, (rest & WRITE) !== 0)
      if (reason !== undefined) return reason
    }
    return undefined
  }
}

function note(into: Uint32Array, index: number, low: number, high: number, length: number, rest: number): void {
  const word = index * 4
  into[word] = low
  into[word + 1] = high
  into[word + 2] = length
  into[word + 3] = rest
}

function isList(list: EarlierList, size: number): boolean {
  const { slots, descriptors, done } = list
  const count = descriptors.length / 4
  const enough = Number.isSafeInteger(count) && (count >= 1 || done !== undefined)
  return enough && Number.isSafeInteger(slots) && slots >= 1 && slots <= size
}
