// Command descriptor blocks (SPC-4, SBC-3) as commands. Everything in a block is big-endian. Which values a device can do
// is its own; what no block can say is refused here.

import {
  INQUIRY,
  MODE_SENSE_6,
  MODE_SENSE_10,
  READ_6,
  READ_10,
  READ_12,
  READ_16,
  READ_CAPACITY_10,
  REPORT_LUNS,
  REQUEST_SENSE,
  SAI_READ_CAPACITY_16,
  SERVICE_ACTION_IN_16,
  START_STOP_UNIT,
  SYNCHRONIZE_CACHE_10,
  SYNCHRONIZE_CACHE_16,
  TEST_UNIT_READY,
  UNMAP,
  WRITE_6,
  WRITE_10,
  WRITE_12,
  WRITE_16,
  WRITE_SAME_10,
  WRITE_SAME_16,
} from './opcodes.js'

/** A range of logical blocks. An address that is no safe integer is Infinity: it lies behind every disk. */
export interface BlockRange {
  lba: number
  blocks: number
}

/** A command. `allocation` is the most bytes the initiator takes. */
export type ScsiCommand =
  | { kind: 'test-unit-ready' | 'start-stop' | 'unknown' }
  /** A field has a value that no device here knows. */
  | { kind: 'invalid-field' }
  | { kind: 'request-sense'; descriptorFormat: boolean; allocation: number }
  | { kind: 'inquiry'; vital: boolean; page: number; allocation: number }
  | ModeSense
  | { kind: 'read-capacity'; long: boolean; allocation: number }
  | { kind: 'report-luns'; select: number; allocation: number }
  | ({ kind: 'read' | 'write'; fua: boolean } & BlockRange)
  | ({ kind: 'synchronize-cache' } & BlockRange)
  | { kind: 'unmap'; anchor: boolean; listBytes: number }
  | WriteSame

/** MODE SENSE. */
export interface ModeSense {
  kind: 'mode-sense'
  /** The 10-byte command, whose header is longer. */
  long: boolean
  /** 0 current, 1 changeable, 2 default, 3 saved values. */
  control: number
  page: number
  subpage: number
  blockDescriptor: boolean
  allocation: number
}

/** WRITE SAME. */
export interface WriteSame extends BlockRange {
  kind: 'write-same'
  unmap: boolean
  anchor: boolean
  /** There is no data: a block of zeroes. */
  noData: boolean
}

/** Reads a block of at least 16 bytes, short ones being padded with zeroes. */
export function decodeCommand(cdb: Uint8Array): ScsiCommand {
  const view = new DataView(cdb.buffer, cdb.byteOffset, cdb.byteLength)
  return decodeTransfer(view) ?? decodeInformation(view)
}

const FUA = 0x08
const PROTECT = 0xe0

function decodeTransfer(view: DataView): ScsiCommand | undefined {
  const opcode = view.getUint8(0)
  switch (opcode) {
    case READ_6:
    case WRITE_6:
      return {
        kind: opcode === READ_6 ? 'read' : 'write',
        lba: view.getUint32(0) & 0x1f_ffff,
        // SBC-3, 5.10: none stands for 256.
        blocks: view.getUint8(4) || 256,
        fua: false,
      }
    case READ_10:
    case READ_12:
    case READ_16:
      return transfer(view, 'read', opcode)
    case WRITE_10:
    case WRITE_12:
    case WRITE_16:
      return transfer(view, 'write', opcode)
    case SYNCHRONIZE_CACHE_10:
    case SYNCHRONIZE_CACHE_16:
      return { kind: 'synchronize-cache', ...range(view, opcode) }
    case UNMAP:
      return { kind: 'unmap', anchor: (view.getUint8(1) & 1) !== 0, listBytes: view.getUint16(7) }
    case WRITE_SAME_10:
    case WRITE_SAME_16:
      return writeSame(view, opcode)
    default:
      return undefined
  }
}

function transfer(view: DataView, kind: 'read' | 'write', opcode: number): ScsiCommand {
  const flags = view.getUint8(1)
  if ((flags & PROTECT) !== 0) return { kind: 'invalid-field' }
  return { kind, ...range(view, opcode), fua: (flags & FUA) !== 0 }
}

function writeSame(view: DataView, opcode: number): ScsiCommand {
  const flags = view.getUint8(1)
  if ((flags & PROTECT) !== 0) return { kind: 'invalid-field' }
  return {
    kind: 'write-same',
    ...range(view, opcode),
    unmap: (flags & 0x08) !== 0,
    anchor: (flags & 0x10) !== 0,
    noData: opcode === WRITE_SAME_16 && (flags & 0x01) !== 0,
  }
}

/** The two fields where the 10-, 12- and 16-byte commands have them: the group code is in the upper bits (SPC-4, 4.2.5.1). */
function range(view: DataView, opcode: number): BlockRange {
  const group = opcode >>> 5
  if (group === 4) return { lba: lba64(view), blocks: view.getUint32(10) }
  if (group === 5) return { lba: view.getUint32(2), blocks: view.getUint32(6) }
  return { lba: view.getUint32(2), blocks: view.getUint16(7) }
}

function lba64(view: DataView): number {
  const high = view.getUint32(2)
  return high > 0x1f_ffff ? Number.POSITIVE_INFINITY : high * 0x1_0000_0000 + view.getUint32(6)
}

function decodeInformation(view: DataView): ScsiCommand {
  switch (view.getUint8(0)) {
    case TEST_UNIT_READY:
      return { kind: 'test-unit-ready' }
    case START_STOP_UNIT:
      return { kind: 'start-stop' }
    case REQUEST_SENSE:
      return { kind: 'request-sense', descriptorFormat: (view.getUint8(1) & 1) !== 0, allocation: view.getUint8(4) }
    case INQUIRY: {
      const vital = (view.getUint8(1) & 1) !== 0
      return { kind: 'inquiry', vital, page: view.getUint8(2), allocation: view.getUint16(3) }
    }
    case MODE_SENSE_6:
      return modeSense(view, false, view.getUint8(4))
    case MODE_SENSE_10:
      return modeSense(view, true, view.getUint16(7))
    case READ_CAPACITY_10:
      return { kind: 'read-capacity', long: false, allocation: 8 }
    case SERVICE_ACTION_IN_16:
      if ((view.getUint8(1) & 0x1f) !== SAI_READ_CAPACITY_16) return { kind: 'unknown' }
      return { kind: 'read-capacity', long: true, allocation: view.getUint32(10) }
    case REPORT_LUNS:
      return { kind: 'report-luns', select: view.getUint8(2), allocation: view.getUint32(6) }
    default:
      return { kind: 'unknown' }
  }
}

function modeSense(view: DataView, long: boolean, allocation: number): ModeSense {
  return {
    kind: 'mode-sense',
    long,
    control: view.getUint8(2) >>> 6,
    page: view.getUint8(2) & 0x3f,
    subpage: view.getUint8(3),
    blockDescriptor: (view.getUint8(1) & 0x08) === 0,
    allocation,
  }
}
