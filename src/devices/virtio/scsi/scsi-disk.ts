// What a disk does with each command that reaches its medium (SBC-3). A command that breaks a rule ends in a condition of
// its own and never reaches the backend; data buffers are the guest's own memory.

import { IoVector, isZeroBytes } from '../../../common/io-vector.js'
import { BDRV_REQUEST_MAX_BYTES } from '../../../common/limits.js'
import { BDRV_REQ_FUA, BDRV_REQ_MAY_UNMAP, type RequestKind } from '../../../common/request.js'
import { submitDiscard, submitFlush, submitRead, submitWrite, submitWriteZeroes } from '../../../io/backend/submit.js'
import type { Completion } from '../../../io/node-io.js'
import { settleAll } from '../../../io/settle-all.js'
import type { BlockRange, ScsiCommand, WriteSame } from '../../../protocols/scsi/command.js'
import { decodeUnmapList } from '../../../protocols/scsi/disk-data.js'
import {
  SENSE_INVALID_FIELD_IN_CDB,
  SENSE_INVALID_FIELD_IN_LIST,
  SENSE_INVALID_OPCODE,
  SENSE_LBA_OUT_OF_RANGE,
  SENSE_NO_MEDIUM,
  SENSE_PARAMETER_LIST_LENGTH,
  SENSE_WRITE_PROTECTED,
  type Sense,
} from '../../../protocols/scsi/sense.js'
import type { ScsiRequest, ScsiResult } from './scsi-request.js'
import type { ScsiUnit } from './scsi-unit.js'

/** What a step came to: done, or later. */
export type ScsiOutcome = ScsiResult | Promise<ScsiResult>

/** Commands that move data or change the medium. */
export type MediumCommand = Extract<
  ScsiCommand,
  { kind: 'read' | 'write' | 'synchronize-cache' | 'unmap' | 'write-same' }
>

/** Runs a command. May throw what the backend throws. */
export function executeOnMedium(unit: ScsiUnit, request: ScsiRequest, command: MediumCommand): ScsiOutcome {
  if (unit.blocks === 0) return fail(SENSE_NO_MEDIUM)
  switch (command.kind) {
    case 'read':
      return read(unit, request, command)
    case 'write':
      return write(unit, request, command)
    case 'synchronize-cache':
      if (!isInside(unit, command)) return fail(SENSE_LBA_OUT_OF_RANGE)
      return after(submitFlush(unit.root), 0)
    case 'unmap':
      return unmap(unit, request, command)
    case 'write-same':
      return writeSame(unit, request, command)
  }
}

/** What the backend calls a command, for its error policy. */
export function scsiKindOf(command: ScsiCommand): RequestKind {
  switch (command.kind) {
    case 'read':
      return 'read'
    case 'synchronize-cache':
      return 'flush'
    case 'unmap':
      return 'discard'
    case 'write-same':
      return 'write-zeroes'
    default:
      return 'write'
  }
}

/** A command that ended in a condition. */
export function fail(sense: Sense): ScsiResult {
  return { sense, moved: 0 }
}

function read(unit: ScsiUnit, request: ScsiRequest, command: BlockRange & { fua: boolean }): ScsiOutcome {
  const bytes = command.blocks * unit.blockSize
  const refused = refuseTransfer(unit, command, bytes)
  if (refused !== undefined) return fail(refused)
  if (bytes === 0) return { moved: 0 }
  if (command.fua) return readStable(unit, request, command.lba * unit.blockSize, bytes)
  return after(submitRead(unit.root, command.lba * unit.blockSize, request.dataIn(bytes)), bytes)
}

/** SBC-3, 5.8: what is read has to be on the medium first. */
async function readStable(unit: ScsiUnit, request: ScsiRequest, offset: number, bytes: number): Promise<ScsiResult> {
  await submitFlush(unit.root)
  await submitRead(unit.root, offset, request.dataIn(bytes))
  return { moved: bytes }
}

function write(unit: ScsiUnit, request: ScsiRequest, command: BlockRange & { fua: boolean }): ScsiOutcome {
  const bytes = command.blocks * unit.blockSize
  const refused = refuseTransfer(unit, command, bytes) ?? refuseChange(unit)
  if (refused !== undefined) return fail(refused)
  if (bytes === 0) return { moved: 0 }
  const flags = command.fua ? BDRV_REQ_FUA : 0
  return after(submitWrite(unit.root, command.lba * unit.blockSize, request.dataOut(bytes), flags), bytes)
}

