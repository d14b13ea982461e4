// The device's side of a split virtqueue (virtio 1.2, 2.7). One object lives from enabling to reset. The memory belongs to
// a guest that may change it at any moment: each field is read once, and what was read is checked and used.
// The device keeps its own indices; what a driver writes into the used ring is never believed.

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
  VIRTQ_MAX_CHAIN_BYTES,
  VIRTQ_USED_F_NO_NOTIFY,
} from '../../../protocols/virtio/split-ring.js'
import type { DescriptorChain } from '../memory/descriptor-chain.js'
import type { GuestMemory } from '../memory/guest-memory.js'
import {
  type DeviceQueue,
  FETCH_CHAIN,
  FETCH_EMPTY,
  FETCH_FAULT,
  type FetchResult,
  NO_HEAD,
  type QueueState,
} from './device-queue.js'
import type { QueueParts } from './queue-layout.js'

/** A running split queue. */
export class SplitDeviceQueue implements DeviceQueue {
  readonly size: number
  /** Heads fetched and not yet returned; never more than `size`, since none is taken twice. */
  inFlight = 0
  /** False after a reset: the memory belongs to somebody else then, and nothing here touches it any more. */
  live = true
  /** Why the queue is broken; no more is fetched from it. */
  fault: string | undefined

  private readonly memory: GuestMemory
  private readonly eventIndex: boolean
  private readonly table: Uint32Array
  private readonly avail: Uint16Array
  private readonly used: Uint16Array
  private readonly used32: Uint32Array
  private readonly mask: number
  /** 1 for each head in flight. */
  private readonly taken: Uint8Array
  /** Next available entry to take, and the driver's index as last read. */
  private nextAvail = 0
  private seenAvail = 0
  /** Where the next used element goes, and the index the driver has been shown. */
  private nextUsed = 0
  private shownUsed = 0

  constructor(memory: GuestMemory, parts: QueueParts, eventIndex: boolean, state?: QueueState) {
    this.memory = memory
    this.eventIndex = eventIndex
    this.size = parts.size
    this.mask = parts.size - 1
    this.table = parts.table
    this.avail = parts.avail
    this.used = parts.used
    this.used32 = parts.used32
    this.taken = new Uint8Array(parts.size)
    if (state === undefined) return
    this.nextAvail = state.availIndex & 0xffff
    this.seenAvail = this.nextAvail
    this.nextUsed = state.usedIndex & 0xffff
    this.shownUsed = this.nextUsed
  }

  /**
   * Takes the next available chain. On a fault `chain.head` is the head that was taken with it, to be given back, or
   * {@link NO_HEAD}.
   */
  fetch(chain: DescriptorChain): FetchResult {
    chain.begin(NO_HEAD)
    if (this.fault !== undefined) return FETCH_FAULT
    if (this.nextAvail === this.seenAvail && !this.look()) return this.fault === undefined ? FETCH_EMPTY : FETCH_FAULT
    const head = le16(this.avail[AVAIL_RING_WORD + (this.nextAvail & this.mask)] as number)
    this.nextAvail = (this.nextAvail + 1) & 0xffff
    if (head >= this.size) return this.fail(`head ${head} is not in the descriptor table`)
    if (this.taken[head] === 1) return this.fail(`head ${head} was offered again before it was used`)
    this.taken[head] = 1
    this.inFlight++
    chain.begin(head)
    return this.walk(chain, this.table, this.size, head)
  }

  /** Puts a head back with `length` bytes written, counted from the first writable byte. Shown by {@link publish}. */
  push(head: number, length: number): void {
    const word = USED_RING_WORD32 + 2 * (this.nextUsed & this.mask)
    this.used32[word] = le32(head)
    this.used32[word + 1] = le32(length)
    this.nextUsed = (this.nextUsed + 1) & 0xffff
    this.taken[head] = 0
    this.inFlight--
  }

  /** Whether something was pushed that the driver has not been shown. */
  get unpublished(): boolean {
    return this.nextUsed !== this.shownUsed
  }

