// The small payloads (vhost-user.rst, Payload): a u64, the state and the addresses of a ring, a descriptor's ring index.
// A payload may be longer than what it holds; one that is shorter is refused with EPROTO.

import { BlockError } from '../../common/error.js'

/** Bytes of the payloads. */
export const VHOST_USER_U64_BYTES = 8
export const VRING_STATE_BYTES = 8
export const VRING_ADDRESS_BYTES = 40

/** A view of a payload that holds at least `bytes` bytes. */
export function payloadView(payload: Uint8Array, bytes: number): DataView {
  if (payload.byteLength < bytes) {
    throw new BlockError('EPROTO', `a payload of ${payload.byteLength} bytes where ${bytes} are needed`)
  }
  return new DataView(payload.buffer, payload.byteOffset, payload.byteLength)
}

/** All 64 bits mean something: features, for one. */
export function decodeU64(payload: Uint8Array): bigint {
  return payloadView(payload, VHOST_USER_U64_BYTES).getBigUint64(0, true)
}

/** A u64 as a payload. */
export function encodeU64(value: bigint | number): Uint8Array {
  const bytes = new Uint8Array(VHOST_USER_U64_BYTES)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true)
  return bytes
}

/** A ring and a number: its size, its base, whether it is enabled. */
export interface VringState {
  index: number
  num: number
}

/** A ring and a number, of a payload. */
export function decodeVringState(payload: Uint8Array): VringState {
  const view = payloadView(payload, VRING_STATE_BYTES)
  return { index: view.getUint32(0, true), num: view.getUint32(4, true) }
}

/** The same as a payload. */
export function encodeVringState(state: VringState): Uint8Array {
  const bytes = new Uint8Array(VRING_STATE_BYTES)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, state.index, true)
  view.setUint32(4, state.num, true)
  return bytes
}

/** Where the parts of a ring lie: addresses of the front-end's own space, not the guest's. */
export interface VringAddress {
  index: number
  flags: number
  descriptor: bigint
  used: bigint
  available: bigint
  /** A guest address. */
  log: bigint
}

/** The places of a ring, of a payload. */
export function decodeVringAddress(payload: Uint8Array): VringAddress {
  const view = payloadView(payload, VRING_ADDRESS_BYTES)
  return {
    index: view.getUint32(0, true),
    flags: view.getUint32(4, true),
    descriptor: view.getBigUint64(8, true),
    used: view.getBigUint64(16, true),
    available: view.getBigUint64(24, true),
    log: view.getBigUint64(32, true),
  }
}

/** The same as a payload. */
export function encodeVringAddress(address: VringAddress): Uint8Array {
  const bytes = new Uint8Array(VRING_ADDRESS_BYTES)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, address.index, true)
  view.setUint32(4, address.flags, true)
  view.setBigUint64(8, address.descriptor, true)
  view.setBigUint64(16, address.used, true)
  view.setBigUint64(24, address.available, true)
  view.setBigUint64(32, address.log, true)
  return bytes
}

/** The payload of SET_VRING_KICK, _CALL and _ERR: bits 0 to 7 the ring, bit 8 that no descriptor comes with it. */
export interface VringDescriptor {
  index: number
  hasDescriptor: boolean
}

/** Throws EPROTO for bits that mean nothing. */
export function decodeVringDescriptor(payload: Uint8Array): VringDescriptor {
  const value = decodeU64(payload)
  if (value > 0x1ffn) throw new BlockError('EPROTO', `a ring index of 0x${value.toString(16)}`)
  return { index: Number(value & 0xffn), hasDescriptor: (value & 0x100n) === 0n }
}

/** The same as a payload. */
export function encodeVringDescriptor({ index, hasDescriptor }: VringDescriptor): Uint8Array {
  return encodeU64(index | (hasDescriptor ? 0 : 0x100))
}
