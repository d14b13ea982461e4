// Access to the configuration space (vhost-user.rst, Virtio device config space): offset, size, flags, then the bytes.

import { BlockError } from '../../common/error.js'
import { payloadView } from './payloads.js'

/** Bytes before the contents. */
export const VHOST_USER_CONFIG_HEAD_BYTES = 12
/** Most bytes of the space in one message. */
export const VHOST_USER_MAX_CONFIG_SIZE = 256
/** Flags: the message sets writable fields, or restores the space after a migration. */
export const VHOST_USER_CONFIG_WRITABLE = 0
export const VHOST_USER_CONFIG_MIGRATION = 1

/** A stretch of the configuration space. */
export interface ConfigAccess {
  offset: number
  size: number
  flags: number
  /** The bytes that came with it, `size` of them. */
  data: Uint8Array
}

/** Throws EPROTO for a payload without the bytes it announces, EINVAL for an access outside any configuration space. */
export function decodeConfig(payload: Uint8Array): ConfigAccess {
  const view = payloadView(payload, VHOST_USER_CONFIG_HEAD_BYTES)
  const offset = view.getUint32(0, true)
  const size = view.getUint32(4, true)
  if (size === 0 || size > VHOST_USER_MAX_CONFIG_SIZE || offset > VHOST_USER_MAX_CONFIG_SIZE - size) {
    throw new BlockError('EINVAL', `configuration access of ${size} bytes at ${offset}`)
  }
  payloadView(payload, VHOST_USER_CONFIG_HEAD_BYTES + size)
  return {
    offset,
    size,
    flags: view.getUint32(8, true),
    data: payload.subarray(VHOST_USER_CONFIG_HEAD_BYTES, VHOST_USER_CONFIG_HEAD_BYTES + size),
  }
}

/** The access as a payload of `bytes` bytes: as long as the request where it is an answer. */
export function encodeConfig(access: ConfigAccess, bytes = VHOST_USER_CONFIG_HEAD_BYTES + access.size): Uint8Array {
  const payload = new Uint8Array(bytes)
  const view = new DataView(payload.buffer)
  view.setUint32(0, access.offset, true)
  view.setUint32(4, access.size, true)
  view.setUint32(8, access.flags, true)
  payload.set(access.data.subarray(0, access.size), VHOST_USER_CONFIG_HEAD_BYTES)
  return payload
}
