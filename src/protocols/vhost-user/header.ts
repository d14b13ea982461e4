// The header of every vhost-user message (vhost-user.rst, Header): request, flags, size of the payload, 32 bits each.
// Numbers are in the order of the machine; the hosts this library has native calls for are little-endian.

import { BlockError } from '../../common/error.js'

/** Bytes of a header. */
export const VHOST_USER_HEADER_BYTES = 12
/** Largest payload that is read: no message of the protocol has a longer one. */
export const VHOST_USER_MAX_PAYLOAD = 4096

export const VHOST_USER_VERSION = 1
export const VHOST_USER_VERSION_MASK = 3
export const VHOST_USER_REPLY_MASK = 4
export const VHOST_USER_NEED_REPLY_MASK = 8

/** What a header says. */
export interface VhostUserHeader {
  request: number
  /** The sender wants to hear whether it worked. */
  needReply: boolean
  /** It answers a message. */
  reply: boolean
  /** Bytes of the payload. */
  size: number
}

/** Reads a header. Throws EPROTO for another version and for a payload that nobody could mean. */
export function decodeHeader(bytes: Uint8Array): VhostUserHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, VHOST_USER_HEADER_BYTES)
  const flags = view.getUint32(4, true)
  const size = view.getUint32(8, true)
  if ((flags & VHOST_USER_VERSION_MASK) !== VHOST_USER_VERSION) {
    throw new BlockError('EPROTO', `version ${flags & VHOST_USER_VERSION_MASK} of the protocol`)
  }
  if (size > VHOST_USER_MAX_PAYLOAD) throw new BlockError('EPROTO', `a payload of ${size} bytes`)
  return {
    request: view.getUint32(0, true),
    needReply: (flags & VHOST_USER_NEED_REPLY_MASK) !== 0,
    reply: (flags & VHOST_USER_REPLY_MASK) !== 0,
    size,
  }
}

/** A whole message. */
export function encodeMessage(
  request: number,
  payload: Uint8Array,
  { reply = false, needReply = false }: { reply?: boolean; needReply?: boolean } = {},
): Uint8Array {
  const bytes = new Uint8Array(VHOST_USER_HEADER_BYTES + payload.byteLength)
  const view = new DataView(bytes.buffer)
  const flags = VHOST_USER_VERSION | (reply ? VHOST_USER_REPLY_MASK : 0) | (needReply ? VHOST_USER_NEED_REPLY_MASK : 0)
  view.setUint32(0, request, true)
  view.setUint32(4, flags, true)
  view.setUint32(8, payload.byteLength, true)
  bytes.set(payload, VHOST_USER_HEADER_BYTES)
  return bytes
}
