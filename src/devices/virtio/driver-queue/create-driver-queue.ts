// Makes the driver's side of a queue: the one place that knows which formats there are.

import type { GuestMemory } from '../memory/guest-memory.js'
import type { QueueFeatures } from '../queue/queue-state.js'
import type { DriverQueue } from './driver-queue.js'
import { PackedDriverQueue } from './packed-driver-queue.js'
import type { QueuePlan } from './queue-plan.js'
import { SplitDriverQueue } from './split-driver-queue.js'

/** An empty queue at `plan`, which was made for the same format. Throws EINVAL where a part lies in no region. */
export function createDriverQueue(memory: GuestMemory, plan: QueuePlan, features: QueueFeatures): DriverQueue {
  return features.packed ? new PackedDriverQueue(memory, plan, features) : new SplitDriverQueue(memory, plan, features)
}
