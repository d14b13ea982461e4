// IOTLB messages (vhost-user.rst, An IOTLB message): translations of a guest behind an IOMMU. A back-end that does not offer
// VIRTIO_F_ACCESS_PLATFORM is never sent one; the codec is here for tools that look at a dialogue.

import { BlockError } from '../../common/error.js'
import { payloadView } from './payloads.js'

/** Bytes of the payload: 26 of contents, padded as the C structure is. */
export const IOTLB_BYTES = 26

export const VHOST_IOTLB_MISS = 1
export const VHOST_IOTLB_UPDATE = 2
export const VHOST_IOTLB_INVALIDATE = 3
export const VHOST_IOTLB_ACCESS_FAIL = 4

/** One translation, or what is said of it. */
export interface IotlbMessage {
  iova: bigint
  size: bigint
  userAddress: bigint
  /** Bit 0 reading, bit 1 writing. */
  permissions: number
  type: number
}

/** Throws EPROTO for a type or permissions that do not exist. */
export function decodeIotlb(payload: Uint8Array): IotlbMessage {
  const view = payloadView(payload, IOTLB_BYTES)
  const permissions = view.getUint8(24)
  const type = view.getUint8(25)
  if (permissions > 3 || type < VHOST_IOTLB_MISS || type > VHOST_IOTLB_ACCESS_FAIL) {
    throw new BlockError('EPROTO', `an IOTLB message of type ${type} with permissions ${permissions}`)
  }
  return {
    iova: view.getBigUint64(0, true),
    size: view.getBigUint64(8, true),
    userAddress: view.getBigUint64(16, true),
    permissions,
    type,
  }
}

/** The message as a payload. */
export function encodeIotlb(message: IotlbMessage): Uint8Array {
  const payload = new Uint8Array(IOTLB_BYTES)
  const view = new DataView(payload.buffer)
  view.setBigUint64(0, message.iova, true)
  view.setBigUint64(8, message.size, true)
  view.setBigUint64(16, message.userAddress, true)
  view.setUint8(24, message.permissions)
  view.setUint8(25, message.type)
  return payload
}
