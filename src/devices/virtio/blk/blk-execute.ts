// What each request type does (virtio 1.2, 5.2.6). A request that breaks a rule ends in a status of its own and never
// reaches the backend; data buffers are the guest's own memory.

import { copyBytes } from '../../../common/io-vector.js'
import { BDRV_REQUEST_MAX_BYTES } from '../../../common/limits.js'
import type { RequestKind } from '../../../common/request.js'
import { BDRV_REQ_MAY_UNMAP } from '../../../common/request.js'
import type { BackendRoot } from '../../../io/backend/root.js'
import { submitDiscard, submitFlush, submitRead, submitWrite, submitWriteZeroes } from '../../../io/backend/submit.js'
import type { Completion } from '../../../io/node-io.js'
import {
  decodeBlkSegment,
  sectorToBytes,
  VIRTIO_BLK_HEADER_BYTES,
  VIRTIO_BLK_S_IOERR,
  VIRTIO_BLK_S_OK,
  VIRTIO_BLK_S_UNSUPP,
  VIRTIO_BLK_SECTOR_BYTES,
  VIRTIO_BLK_SEGMENT_BYTES,
  VIRTIO_BLK_T_DISCARD,
  VIRTIO_BLK_T_FLUSH,
  VIRTIO_BLK_T_GET_ID,
  VIRTIO_BLK_T_IN,
  VIRTIO_BLK_T_OUT,
  VIRTIO_BLK_T_WRITE_ZEROES,
  VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
} from '../../../protocols/virtio/blk.js'
import type { BlkRequest } from './blk-request.js'

/** The disk as requests see it; the device keeps it up to date. */
export interface BlkUnit {
  readonly root: BackendRoot
  /** Bytes; a multiple of the sector. Requests end here. */
  capacity: number
  /** Logical block size in bytes: requests are aligned to it. */
  readonly blockSize: number
  readonly writable: boolean
  /** FUA where the guest relies on a write being stable when it completes. */
  writeFlags: number
  /** The feature was agreed. */
  discard: boolean
  /** The feature was agreed. */
  writeZeroes: boolean
  /** In sectors. */
  readonly maxDiscardSectors: number
  readonly maxWriteZeroesSectors: number
  /** VIRTIO_BLK_ID_BYTES bytes, padded with NUL. */
  readonly serial: Uint8Array
}

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
    case VIRTIO_BLK_T_DISCARD:
      return unit.discard ? changeRange(unit, request, unit.maxDiscardSectors, discard) : VIRTIO_BLK_S_UNSUPP
    case VIRTIO_BLK_T_WRITE_ZEROES:
      return unit.writeZeroes
        ? changeRange(unit, request, unit.maxWriteZeroesSectors, writeZeroes)
        : VIRTIO_BLK_S_UNSUPP
    default:
      return VIRTIO_BLK_S_UNSUPP
  }
}

/** What the backend calls a type, for its error policy. */
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

type RangeChange = (unit: BlkUnit, offset: number, bytes: number, flags: number) => number | Promise<void>

const segmentBytes = new Uint8Array(VIRTIO_BLK_SEGMENT_BYTES)
const segmentView = new DataView(segmentBytes.buffer)

/** Discard and write zeroes: one segment, by the limit in the configuration space. */
function changeRange(
  unit: BlkUnit,
  request: BlkRequest,
  maxSectors: number,
  change: RangeChange,
): number | Promise<void> {
  const payload = request.dataOut
  if (payload === 0 || payload % VIRTIO_BLK_SEGMENT_BYTES !== 0) return VIRTIO_BLK_S_IOERR
  if (payload !== VIRTIO_BLK_SEGMENT_BYTES) return VIRTIO_BLK_S_UNSUPP
  request.chain.gather(VIRTIO_BLK_HEADER_BYTES, segmentBytes)
  const segment = decodeBlkSegment(segmentView, 0)
  // Virtio 1.2, 5.2.6.2: an unknown flag, and unmap on a discard, are unsupported.
  const known = request.type === VIRTIO_BLK_T_WRITE_ZEROES ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0
  if ((segment.flags & ~known) !== 0) return VIRTIO_BLK_S_UNSUPP
  if (!unit.writable || segment.sectors > maxSectors) return VIRTIO_BLK_S_IOERR
  const bytes = segment.sectors * VIRTIO_BLK_SECTOR_BYTES
  const offset = offsetIn(unit, segment.sectorHigh, segment.sectorLow, bytes)
  if (offset < 0) return VIRTIO_BLK_S_IOERR
  return bytes === 0 ? VIRTIO_BLK_S_OK : change(unit, offset, bytes, segment.flags)
}

function discard(unit: BlkUnit, offset: number, bytes: number): number | Promise<void> {
  return outcome(submitDiscard(unit.root, offset, bytes))
}

function writeZeroes(unit: BlkUnit, offset: number, bytes: number, flags: number): number | Promise<void> {
  const unmap = (flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP) !== 0 ? BDRV_REQ_MAY_UNMAP : 0
  return outcome(submitWriteZeroes(unit.root, offset, bytes, unit.writeFlags | unmap))
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

function offsetIn(unit: BlkUnit, sectorHigh: number, sectorLow: number, bytes: number): number {
  const offset = sectorToBytes(sectorHigh, sectorLow)
  if (offset === undefined || bytes > unit.capacity || offset > unit.capacity - bytes) return -1
  const mask = unit.blockSize - 1
  return (offset & mask) === 0 && (bytes & mask) === 0 ? offset : -1
}

function outcome(completion: Completion): number | Promise<void> {
  return completion === undefined ? VIRTIO_BLK_S_OK : completion
}