  /** Shows the driver all that was pushed, by one index update; whether it wants to be notified (2.7.7.2). */
  publish(): boolean {
    const old = this.shownUsed
    const now = this.nextUsed
    if (old === now) return false
    // The store is sequentially consistent: elements before the index (2.7.8.2), the index before what the driver wants.
    Atomics.store(this.used, RING_INDEX_WORD, le16(now))
    this.shownUsed = now
    if (this.eventIndex) return passesEvent(le16(Atomics.load(this.avail, usedEventWord(this.size))), now, old)
    return (le16(Atomics.load(this.avail, RING_FLAGS_WORD)) & VIRTQ_AVAIL_F_NO_INTERRUPT) === 0
  }

  /** Asks the driver for no notifications. With an event index nothing is written: an index passed long ago asks for none. */
  suppressNotifications(): void {
    if (!this.eventIndex) Atomics.store(this.used, RING_FLAGS_WORD, le16(VIRTQ_USED_F_NO_NOTIFY))
  }

  /** Asks for a notification of the next chain, then looks again: true where something has come meanwhile (2.7.10.2). */
  allowNotifications(): boolean {
    if (this.eventIndex) Atomics.store(this.used, availEventWord(this.size), le16(this.nextAvail))
    else Atomics.store(this.used, RING_FLAGS_WORD, 0)
    return this.fault === undefined && this.look()
  }

  /** Where the queue stands. Another can go on from there once all heads are back and published. */
  save(): QueueState {
    return { availIndex: this.nextAvail, availWrap: false, usedIndex: this.nextUsed, usedWrap: false }
  }

  /** Ends this life of the queue. */
  retire(): void {
    this.live = false
    this.fault ??= 'the queue was reset'
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

  /** Follows a chain through `table`. The word with flags and next is read at once, so that both are of one moment. */
  private walk(chain: DescriptorChain, table: Uint32Array, entries: number, first: number): FetchResult {
    let index = first
    let writing = false
    let bytes = 0
    for (let steps = 0; steps < entries; steps++) {
      const word = index * 4
      const low = le32(table[word] as number)
      const high = le32(table[word + 1] as number)
      const length = le32(table[word + 2] as number)
      const rest = le32(table[word + 3] as number)
      if ((rest & VIRTQ_DESC_F_INDIRECT) !== 0) {
        return this.fail('indirect descriptor, which was not agreed (virtio 1.2, 2.7.5.3.1)')
      }
      const writable = (rest & VIRTQ_DESC_F_WRITE) !== 0
      if (writing && !writable) return this.fail('readable descriptor behind a writable one (virtio 1.2, 2.7.4.2)')
      writing = writable
      bytes += length
      if (bytes > VIRTQ_MAX_CHAIN_BYTES) return this.fail('chain of more than 2^32-1 bytes (virtio 1.2, 2.7.5.2)')
      if (!this.append(chain, high, low, length, writable)) {
        return this.fail('descriptor outside guest memory')
      }
      if ((rest & VIRTQ_DESC_F_NEXT) === 0) return FETCH_CHAIN
      index = rest >>> 16
      if (index >= entries) return this.fail(`next descriptor ${index} is not in the table`)
    }
    return this.fail('chain longer than its table, or a loop (virtio 1.2, 2.7.5.2)')
  }

  private append(chain: DescriptorChain, high: number, low: number, length: number, writable: boolean): boolean {
    if (length === 0) {
      chain.hasEmptyBuffer = true
      return true
    }
    const region = this.memory.find(high, low, length)
    if (region !== undefined) chain.piece(region, high * 0x1_0000_0000 + low - region.base, length)
    else if (!this.memory.pieces(high, low, length, chain)) return false
    if (writable) chain.markWritable(length)
    else chain.markReadable(length)
    return true
  }

  private fail(reason: string): FetchResult {
    this.fault = reason
    return FETCH_FAULT
  }
}
