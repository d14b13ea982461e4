// The driver's side of a split virtqueue in guest memory (virtio 1.2, 2.7): what a guest kernel does, for tests, demos and
// benchmarks of devices. The free list and all indices are the driver's own; of the device only the used ring is read.

import { BlockError } from '../../../common/error.js'
import { alignUp, highHalf, lowHalf } from '../../../common/units.js'
import { le16, le32 } from '../../../protocols/virtio/little-endian.js'
import {
  AVAIL_RING_WORD,
  availEventWord,
  availRingBytes,
  descriptorTableBytes,
  passesEvent,
  RING_FLAGS_WORD,
  RING_INDEX_WORD,
  USED_RING_WORD32,
  usedEventWord,
  usedRingBytes,
  VIRTQ_AVAIL_F_NO_INTERRUPT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
  VIRTQ_USED_F_NO_NOTIFY,
} from '../../../protocols/virtio/split-ring.js'
import type { GuestMemory, GuestRegion } from '../memory/guest-memory.js'
import type { QueueConfig } from '../queue/queue-layout.js'

/** Where the three parts of a queue lie when packed from `address` on. */
export interface QueuePlan {
  readonly size: number
  readonly table: number
  readonly avail: number
  readonly used: number
  /** Address behind the queue. */
  readonly end: number
  /** The same for the device. */
  readonly config: QueueConfig
}

/** Lays a queue out. */
export function planQueue(address: number, size: number): QueuePlan {
  const table = alignUp(address, 16)
  const avail = table + descriptorTableBytes(size)
  const used = alignUp(avail + availRingBytes(size), 4)
  return {
    size,
    table,
    avail,
    used,
    end: used + usedRingBytes(size),
    config: { size, descriptorTable: halves(table), availRing: halves(avail), usedRing: halves(used) },
  }
}

/** A queue as its driver has it. Chains are built by {@link begin}, {@link append} and {@link end}. */
export class SplitDriverQueue {
  readonly plan: QueuePlan
  readonly size: number
  /** Descriptors not in use. */
  free: number
  /** Chains the device has. */
  inFlight = 0
  /** Of the chain reaped last. */
  usedLength = 0

  private readonly eventIndex: boolean
  private readonly mask: number
  private readonly table: Uint32Array
  private readonly avail: Uint16Array
  private readonly used: Uint16Array
  private readonly used32: Uint32Array
  /** Links of free descriptors and of chains, and the length of the chain at each head. */
  private readonly next: Uint16Array
  private readonly chainLength: Uint16Array
  private firstFree = 0
  private head = 0
  private tail = 0
  private built = 0
  private nextAvail = 0
  private shownAvail = 0
  private nextUsed = 0

  constructor(memory: GuestMemory, plan: QueuePlan, eventIndex: boolean) {
    const { size } = plan
    const region = memory.find(highHalf(plan.table), lowHalf(plan.table), plan.end - plan.table)
    if (region === undefined) throw new BlockError('EINVAL', 'the queue does not lie in one region of guest memory')
    this.plan = plan
    this.size = size
    this.free = size
    this.mask = size - 1
    this.eventIndex = eventIndex
    this.table = new Uint32Array(region.buffer, place(region, plan.table), size * 4)
    this.avail = new Uint16Array(region.buffer, place(region, plan.avail), availRingBytes(size) / 2)
    this.used = new Uint16Array(region.buffer, place(region, plan.used), usedRingBytes(size) / 2)
    this.used32 = new Uint32Array(region.buffer, place(region, plan.used), usedRingBytes(size) >>> 2)
    this.next = new Uint16Array(size)
    this.chainLength = new Uint16Array(size)
    for (let i = 0; i < size; i++) this.next[i] = i + 1
    this.table.fill(0)
    this.avail.fill(0)
    this.used.fill(0)
  }

