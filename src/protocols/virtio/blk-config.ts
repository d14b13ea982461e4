// Configuration space of the block device (virtio 1.2, 5.2.4). The zoned part is there and 0: no zoned device exists here.

import { highHalf, lowHalf } from '../../common/units.js'

/** Bytes of the space this library shows. */
export const VIRTIO_BLK_CONFIG_BYTES = 96
/** The one field a driver may write. */
export const VIRTIO_BLK_CONFIG_WRITEBACK = 32

/** Fields of struct virtio_blk_config; one that belongs to a feature not offered is 0. */
export interface VirtioBlkConfig {
  /** In sectors of 512 bytes. */
  capacity: number
  /** In bytes. */
  sizeMax: number
  segMax: number
  cylinders: number
  heads: number
  /** A track's. */
  sectors: number
  /** In bytes. */
  blkSize: number
  /** Logical blocks in a physical one, as a power of two. */
  physicalBlockExp: number
  /** Offset of the first aligned logical block. */
  alignmentOffset: number
  /** In logical blocks. */
  minIoSize: number
  /** In logical blocks. */
  optIoSize: number
  writeback: number
  numQueues: number
  maxDiscardSectors: number
  maxDiscardSeg: number
  /** In sectors. */
  discardSectorAlignment: number
  maxWriteZeroesSectors: number
  maxWriteZeroesSeg: number
  writeZeroesMayUnmap: number
  maxSecureEraseSectors: number
  maxSecureEraseSeg: number
  /** In sectors. */
  secureEraseSectorAlignment: number
}

/** The space as bytes. */
export function encodeBlkConfig(config: VirtioBlkConfig): Uint8Array {
  const bytes = new Uint8Array(VIRTIO_BLK_CONFIG_BYTES)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, lowHalf(config.capacity), true)
  view.setUint32(4, highHalf(config.capacity), true)
  view.setUint32(8, config.sizeMax, true)
  view.setUint32(12, config.segMax, true)
  view.setUint16(16, config.cylinders, true)
  view.setUint8(18, config.heads)
  view.setUint8(19, config.sectors)
  view.setUint32(20, config.blkSize, true)
  view.setUint8(24, config.physicalBlockExp)
  view.setUint8(25, config.alignmentOffset)
  view.setUint16(26, config.minIoSize, true)
  view.setUint32(28, config.optIoSize, true)
  view.setUint8(VIRTIO_BLK_CONFIG_WRITEBACK, config.writeback)
  view.setUint16(34, config.numQueues, true)
  view.setUint32(36, config.maxDiscardSectors, true)
  view.setUint32(40, config.maxDiscardSeg, true)
  view.setUint32(44, config.discardSectorAlignment, true)
  view.setUint32(48, config.maxWriteZeroesSectors, true)
  view.setUint32(52, config.maxWriteZeroesSeg, true)
  view.setUint8(56, config.writeZeroesMayUnmap)
  view.setUint32(60, config.maxSecureEraseSectors, true)
  view.setUint32(64, config.maxSecureEraseSeg, true)
  view.setUint32(68, config.secureEraseSectorAlignment, true)
  return bytes
}

/** The fields of a space of at least {@link VIRTIO_BLK_CONFIG_BYTES} bytes. */
export function decodeBlkConfig(bytes: Uint8Array): VirtioBlkConfig {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return {
    capacity: view.getUint32(4, true) * 0x1_0000_0000 + view.getUint32(0, true),
    sizeMax: view.getUint32(8, true),
    segMax: view.getUint32(12, true),
    cylinders: view.getUint16(16, true),
    heads: view.getUint8(18),
    sectors: view.getUint8(19),
    blkSize: view.getUint32(20, true),
    physicalBlockExp: view.getUint8(24),
    alignmentOffset: view.getUint8(25),
    minIoSize: view.getUint16(26, true),
    optIoSize: view.getUint32(28, true),
    writeback: view.getUint8(VIRTIO_BLK_CONFIG_WRITEBACK),
    numQueues: view.getUint16(34, true),
    maxDiscardSectors: view.getUint32(36, true),
    maxDiscardSeg: view.getUint32(40, true),
    discardSectorAlignment: view.getUint32(44, true),
    maxWriteZeroesSectors: view.getUint32(48, true),
    maxWriteZeroesSeg: view.getUint32(52, true),
    writeZeroesMayUnmap: view.getUint8(56),
    maxSecureEraseSectors: view.getUint32(60, true),
    maxSecureEraseSeg: view.getUint32(64, true),
    secureEraseSectorAlignment: view.getUint32(68, true),
  }
}
