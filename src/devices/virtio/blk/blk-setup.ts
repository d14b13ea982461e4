// From the options of a virtio-blk device to what it offers: feature bits, limits and the configuration space.

import { BlockError } from '../../../common/error.js'
import { BDRV_REQUEST_MAX_SECTORS, BDRV_SECTOR_SIZE } from '../../../common/limits.js'
import { alignDown } from '../../../common/units.js'
import type { BackendRoot } from '../../../io/backend/root.js'
import { VIRTIO_BLK_ID_BYTES } from '../../../protocols/virtio/blk.js'
import type { VirtioBlkConfig } from '../../../protocols/virtio/blk-config.js'
import {
  type FeatureSet,
  featureSet,
  VIRTIO_BLK_F_BLK_SIZE,
  VIRTIO_BLK_F_CONFIG_WCE,
  VIRTIO_BLK_F_DISCARD,
  VIRTIO_BLK_F_FLUSH,
  VIRTIO_BLK_F_MQ,
  VIRTIO_BLK_F_RO,
  VIRTIO_BLK_F_SEG_MAX,
  VIRTIO_BLK_F_SIZE_MAX,
  VIRTIO_BLK_F_TOPOLOGY,
  VIRTIO_BLK_F_WRITE_ZEROES,
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_VERSION_1,
} from '../../../protocols/virtio/features.js'
import { VIRTQ_MAX_SIZE } from '../../../protocols/virtio/split-ring.js'
import { checkQueueSize } from '../core/check-queue-size.js'
import { isRootWritable, lengthOfRoot } from './blk-backend.js'
import type { BlkUnit } from './blk-execute.js'

/** How a device presents its disk. Sizes are bytes. */
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
  /** Multiples of the logical block size; 0 says nothing. */
  minIoSize?: number
  optIoSize?: number
  /** Offer the request. Default true; a read-only device offers neither. */
  discard?: boolean
  writeZeroes?: boolean
  /** In sectors of 512 bytes. Default and most: BDRV_REQUEST_MAX_SECTORS. */
  maxDiscardSectors?: number
  maxWriteZeroesSectors?: number
}

/** All of it, checked. */
export type CheckedPresentation = Required<BlkPresentation>

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
    minIoSize: options.minIoSize ?? 0,
    optIoSize: options.optIoSize ?? 0,
    discard: options.discard ?? true,
    writeZeroes: options.writeZeroes ?? true,
    maxDiscardSectors: options.maxDiscardSectors ?? BDRV_REQUEST_MAX_SECTORS,
    maxWriteZeroesSectors: options.maxWriteZeroesSectors ?? BDRV_REQUEST_MAX_SECTORS,
  }
  require(within(checked.queues, 1, 64), 'queues must be 1..64')
  checkQueueSize(queueSize, 'virtio-blk')
  require(within(checked.segMax, 1, VIRTQ_MAX_SIZE), 'segMax must be 1..32768')
  require(within(checked.sizeMax, 0, 0xffff_ffff), 'sizeMax must be a u32')
  require(within(logicalBlockSize, 512, 32768) &&
    isPower(logicalBlockSize), 'logical block size must be a power of two of 512..32768')
  const { physicalBlockSize, minIoSize, optIoSize } = checked
  require(within(physicalBlockSize, logicalBlockSize, 1 << 30) &&
    isPower(physicalBlockSize), 'physical block size must be a power of two of logical blocks')
  require(within(minIoSize / logicalBlockSize, 0, 0xffff), 'minimum I/O size must be up to 65535 logical blocks')
  require(within(optIoSize / logicalBlockSize, 0, 0xffff_ffff), 'optimal I/O size must be a number of logical blocks')
  require(within(checked.maxDiscardSectors, 1, BDRV_REQUEST_MAX_SECTORS), 'maxDiscardSectors is out of range')
  require(within(checked.maxWriteZeroesSectors, 1, BDRV_REQUEST_MAX_SECTORS), 'maxWriteZeroesSectors is out of range')
  return checked
}

/** What the device offers. */
export function offeredFeatures(shown: CheckedPresentation, writable: boolean): FeatureSet {
  const bits = [
    VIRTIO_F_VERSION_1,
    VIRTIO_F_EVENT_IDX,
    VIRTIO_BLK_F_SEG_MAX,
    VIRTIO_BLK_F_BLK_SIZE,
    VIRTIO_BLK_F_FLUSH,
    VIRTIO_BLK_F_TOPOLOGY,
    VIRTIO_BLK_F_CONFIG_WCE,
  ]
  if (shown.sizeMax > 0) bits.push(VIRTIO_BLK_F_SIZE_MAX)
  if (shown.queues > 1) bits.push(VIRTIO_BLK_F_MQ)
  if (!writable) bits.push(VIRTIO_BLK_F_RO)
  if (writable && shown.discard) bits.push(VIRTIO_BLK_F_DISCARD)
  if (writable && shown.writeZeroes) bits.push(VIRTIO_BLK_F_WRITE_ZEROES)
  return featureSet(...bits)
}

/** The disk as requests see it, before a driver has agreed to anything. */
export function createUnit(root: BackendRoot, shown: CheckedPresentation): BlkUnit {
  return {
    root,
    capacity: wholeBlocks(lengthOfRoot(root), shown),
    blockSize: shown.logicalBlockSize,
    writable: isRootWritable(root),
    writeFlags: 0,
    discard: false,
    writeZeroes: false,
    maxDiscardSectors: shown.maxDiscardSectors,
    maxWriteZeroesSectors: shown.maxWriteZeroesSectors,
    serial: serialBytes(shown.serial),
  }
}

/** The length a guest sees of a backend of `length` bytes: whole logical blocks. */
export function wholeBlocks(length: number, shown: CheckedPresentation): number {
  return alignDown(length, shown.logicalBlockSize)
}

/** The configuration space. Fields of a feature not offered are 0. */
export function configOf(shown: CheckedPresentation, unit: BlkUnit, writeback: boolean): VirtioBlkConfig {
  const blockSectors = shown.logicalBlockSize / BDRV_SECTOR_SIZE
  const discard = unit.writable && shown.discard
  const zeroes = unit.writable && shown.writeZeroes
  return {
    capacity: unit.capacity / BDRV_SECTOR_SIZE,
    sizeMax: shown.sizeMax,
    segMax: shown.segMax,
    blkSize: shown.logicalBlockSize,
    physicalBlockExp: Math.log2(shown.physicalBlockSize / shown.logicalBlockSize),
    alignmentOffset: 0,
    minIoSize: shown.minIoSize / shown.logicalBlockSize,
    optIoSize: shown.optIoSize / shown.logicalBlockSize,
    writeback: writeback ? 1 : 0,
    numQueues: shown.queues > 1 ? shown.queues : 0,
    maxDiscardSectors: discard ? shown.maxDiscardSectors : 0,
    maxDiscardSeg: discard ? 1 : 0,
    discardSectorAlignment: discard ? blockSectors : 0,
    maxWriteZeroesSectors: zeroes ? shown.maxWriteZeroesSectors : 0,
    maxWriteZeroesSeg: zeroes ? 1 : 0,
    writeZeroesMayUnmap: zeroes ? 1 : 0,
  }
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
