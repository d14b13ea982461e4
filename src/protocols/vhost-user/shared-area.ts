// Descriptions of memory that comes as a descriptor beside the message (vhost-user.rst): the record of requests in flight,
// the log of written pages, the notifier of a ring.

import { decodeVringDescriptor, encodeVringDescriptor, payloadView, type VringDescriptor } from './payloads.js'

/** Bytes of the payloads. The C structure of the first one has four bytes of padding at its end, which may be missing. */
export const INFLIGHT_BYTES = 20
export const INFLIGHT_PADDED_BYTES = 24
export const LOG_BYTES = 16
export const VRING_AREA_BYTES = 24

/** Where the record of requests in flight lies, and for how many rings of which size it is. */
export interface InflightDescription {
  mmapSize: bigint
  mmapOffset: bigint
  queues: number
  queueSize: number
}

/** The payload of GET_INFLIGHT_FD and SET_INFLIGHT_FD. */
export function decodeInflight(payload: Uint8Array): InflightDescription {
  const view = payloadView(payload, INFLIGHT_BYTES)
  return {
    mmapSize: view.getBigUint64(0, true),
    mmapOffset: view.getBigUint64(8, true),
    queues: view.getUint16(16, true),
    queueSize: view.getUint16(18, true),
  }
}

/** The description as a payload of `bytes` bytes: as long as the request where it is an answer. */
export function encodeInflight(inflight: InflightDescription, bytes = INFLIGHT_PADDED_BYTES): Uint8Array {
  const payload = new Uint8Array(bytes)
  const view = new DataView(payload.buffer)
  view.setBigUint64(0, inflight.mmapSize, true)
  view.setBigUint64(8, inflight.mmapOffset, true)
  view.setUint16(16, inflight.queues, true)
  view.setUint16(18, inflight.queueSize, true)
  return payload
}

/** Where the log of written pages lies. */
export interface LogDescription {
  size: bigint
  offset: bigint
}

/** The payload of SET_LOG_BASE. */
export function decodeLog(payload: Uint8Array): LogDescription {
  const view = payloadView(payload, LOG_BYTES)
  return { size: view.getBigUint64(0, true), offset: view.getBigUint64(8, true) }
}

/** The same as a payload. */
export function encodeLog(log: LogDescription): Uint8Array {
  const payload = new Uint8Array(LOG_BYTES)
  const view = new DataView(payload.buffer)
  view.setBigUint64(0, log.size, true)
  view.setBigUint64(8, log.offset, true)
  return payload
}

/** A page through which a ring is kicked without a message. */
export interface VringArea extends VringDescriptor {
  size: bigint
  offset: bigint
}

/** Throws EPROTO for index bits that mean nothing. */
export function decodeVringArea(payload: Uint8Array): VringArea {
  const view = payloadView(payload, VRING_AREA_BYTES)
  return { ...decodeVringDescriptor(payload), size: view.getBigUint64(8, true), offset: view.getBigUint64(16, true) }
}

/** The same as a payload. */
export function encodeVringArea(area: VringArea): Uint8Array {
  const payload = new Uint8Array(VRING_AREA_BYTES)
  payload.set(encodeVringDescriptor(area))
  const view = new DataView(payload.buffer)
  view.setBigUint64(8, area.size, true)
  view.setBigUint64(16, area.offset, true)
  return payload
}
