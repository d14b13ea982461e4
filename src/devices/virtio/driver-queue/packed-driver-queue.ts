// The driver's side of a packed virtqueue in guest memory (virtio 1.2, 2.8). The flags of the first descriptor of a batch
// are written last, so that the device sees all of it or nothing (2.8.17). A used descriptor stands where the device wrote
// the next one; in order (2.8.8) it may stand for a batch: what it skips has been used completely.

import { highHalf, lowHalf } from '../../../common/units.js'
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
import {
  VIRTQ_DESC_BYTES,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
} from '../../../protocols/virtio/split-ring.js'
import type { GuestMemory } from '../memory/guest-memory.js'
import { packedParts, placePackedQueue } from '../queue/queue-layout.js'
import type { QueueFeatures } from '../queue/queue-state.js'
import type { DriverQueue } from './driver-queue.js'
import { broken, DriverQueueCore } from './driver-queue-core.js'
import type { DriverTables } from './driver-tables.js'
import type { QueuePlan } from './queue-plan.js'

const WRITE = VIRTQ_DESC_F_WRITE << 16
const NEXT = VIRTQ_DESC_F_NEXT << 16
const INDIRECT = VIRTQ_DESC_F_INDIRECT << 16

/** A packed queue as its driver has it. Heads are buffer ids. */
export class PackedDriverQueue extends DriverQueueCore implements DriverQueue {
  private readonly ring: Uint32Array
  /** The same words as int32: what an atomic load gives needs no box then. */
  private readonly turns: Int32Array
  private readonly driverEvent: Uint32Array
  private readonly deviceEvent: Uint32Array
  /** Behind each free id, the next free one. In order: the next one of all. */
  private readonly next: Uint16Array
  /** Of each id: slots (0: the device does not have it). */
  private readonly slotsOf: Uint16Array
  /** Of the chain being built. */
  private id = 0
  /** Next slot to fill, and the driver's wrap counter there. */
  private nextAvail = 0
  private availWrap = true
  /** Slots filled since the device was shown something, and the last word of the first one, yet to be written. */
  private unshown = 0
  private heldWord = 0
  private held = 0
  /** Next slot to look for a used descriptor in, and the device's wrap counter there. */
  private nextUsed = 0
  private usedWrap = true

  /** Empties the queue's memory. Throws EINVAL where a part does not lie in one region. */
  constructor(memory: GuestMemory, plan: QueuePlan, features: QueueFeatures) {
    const { size } = plan
    const parts = packedParts(placePackedQueue(memory, plan.config, size))
    super(memory, plan, features)
    this.ring = parts.ring
    this.turns = new Int32Array(parts.ring.buffer, parts.ring.byteOffset, parts.ring.length)
    this.driverEvent = parts.driverEvent
    this.deviceEvent = parts.deviceEvent
    this.next = new Uint16Array(size)
    this.slotsOf = new Uint16Array(size)
    for (let i = 0; i < size; i++) this.next[i] = this.idBehind(i)
    this.ring.fill(0)
    this.driverEvent.fill(0)
    this.deviceEvent.fill(0)
  }

  begin(descriptors: number): number {
    const { tables } = this
    this.nested = tables !== undefined && descriptors > 1 && descriptors <= tables.entries
    const slots = this.nested ? 1 : descriptors
    if (this.free < slots) return -1
    const id = this.firstFree
    this.firstFree = this.next[id] as number
    this.free -= slots
    this.id = id
    this.slotsOf[id] = slots
    this.left = descriptors
    this.bytes = 0
    if (tables !== undefined && this.nested) {
      this.word = tables.wordOf(id)
      this.fill(tables.addressOf(id), descriptors * VIRTQ_DESC_BYTES, INDIRECT)
    }
    return id
  }

  append(address: number, bytes: number, writable: boolean): void {
    this.left--
    if (writable) this.bytes += bytes
    const flags = writable ? WRITE : 0
    if (this.nested) {
      write((this.tables as DriverTables).words, this.word, address, bytes)
      ;(this.tables as DriverTables).words[this.word + 3] = le32(flags)
      this.word += 4
    } else {
      this.fill(address, bytes, this.left > 0 ? flags | NEXT : flags)
    }
  }

  end(): void {
    this.endChain(this.id)
  }

  /** Shows the device what was added, by one store; whether it wants a kick for it (2.8.10). */
  publish(): boolean {
    const slots = this.unshown
    if (slots === 0) return false
    // Sequentially consistent: the rest of the batch before it, it before what the device wants (2.8.21).
    Atomics.store(this.ring, this.heldWord, le32(this.held))
    this.unshown = 0
    const event = le32(Atomics.load(this.deviceEvent, 0))
    return packedEventWanted(event, this.nextAvail, this.availWrap, slots, this.size, this.eventIndex)
  }

  pending(): number {
    let count = 0
    this.usedSlots(this.size, (id) => {
      count = this.inOrder ? this.chainsUpTo(id) : count + 1
    })
    return count
  }

