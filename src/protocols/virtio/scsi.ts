// The SCSI host device on the wire (virtio 1.2, 5.6): configuration space, requests, task management, events.

export const VIRTIO_SCSI_F_INOUT = 0
export const VIRTIO_SCSI_F_HOTPLUG = 1
export const VIRTIO_SCSI_F_CHANGE = 2
export const VIRTIO_SCSI_F_T10_PI = 3

/** Response codes of requests and of the control queue. */
export const VIRTIO_SCSI_S_OK = 0
export const VIRTIO_SCSI_S_OVERRUN = 1
export const VIRTIO_SCSI_S_ABORTED = 2
export const VIRTIO_SCSI_S_BAD_TARGET = 3
export const VIRTIO_SCSI_S_RESET = 4
export const VIRTIO_SCSI_S_BUSY = 5
export const VIRTIO_SCSI_S_TRANSPORT_FAILURE = 6
export const VIRTIO_SCSI_S_TARGET_FAILURE = 7
export const VIRTIO_SCSI_S_NEXUS_FAILURE = 8
export const VIRTIO_SCSI_S_FAILURE = 9
export const VIRTIO_SCSI_S_FUNCTION_SUCCEEDED = 10
export const VIRTIO_SCSI_S_FUNCTION_REJECTED = 11
export const VIRTIO_SCSI_S_INCORRECT_LUN = 12
export const VIRTIO_SCSI_S_FUNCTION_COMPLETE = 0

/** Types of control requests. */
export const VIRTIO_SCSI_T_TMF = 0
export const VIRTIO_SCSI_T_AN_QUERY = 1
export const VIRTIO_SCSI_T_AN_SUBSCRIBE = 2

/** Task management functions. */
export const VIRTIO_SCSI_T_TMF_ABORT_TASK = 0
export const VIRTIO_SCSI_T_TMF_ABORT_TASK_SET = 1
export const VIRTIO_SCSI_T_TMF_CLEAR_ACA = 2
export const VIRTIO_SCSI_T_TMF_CLEAR_TASK_SET = 3
export const VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET = 4
export const VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET = 5
export const VIRTIO_SCSI_T_TMF_QUERY_TASK = 6
export const VIRTIO_SCSI_T_TMF_QUERY_TASK_SET = 7

/** Events. */
export const VIRTIO_SCSI_T_EVENTS_MISSED = 0x8000_0000
export const VIRTIO_SCSI_T_NO_EVENT = 0
export const VIRTIO_SCSI_T_TRANSPORT_RESET = 1
export const VIRTIO_SCSI_T_PARAM_CHANGE = 3
export const VIRTIO_SCSI_EVT_RESET_HARD = 0
export const VIRTIO_SCSI_EVT_RESET_RESCAN = 1
export const VIRTIO_SCSI_EVT_RESET_REMOVED = 2

/** Bytes of a request before the command block, of a response before the sense data, and of the others. */
export const VIRTIO_SCSI_REQUEST_BYTES = 19
export const VIRTIO_SCSI_RESPONSE_BYTES = 12
export const VIRTIO_SCSI_TMF_BYTES = 24
export const VIRTIO_SCSI_AN_BYTES = 16
export const VIRTIO_SCSI_EVENT_BYTES = 16
/** Sizes until a driver writes others. */
export const VIRTIO_SCSI_SENSE_SIZE = 96
export const VIRTIO_SCSI_CDB_SIZE = 32

/** Configuration space. */
export const VIRTIO_SCSI_CONFIG_BYTES = 36
export const VIRTIO_SCSI_CONFIG_SENSE_SIZE = 20
export const VIRTIO_SCSI_CONFIG_CDB_SIZE = 24

/** Fields of struct virtio_scsi_config. */
export interface VirtioScsiConfig {
  numQueues: number
  segMax: number
  maxSectors: number
  cmdPerLun: number
  eventInfoSize: number
  senseSize: number
  cdbSize: number
  maxChannel: number
  maxTarget: number
  maxLun: number
}

/** The space as bytes. */
export function encodeScsiConfig(config: VirtioScsiConfig): Uint8Array {
  const bytes = new Uint8Array(VIRTIO_SCSI_CONFIG_BYTES)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, config.numQueues, true)
  view.setUint32(4, config.segMax, true)
  view.setUint32(8, config.maxSectors, true)
  view.setUint32(12, config.cmdPerLun, true)
  view.setUint32(16, config.eventInfoSize, true)
  view.setUint32(VIRTIO_SCSI_CONFIG_SENSE_SIZE, config.senseSize, true)
  view.setUint32(VIRTIO_SCSI_CONFIG_CDB_SIZE, config.cdbSize, true)
  view.setUint16(28, config.maxChannel, true)
  view.setUint16(30, config.maxTarget, true)
  view.setUint32(32, config.maxLun, true)
  return bytes
}

/** Whom a request is for. */
export type ScsiAddress =
  | { kind: 'unit'; target: number; lun: number }
  /** The well known logical unit that answers REPORT LUNS. */
  | { kind: 'report-luns' }
  /** Eight bytes that mean nothing here. */
  | { kind: 'none' }

/** Reads the eight bytes of an address at `at` (virtio 1.2, 5.6.6.1). */
export function decodeScsiAddress(bytes: Uint8Array, at: number): ScsiAddress {
  const [format, target = 0, high = 0, low = 0] = bytes.subarray(at, at + 4)
  if (format === 0xc1 && target === 1) return { kind: 'report-luns' }
  // Single level addresses: the peripheral form, and the flat one (SAM-5, 4.7.7).
  const form = high >>> 6
  if (format !== 1 || form > 1) return { kind: 'none' }
  return { kind: 'unit', target, lun: form === 0 ? low : ((high & 0x3f) << 8) | low }
}

/** Writes the address of a unit. */
export function encodeScsiAddress(bytes: Uint8Array, at: number, target: number, lun: number): void {
  bytes.fill(0, at, at + 8)
  bytes[at] = 1
  bytes[at + 1] = target
  bytes[at + 2] = lun < 256 ? 0 : 0x40 | (lun >>> 8)
  bytes[at + 3] = lun & 0xff
}

/** The tag of a task as its driver numbers it. */
export interface ScsiTag {
  high: number
  low: number
}

/** Reads a tag at byte `at`. */
export function decodeScsiTag(view: DataView, at: number): ScsiTag {
  return { low: view.getUint32(at, true), high: view.getUint32(at + 4, true) }
}

/** The fixed part of a response. */
export interface ScsiResponse {
  senseLength: number
  residual: number
  status: number
  response: number
}

/** The fixed part as bytes. */
export function encodeScsiResponse(response: ScsiResponse): Uint8Array {
  const bytes = new Uint8Array(VIRTIO_SCSI_RESPONSE_BYTES)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, response.senseLength, true)
  view.setUint32(4, response.residual, true)
  bytes[10] = response.status
  bytes[11] = response.response
  return bytes
}

/** Reads the fixed part. */
export function decodeScsiResponse(bytes: Uint8Array): ScsiResponse {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return {
    senseLength: view.getUint32(0, true),
    residual: view.getUint32(4, true),
    status: bytes[10] as number,
    response: bytes[11] as number,
  }
}

/** An event as bytes. */
export function encodeScsiEvent(event: number, target: number, lun: number, reason: number): Uint8Array {
  const bytes = new Uint8Array(VIRTIO_SCSI_EVENT_BYTES)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, event, true)
  encodeScsiAddress(bytes, 4, target, lun)
  view.setUint32(12, reason, true)
  return bytes
}
