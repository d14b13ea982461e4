// What each request type does (virtio 1.2, 5.2.6). A request that breaks a rule ends in a status of its own and never
// reaches the backend; data buffers are the guest's own memory.

import { copyBytes } from '../../../common/io-vector.js'
import { BDRV_REQUEST_MAX_BYTES } from '../../../common/limits.js'
import type { RequestKind } from '../../../common/request.js'
import { submitFlush, submitRead, submitWrite } from '../../../io/backend/submit.js'
import type { Completion } from '../../../io/node-io.js'
import {
  encodeBlkLifetime,
  isBlkLifetime,
  VIRTIO_BLK_HEADER_BYTES,
  VIRTIO_BLK_LIFETIME_BYTES,
  VIRTIO_BLK_S_IOERR,
  VIRTIO_BLK_S_OK,
  VIRTIO_BLK_S_UNSUPP,
  VIRTIO_BLK_T_DISCARD,
  VIRTIO_BLK_T_FLUSH,
  VIRTIO_BLK_T_GET_ID,
  VIRTIO_BLK_T_GET_LIFETIME,
  VIRTIO_BLK_T_IN,
  VIRTIO_BLK_T_OUT,
  VIRTIO_BLK_T_SECURE_ERASE,
  VIRTIO_BLK_T_WRITE_ZEROES,
} from '../../../protocols/virtio/blk.js'
import { changeRanges } from './blk-ranges.js'
import type { BlkRequest } from './blk-request.js'
import { type BlkUnit, offsetIn } from './blk-unit.js'

/** Runs a request: its status where it is done, a promise where the backend answers later. May throw what the backend throws. */
export function executeBlk(unit: BlkUnit, request: BlkRequest): number | Promise<void> {
  // An empty buffer is against the rules (virtio 1.2, 2.7.13.1), but the driver can be told.
  if (request.chain.hasEmptyBuffer) return VIRTIO_BLK_S_IOERR
  switch (request.type) {
    case VIRTIO_BLK_T_IN:
      return read(unit, request)
    case VIRTIO_BLK_T_OUT:
      return write(unit, request)
    case VIRTIO_BLK_T_FLUSH:
      return outcome(submitFlush(unit.root))
    case VIRTIO_BLK_T_GET_ID:
      return getId(unit, request)
    case VIRTIO_BLK_T_GET_LIFETIME:
      return getLifetime(unit, request)
    case VIRTIO_BLK_T_DISCARD:
      return changeRanges(unit, request, unit.discard)
    case VIRTIO_BLK_T_WRITE_ZEROES:
      return changeRanges(unit, request, unit.writeZeroes)
    case VIRTIO_BLK_T_SECURE_ERASE:
      return changeRanges(unit, request, unit.secureErase)
    default:
      // Zone requests too (virtio 1.2, 5.2.6.2): a zoned device is not offered.
      return VIRTIO_BLK_S_UNSUPP
  }
}

/** What the backend calls a type, for its error policy and its counts. */
export function requestKindOf(type: number): RequestKind {
  switch (type) {
    case VIRTIO_BLK_T_IN:
      return 'read'
    case VIRTIO_BLK_T_FLUSH:
      return 'flush'
    case VIRTIO_BLK_T_DISCARD:
      return 'discard'
    case VIRTIO_BLK_T_WRITE_ZEROES:
      return 'write-zeroes'
    default:
      return 'write'
  }
}

/** Whether a request of this type that the device refuses counts as one that the backend was spared. */
export function isCounted(type: number): boolean {
  return (
    type === VIRTIO_BLK_T_IN ||
    type === VIRTIO_BLK_T_OUT ||
    type === VIRTIO_BLK_T_DISCARD ||
    type === VIRTIO_BLK_T_WRITE_ZEROES ||
    type === VIRTIO_BLK_T_SECURE_ERASE
  )
}

function read(unit: BlkUnit, request: BlkRequest): number | Promise<void> {
  const bytes = request.dataIn
  const offset = placeOf(unit, request, bytes)
  if (offset < 0 || request.dataOut !== 0) return VIRTIO_BLK_S_IOERR
  if (bytes === 0) return VIRTIO_BLK_S_OK
  request.filled = bytes
  return outcome(submitRead(unit.root, offset, request.chain.writable(bytes), 0))
}

function write(unit: BlkUnit, request: BlkRequest): number | Promise<void> {
  const bytes = request.dataOut
  const offset = placeOf(unit, request, bytes)
  // Virtio 1.2, 5.2.6.2: no data is written to a read-only device.
  if (!unit.writable || offset < 0) return VIRTIO_BLK_S_IOERR
  if (bytes === 0) return request.dataIn === 0 ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR
  return outcome(
    submitWrite(unit.root, offset, request.chain.readable(VIRTIO_BLK_HEADER_BYTES, bytes), unit.writeFlags),
  )
}

function getId(unit: BlkUnit, request: BlkRequest): number {
  const bytes = Math.min(request.dataIn, unit.serial.length)
  if (bytes > 0) copyBytes(request.chain.writable(bytes), unit.serial.subarray(0, bytes))
  request.filled = bytes
  return VIRTIO_BLK_S_OK
}

function getLifetime(unit: BlkUnit, request: BlkRequest): number {
  if (unit.lifetime === undefined) return VIRTIO_BLK_S_UNSUPP
  const lifetime = unit.lifetime()
  // Virtio 1.2, 5.2.6.2: no reserved values are sent.
  if (request.dataIn < VIRTIO_BLK_LIFETIME_BYTES || !isBlkLifetime(lifetime)) return VIRTIO_BLK_S_IOERR
  copyBytes(request.chain.writable(VIRTIO_BLK_LIFETIME_BYTES), encodeBlkLifetime(lifetime))
  request.filled = VIRTIO_BLK_LIFETIME_BYTES
  return VIRTIO_BLK_S_OK
}

/** Byte offset of a read or write that moves data and breaks no rule, so that it may be joined to others; -1 for any other. */
export function transferOffset(unit: BlkUnit, request: BlkRequest): number {
  const reading = request.type === VIRTIO_BLK_T_IN
  if (request.chain.hasEmptyBuffer || (reading ? request.dataOut !== 0 : !unit.writable)) return -1
  const bytes = reading ? request.dataIn : request.dataOut
  return bytes === 0 ? -1 : placeOf(unit, request, bytes)
}

/** Byte offset of a read or write of `bytes`; -1 where it is not on the disk or not aligned to its blocks. */
function placeOf(unit: BlkUnit, request: BlkRequest, bytes: number): number {
  if (bytes > BDRV_REQUEST_MAX_BYTES) return -1
  return offsetIn(unit, request.sectorHigh, request.sectorLow, bytes)
}

function outcome(completion: Completion): number | Promise<void> {
  return completion === undefined ? VIRTIO_BLK_S_OK : completion
}
