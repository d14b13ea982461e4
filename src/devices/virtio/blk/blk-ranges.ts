// Requests that change ranges without carrying their data: discard, write zeroes, secure erase (virtio 1.2, 5.2.6). All
// segments are checked before the first one is done. Several are under way together, and the request ends with the last.

import { BDRV_REQ_FUA, BDRV_REQ_MAY_UNMAP } from '../../../common/request.js'
import { submitDiscard, submitWrite, submitWriteZeroes } from '../../../io/backend/submit.js'
import type { Completion } from '../../../io/node-io.js'
import { settleAll } from '../../../io/settle-all.js'
import {
  decodeBlkSegment,
  VIRTIO_BLK_HEADER_BYTES,
  VIRTIO_BLK_S_IOERR,
  VIRTIO_BLK_S_OK,
  VIRTIO_BLK_S_UNSUPP,
  VIRTIO_BLK_SECTOR_BYTES,
  VIRTIO_BLK_SEGMENT_BYTES,
  VIRTIO_BLK_T_DISCARD,
  VIRTIO_BLK_T_WRITE_ZEROES,
  VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
} from '../../../protocols/virtio/blk.js'
import type { BlkRequest } from './blk-request.js'
import { type BlkUnit, offsetIn, type RangeLimits } from './blk-unit.js'

interface Range {
  readonly offset: number
  readonly bytes: number
  readonly unmap: boolean
}

/** Runs a request of one of the three types: its status where it is done. */
export function changeRanges(unit: BlkUnit, request: BlkRequest, limits: RangeLimits): number | Promise<void> {
  const { type, dataOut: payload } = request
  if (!limits.agreed) return VIRTIO_BLK_S_UNSUPP
  if (payload === 0 || payload % VIRTIO_BLK_SEGMENT_BYTES !== 0) return VIRTIO_BLK_S_IOERR
  if (payload > limits.maxSegments * VIRTIO_BLK_SEGMENT_BYTES) return VIRTIO_BLK_S_UNSUPP
  const ranges = readRanges(unit, request, limits)
  if (typeof ranges === 'number') return ranges
  const [first] = ranges
  if (first === undefined) return VIRTIO_BLK_S_OK
  if (ranges.length > 1) return settleAll(ranges, (range) => change(unit, type, range))
  return change(unit, type, first) ?? VIRTIO_BLK_S_OK
}

/** The ranges that are not empty, each segment read once; a status where one of them breaks a rule. */
function readRanges(unit: BlkUnit, request: BlkRequest, limits: RangeLimits): Range[] | number {
  const bytes = new Uint8Array(request.dataOut)
  const view = new DataView(bytes.buffer)
  request.chain.gather(VIRTIO_BLK_HEADER_BYTES, bytes)
  // Virtio 1.2, 5.2.6.2: an unknown flag, and unmap on anything but a zero write, are unsupported.
  const known = request.type === VIRTIO_BLK_T_WRITE_ZEROES ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0
  const ranges: Range[] = []
  let good = unit.writable
  for (let at = 0; at < bytes.length; at += VIRTIO_BLK_SEGMENT_BYTES) {
    const segment = decodeBlkSegment(view, at)
    if ((segment.flags & ~known) !== 0) return VIRTIO_BLK_S_UNSUPP
    const length = segment.sectors * VIRTIO_BLK_SECTOR_BYTES
    const offset = offsetIn(unit, segment.sectorHigh, segment.sectorLow, length)
    if (segment.sectors > limits.maxSectors || offset < 0) good = false
    else if (length > 0) ranges.push({ offset, bytes: length, unmap: segment.flags !== 0 })
  }
  return good ? ranges : VIRTIO_BLK_S_IOERR
}

function change(unit: BlkUnit, type: number, range: Range): Completion {
  const { root, writeFlags } = unit
  const { offset, bytes, unmap } = range
  if (type === VIRTIO_BLK_T_DISCARD) return submitDiscard(root, offset, bytes)
  if (type !== VIRTIO_BLK_T_WRITE_ZEROES) return erase(unit, offset, bytes)
  return submitWriteZeroes(root, offset, bytes, writeFlags | (unmap ? BDRV_REQ_MAY_UNMAP : 0))
}

/** Bytes of zeroes that are written at once. */
const ERASE_BYTES = 1 << 20

/** Writes zeroes as data over a range: what was there before is gone as far as a write can reach, and stable. */
async function erase(unit: BlkUnit, offset: number, bytes: number): Promise<void> {
  const zeroes = new Uint8Array(Math.min(bytes, ERASE_BYTES))
  for (let done = 0; done < bytes; done += zeroes.length) {
    const part = Math.min(bytes - done, zeroes.length)
    await submitWrite(unit.root, offset + done, zeroes.subarray(0, part), BDRV_REQ_FUA)
  }
}
