// Commands that tell of a unit, its target or the controller and touch no medium (SPC-4): what there is to say, as bytes.

import { copyBytes } from '../../../common/io-vector.js'
import type { ScsiCommand } from '../../../protocols/scsi/command.js'
import { encodeCapacity10, encodeCapacity16, encodeLuns, encodeModeSense } from '../../../protocols/scsi/disk-data.js'
import {
  encodeAbsentInquiry,
  encodeInquiry,
  encodeVitalPage,
  encodeWellKnownInquiry,
} from '../../../protocols/scsi/inquiry.js'
import {
  encodeDescriptorSense,
  encodeFixedSense,
  SENSE_INVALID_FIELD_IN_CDB,
  SENSE_INVALID_OPCODE,
  SENSE_LUN_NOT_SUPPORTED,
  SENSE_LUNS_CHANGED,
  SENSE_NO_MEDIUM,
  SENSE_NONE,
  SENSE_SAVING_NOT_SUPPORTED,
  type Sense,
} from '../../../protocols/scsi/sense.js'
import { fail } from './scsi-disk.js'
import type { ScsiRequest, ScsiResult } from './scsi-request.js'
import type { ScsiUnit } from './scsi-unit.js'

/** Answers a command to a unit. `luns` are those of its target. */
export function informOfUnit(unit: ScsiUnit, request: ScsiRequest, luns: readonly number[]): ScsiResult {
  const { command } = request
  switch (command.kind) {
    case 'test-unit-ready':
    case 'start-stop':
      return unit.blocks === 0 ? fail(SENSE_NO_MEDIUM) : { moved: 0 }
    case 'request-sense':
      return answer(request, senseData(command.descriptorFormat, unit.attentions.shift() ?? SENSE_NONE))
    case 'inquiry':
      if (!command.vital) {
        return command.page === 0 ? answer(request, encodeInquiry(unit.inquiry)) : fail(SENSE_INVALID_FIELD_IN_CDB)
      }
      return answer(request, encodeVitalPage(command.page, unit.inquiry))
    case 'mode-sense':
      if (command.control === 3) return fail(SENSE_SAVING_NOT_SUPPORTED)
      return answer(request, encodeModeSense(command, unit.mode))
    case 'read-capacity': {
      if (unit.blocks === 0) return fail(SENSE_NO_MEDIUM)
      const { capacity } = unit.mode
      return answer(request, command.long ? encodeCapacity16(capacity) : encodeCapacity10(capacity))
    }
    case 'report-luns':
      // SPC-4, 5.14.2: who has read the list knows that it has changed.
      unit.attentions = unit.attentions.filter((condition) => condition !== SENSE_LUNS_CHANGED)
      return reportLuns(request, command.select, luns)
    case 'invalid-field':
      return fail(SENSE_INVALID_FIELD_IN_CDB)
    default:
      return fail(SENSE_INVALID_OPCODE)
  }
}

/** Answers a command to a unit that is not there, behind a target that is (SPC-4, 6.6.2; SAM-5, 5.12). */
export function informOfAbsent(request: ScsiRequest, luns: readonly number[]): ScsiResult {
  const { command } = request
  switch (command.kind) {
    case 'inquiry':
      if (command.vital || command.page !== 0) return fail(SENSE_INVALID_FIELD_IN_CDB)
      return answer(request, encodeAbsentInquiry())
    case 'request-sense':
      return answer(request, senseData(command.descriptorFormat, SENSE_LUN_NOT_SUPPORTED))
    case 'report-luns':
      return reportLuns(request, command.select, luns)
    default:
      return fail(SENSE_LUN_NOT_SUPPORTED)
  }
}

/** Answers a command to the well known logical unit (SPC-4, 8.2). */
export function informWellKnown(request: ScsiRequest, luns: readonly number[]): ScsiResult {
  const { command } = request
  switch (command.kind) {
    case 'test-unit-ready':
      return { moved: 0 }
    case 'inquiry':
      if (command.vital || command.page !== 0) return fail(SENSE_INVALID_FIELD_IN_CDB)
      return answer(request, encodeWellKnownInquiry())
    case 'request-sense':
      return answer(request, senseData(command.descriptorFormat, SENSE_NONE))
    case 'report-luns':
      return reportLuns(request, command.select, luns)
    default:
      return fail(SENSE_INVALID_OPCODE)
  }
}

/** Bytes of data that a command says it moves, `out` to the device. */
export function wantedBytes(command: ScsiCommand, blockSize: number, out: boolean): number {
  switch (command.kind) {
    case 'read':
      return out ? 0 : command.blocks * blockSize
    case 'write':
      return out ? command.blocks * blockSize : 0
    case 'write-same':
      return out && !command.noData ? blockSize : 0
    case 'unmap':
      return out ? command.listBytes : 0
    default:
      return out || !('allocation' in command) ? 0 : command.allocation
  }
}

function reportLuns(request: ScsiRequest, select: number, luns: readonly number[]): ScsiResult {
  // SPC-4, 6.33: 0 and 2 ask for units, 1 for well known ones, of which none is behind a target.
  if (select > 2) return fail(SENSE_INVALID_FIELD_IN_CDB)
  return answer(request, encodeLuns(select === 1 ? [] : luns))
}

function senseData(descriptorFormat: boolean, condition: Sense): Uint8Array {
  return descriptorFormat ? encodeDescriptorSense(condition) : encodeFixedSense(condition)
}

/** Puts as much of an answer into the guest's buffer as it asked for; an undefined one is of a page that is not there. */
function answer(request: ScsiRequest, bytes: Uint8Array | undefined): ScsiResult {
  if (bytes === undefined) return fail(SENSE_INVALID_FIELD_IN_CDB)
  const { command } = request
  const allocation = 'allocation' in command ? command.allocation : 0
  const moved = Math.min(bytes.length, allocation, request.inBytes)
  if (moved > 0) copyBytes(request.dataIn(moved), bytes.subarray(0, moved))
  return { moved }
}
