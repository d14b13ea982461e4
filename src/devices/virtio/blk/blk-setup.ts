// How a device presents its disk: what may be chosen, checked, and the disk that requests see.

import { BlockError } from '../../../common/error.js'
import { BDRV_REQUEST_MAX_SECTORS, BDRV_SECTOR_SIZE } from '../../../common/limits.js'
import { alignDown } from '../../../common/units.js'
import type { BackendRoot } from '../../../io/backend/root.js'
import { VIRTIO_BLK_ID_BYTES, type VirtioBlkLifetime } from '../../../protocols/virtio/blk.js'
import { VIRTQ_MAX_SIZE } from '../../../protocols/virtio/split-ring.js'
import { checkQueueSize } from '../core/check-queue-size.js'
import { isRootWritable, lengthOfRoot } from '../core/disk-root.js'
import type { BlkUnit, RangeLimits } from './blk-unit.js'

/** Cylinders, heads and sectors of a track, for guests that still ask. */
export interface BlkGeometry {
  cylinders: number
  heads: number
  sectors: number
}

/** How a device presents its disk. Sizes are bytes, counts of sectors are in 512 bytes. */
export interface BlkPresentation {
  /** ASCII, cut to 20 bytes. Default: empty. */
  serial?: string
  /** Queues; more than one offers MQ. Default 1, at most 64. */
  queues?: number
  /** Largest size of a queue in entries, a power of two. Default 256. */
  queueSize?: number
  /** Most data buffers of a request the driver should use. Default: the queue size less header and status. */
  segMax?: number
  /** Largest data buffer; 0, the default, does not offer the limit. */
  sizeMax?: number
  /** Power of two, 512..32768: requests are multiples of it. Default 512. */
  logicalBlockSize?: number
  /** A power of two of logical blocks. Default: the logical block size. */
  physicalBlockSize?: number
  /** The first logical block that is aligned to a physical one. Default 0. */
  alignmentOffset?: number
  /** Multiples of the logical block size; 0 says nothing. */
  minIoSize?: number
  optIoSize?: number
  /** Default: what fits the capacity with 16 heads and 63 sectors. */
  geometry?: BlkGeometry
  /** Offer the request. Default true; a read-only device offers neither. */
  discard?: boolean
  writeZeroes?: boolean
  /** Offer secure erase, which writes zeroes as data. Default false. */
  secureErase?: boolean
  /** Of one segment. Default and most: BDRV_REQUEST_MAX_SECTORS; of a secure erase 32768 by default. */
  maxDiscardSectors?: number
  maxWriteZeroesSectors?: number
  maxSecureEraseSectors?: number
  /** Of one request. Default 16, at most 256. */
  maxDiscardSegments?: number
  maxWriteZeroesSegments?: number
  maxSecureEraseSegments?: number
  /** How worn the storage is, asked at each request for it. Not offered by default. */
  lifetime?: () => VirtioBlkLifetime
}

/** All of it, checked; without a geometry or a lifetime where none was given. */
export type CheckedPresentation = Required<Omit<BlkPresentation, 'geometry' | 'lifetime'>> &
  Pick<BlkPresentation, 'geometry' | 'lifetime'>

/** Fills in defaults. Throws EINVAL for what no device can be. */
export function checkPresentation(options: BlkPresentation): CheckedPresentation {
  const queueSize = options.queueSize ?? 256
  const logicalBlockSize = options.logicalBlockSize ?? BDRV_SECTOR_SIZE
  const checked: CheckedPresentation = {
    serial: options.serial ?? '',
    queues: options.queues ?? 1,
    queueSize,
    segMax: options.segMax ?? Math.max(queueSize - 2, 1),
    sizeMax: options.sizeMax ?? 0,
    logicalBlockSize,
    physicalBlockSize: options.physicalBlockSize ?? logicalBlockSize,
    alignmentOffset: options.alignmentOffset ?? 0,
    minIoSize: options.minIoSize ?? 0,
    optIoSize: options.optIoSize ?? 0,
    discard: options.discard ?? true,
    writeZeroes: options.writeZeroes ?? true,
    secureErase: options.secureErase ?? false,
    maxDiscardSectors: options.maxDiscardSectors ?? BDRV_REQUEST_MAX_SECTORS,
    maxWriteZeroesSectors: options.maxWriteZeroesSectors ?? BDRV_REQUEST_MAX_SECTORS,
    maxSecureEraseSectors: options.maxSecureEraseSectors ?? 32768,
    maxDiscardSegments: options.maxDiscardSegments ?? 16,
    maxWriteZeroesSegments: options.maxWriteZeroesSegments ?? 16,
    maxSecureEraseSegments: options.maxSecureEraseSegments ?? 16,
    ...(options.geometry === undefined ? {} : { geometry: options.geometry }),
    ...(options.lifetime === undefined ? {} : { lifetime: options.lifetime }),
  }
  require(within(checked.queues, 1, 64), 'queues must be 1..64')
  checkQueueSize(queueSize, 'virtio-blk')
  checkSizes(checked)
  checkRanges(checked)
  return checked
}

