// A running queue from what a driver said of it and what was agreed. The one place that knows which formats there are, and
// that a queue whose parts cross regions is another one.

import type { GuestMemory } from '../memory/guest-memory.js'
import type { DeviceQueue, QueueState } from './device-queue.js'
import type { InflightTracker } from './inflight-tracker.js'
import { MirroredPackedQueue } from './mirrored/mirrored-packed-queue.js'
import { MirroredSplitQueue } from './mirrored/mirrored-split-queue.js'
import { PackedDeviceQueue } from './packed-device-queue.js'
import { packedParts, placePackedQueue, placeQueue, type QueueConfig, splitParts } from './queue-layout.js'
import { entriesTaken, freshQueueState, type QueueFeatures } from './queue-state.js'
import { SplitDeviceQueue } from './split-device-queue.js'

export type { QueueFeatures } from './queue-state.js'

/** What this library's queues can do; a device offers no more. */
export const SUPPORTED_QUEUE_FEATURES: Readonly<QueueFeatures> = {
  packed: true,
  indirect: true,
  eventIndex: true,
  inOrder: true,
}

/** What a queue need not have. */
export interface QueueOptions {
  /** Its index in the device; 0 by default. */
  readonly id?: number
  /** Who keeps a record of what is in flight. */
  readonly tracker?: InflightTracker
}

/**
 * Starts a queue of at most `maximum` entries, where `state` says or at its beginning. Throws EINVAL, naming what is wrong
 * with the layout or the state. Of a packed queue `descriptorTable` is the descriptor ring, `availRing` the driver's and
 * `usedRing` the device's event suppression.
 */
export function createDeviceQueue(
  memory: GuestMemory,
  config: QueueConfig,
  maximum: number,
  features: QueueFeatures,
  state: QueueState = freshQueueState(features.packed),
  options: QueueOptions = {},
): DeviceQueue {
  const { id = 0, tracker } = options
  if (features.packed) {
    const places = placePackedQueue(memory, config, maximum)
    return places.inOneRegionEach
      ? new PackedDeviceQueue(memory, packedParts(places), features, state, id, tracker)
      : new MirroredPackedQueue(memory, places, features, state, id, tracker)
  }
  const places = placeQueue(memory, config, maximum)
  entriesTaken(state, places.size, false)
  return places.inOneRegionEach
    ? new SplitDeviceQueue(memory, splitParts(places), features, state, id, tracker)
    : new MirroredSplitQueue(memory, places, features, state, id, tracker)
}
