// A running queue from what a driver said of it and what was agreed. The one place that knows which formats there are.

import { BlockError } from '../../../common/error.js'
import type { GuestMemory } from '../memory/guest-memory.js'
import type { DeviceQueue, QueueState } from './device-queue.js'
import { mapQueue, type QueueConfig } from './queue-layout.js'
import { SplitDeviceQueue } from './split-device-queue.js'

/** What was agreed that changes how a queue is read. */
export interface QueueFeatures {
  packed: boolean
  indirect: boolean
  eventIndex: boolean
  inOrder: boolean
}

/** What this library's queues can do; a device offers no more. */
export const SUPPORTED_QUEUE_FEATURES: Readonly<QueueFeatures> = {
  packed: false,
  indirect: false,
  eventIndex: true,
  inOrder: false,
}

/** Starts a queue of at most `maximum` entries, where `state` says or at its beginning. Throws EINVAL, naming what is wrong. */
export function createDeviceQueue(
  memory: GuestMemory,
  config: QueueConfig,
  maximum: number,
  features: QueueFeatures,
  state?: QueueState,
): DeviceQueue {
  if (features.packed || features.indirect || features.inOrder) {
    throw new BlockError('EINVAL', 'the queue has features that are not there', { op: 'enable-queue' })
  }
  return new SplitDeviceQueue(memory, mapQueue(memory, config, maximum), features.eventIndex, state)
}