function checkSizes(checked: CheckedPresentation): void {
  const { logicalBlockSize, physicalBlockSize, minIoSize, optIoSize, geometry } = checked
  require(within(checked.segMax, 1, VIRTQ_MAX_SIZE), 'segMax must be 1..32768')
  require(within(checked.sizeMax, 0, 0xffff_ffff), 'sizeMax must be a u32')
  require(within(logicalBlockSize, 512, 32768) &&
    isPower(logicalBlockSize), 'logical block size must be a power of two of 512..32768')
  require(within(physicalBlockSize, logicalBlockSize, 1 << 30) &&
    isPower(physicalBlockSize), 'physical block size must be a power of two of logical blocks')
  const blocks = physicalBlockSize / logicalBlockSize
  require(within(checked.alignmentOffset, 0, Math.min(blocks - 1, 255)), 'alignment offset must be a logical block')
  require(within(minIoSize / logicalBlockSize, 0, 0xffff), 'minimum I/O size must be up to 65535 logical blocks')
  require(within(optIoSize / logicalBlockSize, 0, 0xffff_ffff), 'optimal I/O size must be a number of logical blocks')
  if (geometry === undefined) return
  const { cylinders, heads, sectors } = geometry
  require(within(cylinders, 1, 0xffff) &&
    within(heads, 1, 0xff) &&
    within(sectors, 1, 0xff), 'geometry must be up to 65535 cylinders, 255 heads and 255 sectors')
}

function checkRanges(checked: CheckedPresentation): void {
  for (const name of ['maxDiscardSectors', 'maxWriteZeroesSectors', 'maxSecureEraseSectors'] as const) {
    require(within(checked[name], 1, BDRV_REQUEST_MAX_SECTORS), `${name} is out of range`)
  }
  for (const name of ['maxDiscardSegments', 'maxWriteZeroesSegments', 'maxSecureEraseSegments'] as const) {
    require(within(checked[name], 1, 256), `${name} must be 1..256`)
  }
}

/** The disk as requests see it, before a driver has agreed to anything. */
export function createUnit(root: BackendRoot, shown: CheckedPresentation): BlkUnit {
  return {
    root,
    capacity: wholeBlocks(lengthOfRoot(root), shown),
    blockSize: shown.logicalBlockSize,
    writable: isRootWritable(root),
    writeFlags: 0,
    discard: limits(shown.maxDiscardSectors, shown.maxDiscardSegments),
    writeZeroes: limits(shown.maxWriteZeroesSectors, shown.maxWriteZeroesSegments),
    secureErase: limits(shown.maxSecureEraseSectors, shown.maxSecureEraseSegments),
    lifetime: undefined,
    serial: serialBytes(shown.serial),
  }
}

/** The length a guest sees of a backend of `length` bytes: whole logical blocks. */
export function wholeBlocks(length: number, shown: CheckedPresentation): number {
  return alignDown(length, shown.logicalBlockSize)
}

function limits(maxSectors: number, maxSegments: number): RangeLimits {
  return { agreed: false, maxSectors, maxSegments }
}

function serialBytes(serial: string): Uint8Array {
  const bytes = new Uint8Array(VIRTIO_BLK_ID_BYTES)
  for (let i = 0; i < Math.min(serial.length, VIRTIO_BLK_ID_BYTES); i++) {
    const code = serial.charCodeAt(i)
    require(code > 0 && code < 0x80, 'serial must be ASCII')
    bytes[i] = code
  }
  return bytes
}

function within(value: number, low: number, high: number): boolean {
  return Number.isSafeInteger(value) && value >= low && value <= high
}

function isPower(value: number): boolean {
  return (value & (value - 1)) === 0
}

function require(condition: boolean, message: string): asserts condition {
  if (!condition) throw new BlockError('EINVAL', `virtio-blk: ${message}`)
}
