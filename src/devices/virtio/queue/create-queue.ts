// A running queue from what a driver said of it and what was agreed. The one place that knows which formats there are.

import type { GuestMemory } from '../memory/guest-memory.js'
import type { DeviceQueue, QueueState } from './device-queue.js'
import type { InflightTracker } from './inflight-tracker.js'
import { PackedDeviceQueue } from './packed-device-queue.js'
import { mapPackedQueue, mapQueue, type QueueConfig } from './queue-layout.js'
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
    const parts = mapPackedQueue(memory, config, maximum)
    return new PackedDeviceQueue(memory, parts, features, state, id, tracker)
  }
  const parts = mapQueue(memory, config, maximum)
  entriesTaken(state, parts.size, false)
  return new SplitDeviceQueue(memory, parts, features, state, id, tracker)
}
