// Sequential reads, or writes, of one queue that go to the backend as one request over the guest's own buffers. A run has
// at most 32 parts of 512 KiB and stays within what the node takes in one request, so that it is never cut up again below.

import { IoVector } from '../../../common/io-vector.js'
import { KiB } from '../../../common/units.js'
import { submitJoined } from '../../../io/backend/submit-joined.js'
import type { Completion } from '../../../io/node-io.js'
import {
  VIRTIO_BLK_HEADER_BYTES,
  VIRTIO_BLK_SECTOR_BYTES,
  VIRTIO_BLK_T_IN,
  VIRTIO_BLK_T_OUT,
} from '../../../protocols/virtio/blk.js'
import { transferOffset } from './blk-execute.js'
import type { BlkRequest } from './blk-request.js'
import type { BlkUnit } from './blk-unit.js'

/** Most requests that are joined, and their bytes: for larger ones the way to the backend is not what takes the time. */
export const MAX_RUN_PARTS = 32
export const MAX_RUN_BYTES = 512 * KiB

/** Who hears how a run ended. */
export interface BlkRunOwner {
  runDone(run: BlkRun): void
  runFailed(run: BlkRun, error: unknown): void
}

/** A run. Pooled, with the two callbacks of a backend that answers later bound once. */
export class BlkRun {
  readonly parts: BlkRequest[] = []
  offset = 0
  bytes = 0
  /** Segments of guest memory. */
  buffers = 0
  readonly onDone: () => void
  readonly onFailed: (error: unknown) => void

  constructor(owner: BlkRunOwner) {
    this.onDone = () => owner.runDone(this)
    this.onFailed = (error) => owner.runFailed(this, error)
  }

  /** Its first part; there is one. */
  get first(): BlkRequest {
    return this.parts[0] as BlkRequest
  }

  /** Forgets its parts. */
  clear(): void {
    this.parts.length = 0
    this.bytes = 0
    this.buffers = 0
  }
}

/** Whether `next` seems to go on where `last` ends. Cheap, since every request is asked; {@link joinRun} looks closer. */
export function followsBlk(last: BlkRequest, next: BlkRequest): boolean {
  const { type } = last
  if (type !== next.type || type > VIRTIO_BLK_T_OUT) return false
  const bytes = type === VIRTIO_BLK_T_IN ? last.dataIn : last.dataOut
  return (last.sectorLow + Math.floor(bytes / VIRTIO_BLK_SECTOR_BYTES)) >>> 0 === next.sectorLow
}

/** Appends a request, of the direction of the others, to a run; false where it stands for itself or would be too much. */
export function joinRun(unit: BlkUnit, run: BlkRun, request: BlkRequest): boolean {
  const { parts } = run
  const { edge } = unit.root
  const offset = transferOffset(unit, request)
  if (offset < 0 || edge === undefined || parts.length === MAX_RUN_PARTS) return false
  if (parts.length === 0) run.offset = offset
  else if (offset !== run.offset + run.bytes) return false
  const reading = request.type === VIRTIO_BLK_T_IN
  const { chain } = request
  const bytes = run.bytes + (reading ? request.dataIn : request.dataOut)
  const buffers =
    run.buffers +
    (reading ? chain.countWritable(request.dataIn) : chain.countReadable(VIRTIO_BLK_HEADER_BYTES, request.dataOut))
  const { maxTransfer, maxIov } = edge.node.state.limits
  if (bytes > MAX_RUN_BYTES || (maxTransfer !== 0 && bytes > maxTransfer)) return false
  if (maxIov !== 0 && buffers > maxIov) return false
  run.bytes = bytes
  run.buffers = buffers
  parts.push(request)
  return true
}

/** Runs a run. May throw as well as reject; the backend has counted nothing then. */
export function executeRun(unit: BlkUnit, run: BlkRun): Completion {
  const views: Uint8Array[] = []
  const reading = run.first.type === VIRTIO_BLK_T_IN
  for (const part of run.parts) {
    const { chain, dataIn, dataOut } = part
    if (reading) part.filled = dataIn
    const data = reading ? chain.writable(dataIn) : chain.readable(VIRTIO_BLK_HEADER_BYTES, dataOut)
    if (data instanceof Uint8Array) views.push(data)
    else views.push(...data.buffers)
  }
  const kind = reading ? 'read' : 'write'
  const data = new IoVector(views)
  return submitJoined(unit.root, kind, run.offset, data, run.parts.length, reading ? 0 : unit.writeFlags)
}
