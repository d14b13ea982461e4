// Where a driver put a queue, checked before the queue may run. What passes is a copy: later changes of the driver's
// registers do not reach a running queue.

import { BlockError } from '../../../common/error.js'
import {
  availRingBytes,
  descriptorTableBytes,
  usedRingBytes,
  VIRTQ_AVAIL_ALIGNMENT,
  VIRTQ_DESC_ALIGNMENT,
  VIRTQ_USED_ALIGNMENT,
} from '../../../protocols/virtio/split-ring.js'
import type { GuestMemory, GuestRegion } from '../memory/guest-memory.js'

/** A guest physical address as transports carry it. */
export interface GuestAddress {
  high: number
  low: number
}

/** What a driver says of a queue. */
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

interface Part {
  name: string
  address: GuestAddress
  bytes: number
  alignment: number
}

/** Checks `config` (virtio 1.2, 2.7). Throws EINVAL, naming what is wrong with it. */
export function mapQueue(memory: GuestMemory, config: QueueConfig, maximum: number): QueueParts {
  const { size } = config
  if (!Number.isSafeInteger(size) || size < 1 || size > maximum || (size & (size - 1)) !== 0) {
    throw refuse(`queue size ${String(size)} is no power of two up to ${maximum}`)
  }
  const table = place(memory, {
    name: 'descriptor table',
    address: config.descriptorTable,
    bytes: descriptorTableBytes(size),
    alignment: VIRTQ_DESC_ALIGNMENT,
  })
  const avail = place(memory, {
    name: 'available ring',
    address: config.availRing,
    bytes: availRingBytes(size),
    alignment: VIRTQ_AVAIL_ALIGNMENT,
  })
  const used = place(memory, {
    name: 'used ring',
    address: config.usedRing,
    bytes: usedRingBytes(size),
    alignment: VIRTQ_USED_ALIGNMENT,
  })
  if (overlap(table, avail) || overlap(table, used) || overlap(avail, used))
    throw refuse('the parts of the queue overlap')
  return {
    size,
    table: new Uint32Array(table.region.buffer, table.byteOffset, table.bytes >>> 2),
    avail: new Uint16Array(avail.region.buffer, avail.byteOffset, avail.bytes >>> 1),
    used: new Uint16Array(used.region.buffer, used.byteOffset, used.bytes >>> 1),
    used32: new Uint32Array(used.region.buffer, used.byteOffset, used.bytes >>> 2),
  }
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
