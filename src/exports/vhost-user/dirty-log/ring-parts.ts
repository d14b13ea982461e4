// The parts of a ring that a device writes, as the log knows them (vhost-user.rst, Migration): what the front-end calls the
// used ring is logged where the front-end says. Of a packed ring that is the device's event suppression; its descriptors,
// of which the protocol says nothing, lie in guest memory and are logged there. Parts are logged whole: they are small, and
// what a killed back-end had written and not logged is logged by the next one.

import { BlockError } from '../../../common/error.js'
import { MAX_LENGTH } from '../../../common/limits.js'
import type { QueueConfig } from '../../../devices/virtio/queue/queue-layout.js'
import { VHOST_VRING_F_LOG } from '../../../protocols/vhost-user/messages.js'
import type { VringAddress } from '../../../protocols/vhost-user/payloads.js'
import { PACKED_EVENT_BYTES, packedRingBytes } from '../../../protocols/virtio/packed-ring.js'
import { usedRingBytes } from '../../../protocols/virtio/split-ring.js'

/** A stretch of addresses in the log. */
export interface RingPart {
  readonly address: number
  readonly bytes: number
}

/** Whether a ring's writes are to be logged. */
export function isLogged({ flags }: VringAddress): boolean {
  return (flags & (1 << VHOST_VRING_F_LOG)) !== 0
}

/** What is logged of a ring; undefined where nothing is. Throws EINVAL for an address that no log reaches. */
export function ringParts(address: VringAddress, config: QueueConfig, packed: boolean): RingPart[] | undefined {
  if (!isLogged(address)) return undefined
  const bytes = packed ? PACKED_EVENT_BYTES : usedRingBytes(config.size)
  if (address.log + BigInt(bytes) > BigInt(MAX_LENGTH)) {
    throw new BlockError('EINVAL', `ring ${address.index}: its used part is logged at 0x${address.log.toString(16)}`)
  }
  const used = { address: Number(address.log), bytes }
  if (!packed) return [used]
  const { high, low } = config.descriptorTable
  return [used, { address: high * 0x1_0000_0000 + low, bytes: packedRingBytes(config.size) }]
}
