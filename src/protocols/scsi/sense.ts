// Sense data (SPC-4, 4.5): what went wrong, as a key and an additional code with its qualifier; in the fixed format.

/** A condition. */
export interface Sense {
  readonly key: number
  readonly asc: number
  readonly ascq: number
}

const NO_SENSE = 0x0
const NOT_READY = 0x2
const MEDIUM_ERROR = 0x3
const ILLEGAL_REQUEST = 0x5
const UNIT_ATTENTION = 0x6
const DATA_PROTECT = 0x7
const ABORTED_COMMAND = 0xb

const sense = (key: number, asc: number, ascq: number): Sense => ({ key, asc, ascq })

export const SENSE_NONE = sense(NO_SENSE, 0x00, 0x00)
export const SENSE_NO_MEDIUM = sense(NOT_READY, 0x3a, 0x00)
export const SENSE_READ_ERROR = sense(MEDIUM_ERROR, 0x11, 0x00)
export const SENSE_WRITE_ERROR = sense(MEDIUM_ERROR, 0x0c, 0x00)
export const SENSE_PARAMETER_LIST_LENGTH = sense(ILLEGAL_REQUEST, 0x1a, 0x00)
export const SENSE_INVALID_OPCODE = sense(ILLEGAL_REQUEST, 0x20, 0x00)
export const SENSE_LBA_OUT_OF_RANGE = sense(ILLEGAL_REQUEST, 0x21, 0x00)
export const SENSE_INVALID_FIELD_IN_CDB = sense(ILLEGAL_REQUEST, 0x24, 0x00)
export const SENSE_LUN_NOT_SUPPORTED = sense(ILLEGAL_REQUEST, 0x25, 0x00)
export const SENSE_INVALID_FIELD_IN_LIST = sense(ILLEGAL_REQUEST, 0x26, 0x00)
export const SENSE_SAVING_NOT_SUPPORTED = sense(ILLEGAL_REQUEST, 0x39, 0x00)
export const SENSE_RESET = sense(UNIT_ATTENTION, 0x29, 0x00)
export const SENSE_CAPACITY_CHANGED = sense(UNIT_ATTENTION, 0x2a, 0x09)
export const SENSE_LUNS_CHANGED = sense(UNIT_ATTENTION, 0x3f, 0x0e)
export const SENSE_WRITE_PROTECTED = sense(DATA_PROTECT, 0x27, 0x00)
export const SENSE_SPACE_ALLOCATION_FAILED = sense(DATA_PROTECT, 0x27, 0x07)
export const SENSE_ABORTED = sense(ABORTED_COMMAND, 0x00, 0x06)

/** Bytes of sense data in the fixed format. */
export const SENSE_FIXED_BYTES = 18

/** The fixed format (SPC-4, 4.5.3): a current error without command specific fields. */
export function encodeFixedSense(condition: Sense): Uint8Array {
  const bytes = new Uint8Array(SENSE_FIXED_BYTES)
  bytes[0] = 0x70
  bytes[2] = condition.key
  bytes[7] = SENSE_FIXED_BYTES - 8
  bytes[12] = condition.asc
  bytes[13] = condition.ascq
  return bytes
}

/** The descriptor format without descriptors (SPC-4, 4.5.2). */
export function encodeDescriptorSense(condition: Sense): Uint8Array {
  return Uint8Array.of(0x72, condition.key, condition.asc, condition.ascq, 0, 0, 0, 0)
}

/** The condition of sense data in the fixed format. */
export function decodeFixedSense(bytes: Uint8Array): Sense {
  return { key: (bytes[2] ?? 0) & 0xf, asc: bytes[12] ?? 0, ascq: bytes[13] ?? 0 }
}
