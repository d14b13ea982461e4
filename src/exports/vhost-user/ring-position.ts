// Where a ring begins or goes on: from the base that the front-end gives, the ring's own used index, and the record of
// requests in flight where there is one.

import { BlockError } from '../../common/error.js'
import { highHalf, lowHalf } from '../../common/units.js'
import type { SuspendedQueue } from '../../devices/virtio/core/left-chains.js'
import type { GuestMemory } from '../../devices/virtio/memory/guest-memory.js'
import type { QueueState } from '../../devices/virtio/queue/device-queue.js'
import type { InflightTracker } from '../../devices/virtio/queue/inflight-tracker.js'
import type { GuestAddress, QueueConfig } from '../../devices/virtio/queue/queue-layout.js'
import { freshQueueState } from '../../devices/virtio/queue/queue-state.js'
import type { EarlierList } from '../../devices/virtio/queue/taken-heads.js'
import { le16, le32 } from '../../protocols/virtio/little-endian.js'
import {
  availableTurn,
  PACKED_TURN_MASK,
  packedRingBytes,
  VIRTQ_DESC_F_USED,
} from '../../protocols/virtio/packed-ring.js'
import { RING_INDEX_WORD } from '../../protocols/virtio/split-ring.js'
import type { InflightMemory } from './inflight/inflight-memory.js'
import { PackedRecord, type PackedSlots } from './inflight/packed-record.js'
import { SplitRecord } from './inflight/split-record.js'

/** The base of a ring that has never run. */
export function freshBase(packed: boolean): number {
  return encodeBase(freshQueueState(packed), packed)
}

/** All that a queue is started with besides its layout. */
export interface RingPosition {
  state: QueueState
  tracker: InflightTracker | undefined
  /** Of an earlier life: to be done again. */
  heads: readonly number[]
  lists: readonly EarlierList[]
}

/** What a ring's base says (vhost-user.rst, SET_VRING_BASE). Throws EINVAL for a base that no ring of `size` has. */
export function decodeBase(base: number, size: number, packed: boolean): QueueState {
  if (!packed) {
    if (base > 0xffff) throw new BlockError('EINVAL', `a base of ${base}`)
    return { availIndex: base, availWrap: false, usedIndex: base, usedWrap: false }
  }
  const availIndex = base & 0x7fff
  const usedIndex = (base >>> 16) & 0x7fff
  if (availIndex >= size || usedIndex >= size) throw new BlockError('EINVAL', `a base of 0x${base.toString(16)}`)
  return { availIndex, availWrap: (base & 0x8000) !== 0, usedIndex, usedWrap: base >>> 31 === 1 }
}

/** The same as a number. */
export function encodeBase(state: QueueState, packed: boolean): number {
  if (!packed) return state.availIndex
  const avail = state.availIndex | (state.availWrap ? 0x8000 : 0)
  const used = state.usedIndex | (state.usedWrap ? 0x8000 : 0)
  return ((used << 16) | avail) >>> 0
}

/** What is known of a ring that starts. */
export interface RingStart {
  memory: GuestMemory
  config: QueueConfig
  packed: boolean
  base: number | undefined
  /** The front-end knows of records of requests in flight, and so what a base is. */
  knowsRecords: boolean
  inflight: { memory: Pick<InflightMemory, 'part' | 'shape'>; index: number } | undefined
  /** Where it was stopped on this connection with requests left, if it goes on from there. */
  left: SuspendedQueue | undefined
}

/** Where a ring goes on. Throws EINVAL for a base or a record that cannot be true. */
export function ringPosition(start: RingStart): RingPosition {
  const { left } = start
  const known = knownPosition(start)
  // The record, where there is one, has the same requests, yet not how those ended that are held for their turn.
  return left === undefined ? known : { ...left, tracker: known.tracker }
}

function knownPosition(start: RingStart): RingPosition {
  const { memory, config, packed, inflight } = start
  const given = givenState(start)
  const part = inflight?.memory.part(inflight.index)
  if (inflight === undefined || part === undefined) {
    const state = packed ? given : { ...given, usedIndex: ringIndex(memory, config.usedRing) }
    return { state, tracker: undefined, heads: [], lists: [] }
  }
  const { shape } = inflight.memory
  if (shape.packed !== packed || config.size > shape.queueSize) {
    throw new BlockError('EINVAL', 'the record of requests in flight is for another kind of ring')
  }
  return packed
    ? packedPosition(memory, config, given, new PackedRecord(part, shape.queueSize))
    : splitPosition(memory, config, new SplitRecord(part, shape.queueSize))
}

function givenState({ memory, config, packed, base, knowsRecords }: RingStart): QueueState {
  if (base === undefined) return freshQueueState(packed)
  // Linux's virtio_uml says 0 for every ring that begins, where a packed one begins with both wrap counters set. A ring
  // that has come round to that place has its first descriptor marked used, or available in the other turn.
  const mayBeFresh = packed && base === 0 && !knowsRecords
  if (mayBeFresh && !packedSlots(memory, config).hasUsedMark(0)) return freshQueueState(true)
  return decodeBase(base, config.size, packed)
}

function splitPosition(memory: GuestMemory, config: QueueConfig, record: SplitRecord): RingPosition {
  const usedIndex = ringIndex(memory, config.usedRing)
  const heads = record.recover(config.size, usedIndex, ringIndex(memory, config.availRing))
  // What is in flight stands behind what was returned; the base that is given knows nothing of it.
  const availIndex = (usedIndex + heads.length) & 0xffff
  const state = { availIndex, availWrap: false, usedIndex, usedWrap: false }
  return { state, tracker: record, heads, lists: [] }
}

function packedPosition(
  memory: GuestMemory,
  config: QueueConfig,
  given: QueueState,
  record: PackedRecord,
): RingPosition {
  const { heads, lists, state } = record.recover(packedSlots(memory, config), given)
  return { state, tracker: record, heads, lists }
}

/** The index of a split ring's available or used part. */
function ringIndex(memory: GuestMemory, { high, low }: GuestAddress): number {
  const address = high * 0x1_0000_0000 + low + 2 * RING_INDEX_WORD
  const region = memory.find(highHalf(address), lowHalf(address), 2)
  if (region === undefined || low % 2 !== 0) throw outside()
  return le16(Atomics.load(new Uint16Array(region.buffer, region.byteOffset + address - region.base, 1), 0))
}

function packedSlots(
  memory: GuestMemory,
  { size, descriptorTable: { high, low } }: QueueConfig,
): PackedSlots & { hasUsedMark(slot: number): boolean } {
  const views = memory.views(high, low, packedRingBytes(size))
  if (views === undefined || low % 16 !== 0) throw outside()
  // Regions meet at multiples of 16 bytes, so that a slot lies in one.
  const slots = views.flatMap(({ buffer, byteOffset, byteLength }) =>
    Array.from({ length: byteLength / 16 }, (_, i) => new Uint32Array(buffer, byteOffset + 16 * i, 4)),
  )
  const rest = (slot: number): number => le32(slots[slot]?.[3] ?? 0)
  return {
    size,
    isAvailable: (slot, wrap) => (rest(slot) & PACKED_TURN_MASK) === availableTurn(wrap),
    hasUsedMark: (slot) => ((rest(slot) >>> 16) & VIRTQ_DESC_F_USED) !== 0,
    markAvailable(slot, wrap) {
      slots[slot]?.set([le32(((rest(slot) & ~PACKED_TURN_MASK) | availableTurn(wrap)) >>> 0)], 3)
    },
  }
}

function outside(): BlockError {
  return new BlockError('EINVAL', 'a part of the ring does not lie in guest memory')
}