  /** Starts a chain of at most `descriptors`; its head, or -1 where so many are not free. */
  begin(descriptors: number): number {
    if (this.free < descriptors) return -1
    this.head = this.firstFree
    this.built = 0
    return this.head
  }

  /** Adds a buffer: readable ones first. `bytes` is what the descriptor says, good or not. */
  append(address: number, bytes: number, writable: boolean): void {
    const index = this.firstFree
    this.firstFree = this.next[index] as number
    this.free--
    if (this.built > 0) {
      const link = this.tail * 4 + 3
      this.table[link] = le32(le32(this.table[link] as number) | VIRTQ_DESC_F_NEXT | (index << 16))
    }
    const word = index * 4
    this.table[word] = le32(lowHalf(address))
    this.table[word + 1] = le32(highHalf(address))
    this.table[word + 2] = le32(bytes)
    this.table[word + 3] = le32(writable ? VIRTQ_DESC_F_WRITE : 0)
    this.tail = index
    this.built++
  }

  /** Puts the chain into the available ring; the device sees it after {@link publish}. */
  end(): void {
    this.chainLength[this.head] = this.built
    this.avail[AVAIL_RING_WORD + (this.nextAvail & this.mask)] = le16(this.head)
    this.nextAvail = (this.nextAvail + 1) & 0xffff
    this.inFlight++
  }

  /** Shows the device what was added; whether it wants a kick for it (2.7.10.1). */
  publish(): boolean {
    const old = this.shownAvail
    const now = this.nextAvail
    if (old === now) return false
    Atomics.store(this.avail, RING_INDEX_WORD, le16(now))
    this.shownAvail = now
    if (this.eventIndex) return passesEvent(le16(Atomics.load(this.used, availEventWord(this.size))), now, old)
    return (le16(Atomics.load(this.used, RING_FLAGS_WORD)) & VIRTQ_USED_F_NO_NOTIFY) === 0
  }

  /** How many chains have come back and not been reaped. */
  pending(): number {
    return (le16(Atomics.load(this.used, RING_INDEX_WORD)) - this.nextUsed) & 0xffff
  }

  /** Takes one of the {@link pending} chains back; its head, with `usedLength` set. Its descriptors are free again. */
  reap(): number {
    const word = USED_RING_WORD32 + 2 * (this.nextUsed & this.mask)
    const head = le32(this.used32[word] as number)
    this.usedLength = le32(this.used32[word + 1] as number)
    this.nextUsed = (this.nextUsed + 1) & 0xffff
    this.release(head)
    return head
  }

  /** Asks to be notified when `after` more chains have come back; true where one is there already (2.7.7.1). */
  enableNotifications(after = 1): boolean {
    if (this.eventIndex) Atomics.store(this.avail, usedEventWord(this.size), le16((this.nextUsed + after - 1) & 0xffff))
    else Atomics.store(this.avail, RING_FLAGS_WORD, 0)
    return this.pending() >= after
  }

  /** Asks for no notifications: an event index just passed, or the flag. */
  disableNotifications(): void {
    if (this.eventIndex) Atomics.store(this.avail, usedEventWord(this.size), le16((this.nextUsed - 1) & 0xffff))
    else Atomics.store(this.avail, RING_FLAGS_WORD, le16(VIRTQ_AVAIL_F_NO_INTERRUPT))
  }

  private release(head: number): void {
    const length = head < this.size ? (this.chainLength[head] as number) : 0
    if (length === 0) throw new BlockError('EPROTO', `the device returned ${head}, which it does not have`)
    let last = head
    for (let i = 1; i < length; i++) last = this.next[last] as number
    this.chainLength[head] = 0
    this.next[last] = this.firstFree
    this.firstFree = head
    this.free += length
    this.inFlight--
  }
}

function place(region: GuestRegion, address: number): number {
  return region.byteOffset + (address - region.base)
}

function halves(address: number): { high: number; low: number } {
  return { high: highHalf(address), low: lowHalf(address) }
}
