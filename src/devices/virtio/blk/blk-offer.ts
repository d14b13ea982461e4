// What a device offers to its driver: the feature bits of a disk and its configuration space (virtio 1.2, 5.2.3, 5.2.4).

import { BDRV_SECTOR_SIZE } from '../../../common/limits.js'
import type { VirtioBlkConfig } from '../../../protocols/virtio/blk-config.js'
import {
  type FeatureSet,
  featureSet,
  VIRTIO_BLK_F_BLK_SIZE,
  VIRTIO_BLK_F_CONFIG_WCE,
  VIRTIO_BLK_F_DISCARD,
  VIRTIO_BLK_F_FLUSH,
  VIRTIO_BLK_F_GEOMETRY,
  VIRTIO_BLK_F_LIFETIME,
  VIRTIO_BLK_F_MQ,
  VIRTIO_BLK_F_RO,
  VIRTIO_BLK_F_SECURE_ERASE,
  VIRTIO_BLK_F_SEG_MAX,
  VIRTIO_BLK_F_SIZE_MAX,
  VIRTIO_BLK_F_TOPOLOGY,
  VIRTIO_BLK_F_WRITE_ZEROES,
} from '../../../protocols/virtio/features.js'
import type { BlkGeometry, CheckedPresentation } from './blk-setup.js'
import type { BlkUnit } from './blk-unit.js'

/** Heads and sectors of a track where nobody says otherwise. */
const USUAL_HEADS = 16
const USUAL_SECTORS = 63

/** The feature bits of a disk. */
export function offeredFeatures(shown: CheckedPresentation, writable: boolean): FeatureSet {
  const bits = [
    VIRTIO_BLK_F_SEG_MAX,
    VIRTIO_BLK_F_GEOMETRY,
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
  if (writable && shown.secureErase) bits.push(VIRTIO_BLK_F_SECURE_ERASE)
  if (shown.lifetime !== undefined) bits.push(VIRTIO_BLK_F_LIFETIME)
  return featureSet(...bits)
}

/** The configuration space. Fields of a feature not offered are 0. */
export function configOf(shown: CheckedPresentation, unit: BlkUnit, writeback: boolean): VirtioBlkConfig {
  const blockSectors = shown.logicalBlockSize / BDRV_SECTOR_SIZE
  const discard = unit.writable && shown.discard
  const zeroes = unit.writable && shown.writeZeroes
  const erase = unit.writable && shown.secureErase
  return {
    capacity: unit.capacity / BDRV_SECTOR_SIZE,
    sizeMax: shown.sizeMax,
    segMax: shown.segMax,
    ...(shown.geometry ?? usualGeometry(unit.capacity)),
    blkSize: shown.logicalBlockSize,
    physicalBlockExp: Math.log2(shown.physicalBlockSize / shown.logicalBlockSize),
    alignmentOffset: shown.alignmentOffset,
    minIoSize: shown.minIoSize / shown.logicalBlockSize,
    optIoSize: shown.optIoSize / shown.logicalBlockSize,
    writeback: writeback ? 1 : 0,
    numQueues: shown.queues > 1 ? shown.queues : 0,
    maxDiscardSectors: discard ? shown.maxDiscardSectors : 0,
    maxDiscardSeg: discard ? shown.maxDiscardSegments : 0,
    discardSectorAlignment: discard ? blockSectors : 0,
    maxWriteZeroesSectors: zeroes ? shown.maxWriteZeroesSectors : 0,
    maxWriteZeroesSeg: zeroes ? shown.maxWriteZeroesSegments : 0,
    writeZeroesMayUnmap: zeroes ? 1 : 0,
    maxSecureEraseSectors: erase ? shown.maxSecureEraseSectors : 0,
    maxSecureEraseSeg: erase ? shown.maxSecureEraseSegments : 0,
    secureEraseSectorAlignment: erase ? blockSectors : 0,
  }
}

function usualGeometry(capacity: number): BlkGeometry {
  const cylinders = Math.floor(capacity / (USUAL_HEADS * USUAL_SECTORS * BDRV_SECTOR_SIZE))
  return { cylinders: Math.min(cylinders, 0xffff), heads: USUAL_HEADS, sectors: USUAL_SECTORS }
}
