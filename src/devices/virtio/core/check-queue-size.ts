// The largest size of a device's queues is a power of two (virtio 1.2, 2.7), at least room for a request of two buffers.

import { BlockError } from '../../../common/error.js'
import { VIRTQ_MAX_SIZE } from '../../../protocols/virtio/split-ring.js'

/** `size`, where a device of this `name` can have queues of that size. Throws EINVAL. */
export function checkQueueSize(size: number, name: string): number {
  if (Number.isSafeInteger(size) && size >= 2 && size <= VIRTQ_MAX_SIZE && (size & (size - 1)) === 0) return size
  throw new BlockError('EINVAL', `${name}: queue size must be a power of two up to ${VIRTQ_MAX_SIZE}`)
}
