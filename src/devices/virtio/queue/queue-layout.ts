// Where a driver put a queue, checked before the queue may run. What passes is a copy: later changes of the driver's
// registers do not reach a running queue. A part is contiguous for the guest, and may still cross regions here.

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

/** A part of a queue that lies in guest memory. */
export interface PlacedPart extends GuestAddress {
  readonly name: string
  /** Guest address. */
  readonly start: number
  readonly bytes: number
  /** The one region that holds all of it, if there is one. */
  readonly region: GuestRegion | undefined
}

/** Where the parts of a queue lie. Of a packed one `driver` and `device` are the event suppressions. */
export interface QueuePlaces {
  readonly size: number
  readonly descriptors: PlacedPart
  readonly driver: PlacedPart
  readonly device: PlacedPart
  /** No part crosses from one region into the next. */
  readonly inOneRegionEach: boolean
}

/** Checks where `config` puts a split queue (virtio 1.2, 2.7). Throws EINVAL, naming what is wrong with it. */
export function placeQueue(memory: GuestMemory, config: QueueConfig, maximum: number): QueuePlaces {
  const { size } = config
  checkSize(size, Math.min(maximum, VIRTQ_MAX_SIZE))
  if ((size & (size - 1)) !== 0) throw refuse(`queue size ${size} is no power of two`)
  return placed(
    size,
    place(memory, 'descriptor table', config.descriptorTable, descriptorTableBytes(size), VIRTQ_DESC_ALIGNMENT),
    place(memory, 'available ring', config.availRing, availRingBytes(size), VIRTQ_AVAIL_ALIGNMENT),
    place(memory, 'used ring', config.usedRing, usedRingBytes(size), VIRTQ_USED_ALIGNMENT),
  )
}

/** The same for a packed queue (virtio 1.2, 2.8), whose size need not be a power of two (2.8.10.1). */
export function placePackedQueue(memory: GuestMemory, config: QueueConfig, maximum: number): QueuePlaces {
  const { size } = config
  checkSize(size, Math.min(maximum, PACKED_MAX_SIZE))
  const { descriptorTable, availRing, usedRing } = config
  return placed(
    size,
    place(memory, 'descriptor ring', descriptorTable, packedRingBytes(size), PACKED_RING_ALIGNMENT),
    place(memory, 'driver event suppression', availRing, PACKED_EVENT_BYTES, PACKED_EVENT_ALIGNMENT),
    place(memory, 'device event suppression', usedRing, PACKED_EVENT_BYTES, PACKED_EVENT_ALIGNMENT),
  )
}

/** The parts of a queue of which each lies in one region. Throws EINVAL for another. */
export function splitParts({ size, descriptors, driver, device }: QueuePlaces): QueueParts {
  const avail = inRegion(driver)
  const used = inRegion(device)
  return {
    size,
    table: words(descriptors),
    avail: new Uint16Array(avail.buffer, avail.byteOffset, driver.bytes >>> 1),
    used: new Uint16Array(used.buffer, used.byteOffset, device.bytes >>> 1),
    used32: words(device),
  }
}

/** The same of a packed queue. */
export function packedParts({ size, descriptors, driver, device }: QueuePlaces): PackedQueueParts {
  return { size, ring: words(descriptors), driverEvent: words(driver), deviceEvent: words(device) }
}

function checkSize(size: number, maximum: number): void {
  if (Number.isSafeInteger(size) && size >= 1 && size <= maximum) return
  throw refuse(`queue size ${String(size)} is not between 1 and ${maximum}`)
}

function place(
  memory: GuestMemory,
  name: string,
  { high, low }: GuestAddress,
  bytes: number,
  alignment: number,
): PlacedPart {
  if (!isHalf(high) || !isHalf(low)) throw refuse(`address of the ${name} is no pair of u32`)
  if (low % alignment !== 0) throw refuse(`the ${name} is not aligned to ${alignment} bytes`)
  const region = memory.find(high, low, bytes)
  if (region === undefined && memory.views(high, low, bytes) === undefined) {
    throw refuse(`the ${name} does not lie in guest memory`)
  }
  return { name, high, low, start: high * 0x1_0000_0000 + low, bytes, region }
}

function placed(size: number, descriptors: PlacedPart, driver: PlacedPart, device: PlacedPart): QueuePlaces {
  if (overlap(descriptors, driver) || overlap(descriptors, device) || overlap(driver, device)) {
    throw refuse('the parts of the queue overlap')
  }
  const inOneRegionEach = [descriptors, driver, device].every(({ region }) => region !== undefined)
  return { size, descriptors, driver, device, inOneRegionEach }
}

function overlap(a: PlacedPart, b: PlacedPart): boolean {
  return a.start < b.start + b.bytes && b.start < a.start + a.bytes
}

function inRegion({ name, region, start }: PlacedPart): { buffer: ArrayBufferLike; byteOffset: number } {
  if (region === undefined) throw refuse(`the ${name} does not lie in one region of guest memory`)
  return { buffer: region.buffer, byteOffset: region.byteOffset + (start - region.base) }
}

function words(part: PlacedPart): Uint32Array {
  const { buffer, byteOffset } = inRegion(part)
  return new Uint32Array(buffer, byteOffset, part.bytes >>> 2)
}

function isHalf(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0 && value <= 0xffff_ffff
}

function refuse(message: string): BlockError {
  return new BlockError('EINVAL', message, { op: 'enable-queue' })
}