function unmap(unit: ScsiUnit, request: ScsiRequest, command: { anchor: boolean; listBytes: number }): ScsiOutcome {
  const { listBytes } = command
  const { maxUnmapBlocks, maxUnmapDescriptors } = unit.inquiry
  if (!unit.writable) return fail(SENSE_WRITE_PROTECTED)
  if (!unit.thin) return fail(SENSE_INVALID_OPCODE)
  if (command.anchor) return fail(SENSE_INVALID_FIELD_IN_CDB)
  if (listBytes === 0) return { moved: 0 }
  if (listBytes > 8 + 16 * maxUnmapDescriptors) return fail(SENSE_INVALID_FIELD_IN_LIST)
  const ranges = decodeUnmapList(request.copyOut(listBytes))
  if (ranges === undefined) return fail(SENSE_PARAMETER_LIST_LENGTH)
  if (!ranges.every((range) => isInside(unit, range))) return fail(SENSE_LBA_OUT_OF_RANGE)
  const blocks = ranges.reduce((sum, range) => sum + range.blocks, 0)
  if (blocks > maxUnmapBlocks) return fail(SENSE_INVALID_FIELD_IN_LIST)
  const { root, blockSize } = unit
  const wanted = ranges.filter((range) => range.blocks > 0)
  return after(
    settleAll(wanted, (range) => submitDiscard(root, range.lba * blockSize, range.blocks * blockSize)),
    listBytes,
  )
}

function writeSame(unit: ScsiUnit, request: ScsiRequest, command: WriteSame): ScsiOutcome {
  const { root, blockSize, inquiry } = unit
  const refused = refuseChange(unit)
  if (refused !== undefined) return fail(refused)
  // SBC-3, 5.44: none stands for all of the disk, which this one does not do (WSNZ).
  const tooMany = command.blocks === 0 || command.blocks > inquiry.maxWriteSameBlocks
  if (tooMany || command.anchor || (command.unmap && !unit.thin)) return fail(SENSE_INVALID_FIELD_IN_CDB)
  if (!isInside(unit, command)) return fail(SENSE_LBA_OUT_OF_RANGE)
  const moved = command.noData ? 0 : blockSize
  const block = request.copyOut(moved)
  const offset = command.lba * blockSize
  const bytes = command.blocks * blockSize
  if (!isZeroBytes(block)) return after(repeat(unit, offset, bytes, block), moved)
  return after(submitWriteZeroes(root, offset, bytes, command.unmap ? BDRV_REQ_MAY_UNMAP : 0), moved)
}

/** Bytes that one write of a repeated block has. */
const REPEAT_BYTES = 1 << 20

async function repeat(unit: ScsiUnit, offset: number, bytes: number, block: Uint8Array): Promise<void> {
  const copies = Math.max(REPEAT_BYTES / block.length, 1)
  const run = new IoVector(new Array<Uint8Array>(copies).fill(block))
  for (let done = 0; done < bytes; done += run.length) {
    const left = (bytes - done) / block.length
    const data = left >= copies ? run : new IoVector(run.buffers.slice(0, left))
    await submitWrite(unit.root, offset + done, data)
  }
}

/** What is wrong with the range of a transfer, if anything. */
function refuseTransfer(unit: ScsiUnit, range: BlockRange, bytes: number): Sense | undefined {
  if (!isInside(unit, range)) return SENSE_LBA_OUT_OF_RANGE
  return bytes > BDRV_REQUEST_MAX_BYTES ? SENSE_INVALID_FIELD_IN_CDB : undefined
}

function refuseChange(unit: ScsiUnit): Sense | undefined {
  return unit.writable ? undefined : SENSE_WRITE_PROTECTED
}

function isInside(unit: ScsiUnit, range: BlockRange): boolean {
  return range.lba <= unit.blocks && range.blocks <= unit.blocks - range.lba
}

function after(completion: Completion, moved: number): ScsiOutcome {
  return completion === undefined ? { moved } : completion.then(() => ({ moved }))
}
