// The disk as requests see it; the device keeps it up to date.

import type { BackendRoot } from '../../../io/backend/root.js'
import { sectorToBytes, type VirtioBlkLifetime } from '../../../protocols/virtio/blk.js'

/** What a request that changes ranges may do. */
export interface RangeLimits {
  /** The feature was agreed. */
  agreed: boolean
  /** Of one segment. */
  readonly maxSectors: number
  readonly maxSegments: number
}

/** A disk. */
export interface BlkUnit {
  readonly root: BackendRoot
  /** Bytes; a multiple of the sector. Requests end here. */
  capacity: number
  /** Logical block size in bytes: requests are aligned to it. */
  readonly blockSize: number
  readonly writable: boolean
  /** FUA where the guest relies on a write being stable when it completes. */
  writeFlags: number
  readonly discard: RangeLimits
  readonly writeZeroes: RangeLimits
  readonly secureErase: RangeLimits
  /** How worn the disk is, where the feature was agreed. */
  lifetime: (() => VirtioBlkLifetime) | undefined
  /** VIRTIO_BLK_ID_BYTES bytes, padded with NUL. */
  readonly serial: Uint8Array
}

/** Byte offset of `bytes` from a sector; -1 where they are not on the disk or not aligned to its blocks. */
export function offsetIn(unit: BlkUnit, sectorHigh: number, sectorLow: number, bytes: number): number {
  const offset = sectorToBytes(sectorHigh, sectorLow)
  if (offset === undefined || bytes > unit.capacity || offset > unit.capacity - bytes) return -1
  const mask = unit.blockSize - 1
  return (offset & mask) === 0 && (bytes & mask) === 0 ? offset : -1
}
