// What the front-end of a guest behind a socket says of where a ring lies.

import type { GuestAddress, QueueConfig } from '../../../src/devices/virtio/queue/queue-layout.js'
import { VHOST_VRING_F_LOG } from '../../../src/protocols/vhost-user/messages.js'
import { encodeVringAddress } from '../../../src/protocols/vhost-user/payloads.js'
import { GUEST_BASE, USER_BASE } from './guest-regions.js'

/** The payload that says where a ring lies; with `log` its used part is logged there. */
export function ringAddress(index: number, config: QueueConfig, log?: bigint): Uint8Array {
  return encodeVringAddress({
    index,
    flags: log === undefined ? 0 : 1 << VHOST_VRING_F_LOG,
    descriptor: userAddress(config.descriptorTable),
    available: userAddress(config.availRing),
    used: userAddress(config.usedRing),
    log: log ?? 0n,
  })
}

/** A guest address as one number. */
export function guestAddress({ high, low }: GuestAddress): bigint {
  return (BigInt(high) << 32n) | BigInt(low)
}

function userAddress(address: GuestAddress): bigint {
  return USER_BASE + guestAddress(address) - BigInt(GUEST_BASE)
}