  reap(): number {
    if (this.batchLast >= 0) return this.reapInOrder()
    const rest = this.lastWord(this.nextUsed)
    if ((rest & PACKED_TURN_MASK) !== usedTurn(this.usedWrap)) return -1
    const id = this.checked(rest)
    this.usedLength = (rest & WRITE) === 0 ? 0 : le32(this.ring[this.nextUsed * 4 + 2] as number)
    if (this.inOrder) {
      this.batchLast = id
      this.batchLength = this.usedLength
      return this.reapInOrder()
    }
    this.next[id] = this.firstFree
    this.firstFree = id
    this.release(id)
    return id
  }

  /** With an event index: when the slot is used that is `after` chains of the mean length ahead (2.8.10). */
  enableNotifications(after = 1): boolean {
    if (!this.eventIndex) {
      Atomics.store(this.driverEvent, 0, le32(packedEvent(RING_EVENT_FLAGS_ENABLE)))
      return this.usedSlots(1) > 0
    }
    const given = this.size - this.free
    const ahead = Math.min(Math.floor(((after - 1) * given) / Math.max(this.inFlight, 1)), Math.max(given - 1, 0))
    const slot = this.nextUsed + ahead
    const event =
      slot < this.size
        ? packedEvent(RING_EVENT_FLAGS_DESC, slot, this.usedWrap)
        : packedEvent(RING_EVENT_FLAGS_DESC, slot - this.size, !this.usedWrap)
    Atomics.store(this.driverEvent, 0, le32(event))
    return this.usedSlots(ahead + 1) > ahead
  }

  disableNotifications(): void {
    Atomics.store(this.driverEvent, 0, le32(packedEvent(RING_EVENT_FLAGS_DISABLE)))
  }

  /** Fills the next slot; the flags of the first one of a batch wait for {@link publish}. The id counts in the last only. */
  private fill(address: number, bytes: number, flags: number): void {
    const word = this.nextAvail * 4
    const rest = availableTurn(this.availWrap) | flags | this.id
    write(this.ring, word, address, bytes)
    if (this.unshown === 0) {
      this.heldWord = word + 3
      this.held = rest
    } else {
      this.ring[word + 3] = le32(rest)
    }
    this.unshown++
    this.nextAvail++
    if (this.nextAvail < this.size) return
    this.nextAvail = 0
    this.availWrap = !this.availWrap
  }

  private lastWord(slot: number): number {
    return le32(Atomics.load(this.turns, slot * 4 + 3)) | 0
  }

  private checked(rest: number): number {
    const id = rest & 0xffff
    if (id < this.size && this.slotsOf[id] !== 0) return id
    throw broken(`returned ${id}, which it does not have`)
  }

  /** Walks what has come back, up to `limit` slots; how many slots it is. */
  private usedSlots(limit: number, found?: (id: number) => void): number {
    const given = this.size - this.free
    let slots = 0
    while (slots < limit && slots < given) {
      const id = this.usedAt(slots)
      if (id < 0) break
      found?.(id)
      slots = this.inOrder ? this.slotsUpTo(id) : slots + (this.slotsOf[id] as number)
    }
    return slots
  }

  /** The id in the used descriptor `slots` slots ahead, or -1. Of a batch that is being reaped the ring says no more. */
  private usedAt(slots: number): number {
    if (slots === 0 && this.batchLast >= 0) return this.batchLast
    const at = this.nextUsed + slots
    const wraps = at >= this.size
    const rest = this.lastWord(wraps ? at - this.size : at)
    return (rest & PACKED_TURN_MASK) === usedTurn(this.usedWrap !== wraps) ? this.checked(rest) : -1
  }

  /** In order: how many chains there are from the oldest to `last`. */
  private chainsUpTo(last: number): number {
    return ((last - this.oldest + this.size) % this.size) + 1
  }

  /** Their slots. */
  private slotsUpTo(last: number): number {
    let slots = this.slotsOf[last] as number
    for (let id = this.oldest; id !== last; id = this.idBehind(id)) slots += this.slotsOf[id] as number
    return slots
  }

  private reapInOrder(): number {
    const id = this.oldest
    if (this.slotsOf[id] === 0) throw broken(`returned a batch up to ${this.batchLast}, which is not among the oldest`)
    this.oldest = this.idBehind(id)
    this.release(id)
    if (id === this.batchLast) {
      this.usedLength = this.batchLength
      this.batchLast = -1
    } else {
      this.usedLength = this.writable[id] as number
    }
    return id
  }

  private idBehind(id: number): number {
    return id + 1 === this.size ? 0 : id + 1
  }

  private release(id: number): void {
    const slots = this.slotsOf[id] as number
    this.slotsOf[id] = 0
    this.free += slots
    this.inFlight--
    this.nextUsed += slots
    if (this.nextUsed < this.size) return
    this.nextUsed -= this.size
    this.usedWrap = !this.usedWrap
  }
}

function write(words: Uint32Array, word: number, address: number, bytes: number): void {
  words[word] = le32(lowHalf(address))
  words[word + 1] = le32(highHalf(address))
  words[word + 2] = le32(bytes)
}
