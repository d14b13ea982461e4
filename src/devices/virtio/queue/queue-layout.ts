// Where a driver put a queue, checked before the queue may run. What passes is a copy: later changes of the driver's
// registers do not reach a running queue.

import { BlockError } from '../../../common/error.js'
import {
  PACKED_EVENT_ALIGNMENT,
  PACKED_EVENT_BYTES,
  PACKED_MAX_SIZE,
  PACKED_RING_ALIGNMENT,
  packedRingBytes,
} from '../../../protocols/virtio/packed-ring.js'
import {
  availRingBytes,
  descriptorTableBytes,
  usedRingBytes,
  VIRTQ_AVAIL_ALIGNMENT,
  VIRTQ_DESC_ALIGNMENT,
  VIRTQ_MAX_SIZE,
  VIRTQ_USED_ALIGNMENT,
} from '../../../protocols/virtio/split-ring.js'
import type { GuestMemory, GuestRegion } from '../memory/guest-memory.js'

/** A guest physical address as transports carry it. */
export interface GuestAddress {
  high: number
  low: number
}

/** What a driver says of a queue. A packed one has its descriptor ring and the two event suppressions in these places. */
export interface QueueConfig {
  /** In entries. */
  size: number
  descriptorTable: GuestAddress
  availRing: GuestAddress
  usedRing: GuestAddress
}

/** The parts of a queue as words of the host. */
export interface QueueParts {
  readonly size: number
  readonly table: Uint32Array
  readonly avail: Uint16Array
  readonly used: Uint16Array
  /** The elements of the used ring. */
  readonly used32: Uint32Array
}

/** The parts of a packed queue as words of the host. */
export interface PackedQueueParts {
  readonly size: number
  readonly ring: Uint32Array
  /** Written by the driver. */
  readonly driverEvent: Uint32Array
  /** Written by the device. */
  readonly deviceEvent: Uint32Array
}

interface Part {
  name: string
  address: GuestAddress
  bytes: number
  alignment: number
}

/** Checks `config` (virtio 1.2, 2.7). Throws EINVAL, naming what is wrong with it. */
export function mapQueue(memory: GuestMemory, config: QueueConfig, maximum: number): QueueParts {
  const { size } = config
  checkSize(size, Math.min(maximum, VIRTQ_MAX_SIZE))
  if ((size & (size - 1)) !== 0) throw refuse(`queue size ${size} is no power of two`)
  const [table, avail, used] = placeAll(memory, [
    part('descriptor table', config.descriptorTable, descriptorTableBytes(size), VIRTQ_DESC_ALIGNMENT),
    part('available ring', config.availRing, availRingBytes(size), VIRTQ_AVAIL_ALIGNMENT),
    part('used ring', config.usedRing, usedRingBytes(size), VIRTQ_USED_ALIGNMENT),
  ])
  return {
    size,
    table: words(table),
    avail: new Uint16Array(avail.region.buffer, avail.byteOffset, avail.bytes >>> 1),
    used: new Uint16Array(used.region.buffer, used.byteOffset, used.bytes >>> 1),
    used32: words(used),
  }
}

/** The same for a packed queue (virtio 1.2, 2.8), whose size need not be a power of two (2.8.10.1). */
export function mapPackedQueue(memory: GuestMemory, config: QueueConfig, maximum: number): PackedQueueParts {
  const { size } = config
  checkSize(size, Math.min(maximum, PACKED_MAX_SIZE))
  const [ring, driverEvent, deviceEvent] = placeAll(memory, [
    part('descriptor ring', config.descriptorTable, packedRingBytes(size), PACKED_RING_ALIGNMENT),
    part('driver event suppression', config.availRing, PACKED_EVENT_BYTES, PACKED_EVENT_ALIGNMENT),
    part('device event suppression', config.usedRing, PACKED_EVENT_BYTES, PACKED_EVENT_ALIGNMENT),
  ])
  return { size, ring: words(ring), driverEvent: words(driverEvent), deviceEvent: words(deviceEvent) }
}

function checkSize(size: number, maximum: number): void {
  if (Number.isSafeInteger(size) && size >= 1 && size <= maximum) return
  throw refuse(`queue size ${String(size)} is not between 1 and ${maximum}`)
}

function part(name: string, address: GuestAddress, bytes: number, alignment: number): Part {
  return { name, address, bytes, alignment }
}

function words(placed: Placed): Uint32Array {
  return new Uint32Array(placed.region.buffer, placed.byteOffset, placed.bytes >>> 2)
}

function placeAll(memory: GuestMemory, parts: [Part, Part, Part]): [Placed, Placed, Placed] {
  const a = place(memory, parts[0])
  const b = place(memory, parts[1])
  const c = place(memory, parts[2])
  if (overlap(a, b) || overlap(a, c) || overlap(b, c)) throw refuse('the parts of the queue overlap')
  return [a, b, c]
}

interface Placed {
  region: GuestRegion
  /** In the region's buffer. */
  byteOffset: number
  /** Guest address. */
  start: number
  bytes: number
}

function place(memory: GuestMemory, part: Part): Placed {
  const { high, low } = part.address
  if (!isHalf(high) || !isHalf(low)) throw refuse(`address of the ${part.name} is no pair of u32`)
  if (low % part.alignment !== 0) throw refuse(`the ${part.name} is not aligned to ${part.alignment} bytes`)
  const region = memory.find(high, low, part.bytes)
  if (region === undefined) throw refuse(`the ${part.name} does not lie in one region of guest memory`)
  const start = high * 0x1_0000_0000 + low
  return { region, byteOffset: region.byteOffset + (start - region.base), start, bytes: part.bytes }
}

function overlap(a: Placed, b: Placed): boolean {
  return a.start < b.start + b.bytes && b.start < a.start + a.bytes
}

function isHalf(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0 && value <= 0xffff_ffff
}

function refuse(message: string): BlockError {
  return new BlockError('EINVAL', message, { op: 'enable-queue' })
}
