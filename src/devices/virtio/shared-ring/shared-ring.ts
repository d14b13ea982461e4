// A virtqueue between two threads over one SharedArrayBuffer: the driver's end in one, the device's end in the other, and
// a doorbell each way on a cache line of its own. What passes between the threads to begin with is a SharedRing, which can
// be posted; after that only the ring's memory is touched.

import { BlockError } from '../../../common/error.js'
import { alignUp } from '../../../common/units.js'
import { planQueue, type QueuePlan } from '../driver-queue/queue-plan.js'
import { GuestMemory } from '../memory/guest-memory.js'
import { placePackedQueue, placeQueue } from '../queue/queue-layout.js'
import type { QueueFeatures } from '../queue/queue-state.js'

/** What a ring is made of. */
export interface SharedRingOptions {
  /** Entries: a power of two, unless the ring is packed. */
  readonly size: number
  /** Bytes for buffers. */
  readonly dataBytes: number
  /** All false by default. */
  readonly features?: Partial<QueueFeatures>
  /** Descriptors in the indirect table of each chain, where `indirect` is among the features. 8 by default. */
  readonly tableEntries?: number
}

/** A ring as it is posted to another thread. Guest addresses are offsets in the buffer. */
export interface SharedRing {
  readonly buffer: SharedArrayBuffer
  readonly features: QueueFeatures
  readonly plan: QueuePlan
  /** Where the memory for buffers begins, and its bytes. */
  readonly dataAddress: number
  readonly dataBytes: number
}

const CACHE_LINE = 64
/** Offsets of the two bells, and of the queue behind them. */
export const DRIVER_BELL = 0
export const DEVICE_BELL = CACHE_LINE
const QUEUE_AT = 2 * CACHE_LINE

/**
 * Makes the memory of a ring. Its ends may be made in any order: what the driver's end empties asks for notifications.
 * Throws EINVAL for a size that no ring has.
 */
export function createSharedRing(options: SharedRingOptions): SharedRing {
  const { size, dataBytes, tableEntries = 8 } = options
  const features = { packed: false, indirect: false, eventIndex: false, inOrder: false, ...options.features }
  if (!Number.isSafeInteger(dataBytes) || dataBytes < 0) {
    throw new BlockError('EINVAL', `${String(dataBytes)} bytes for buffers`, { op: 'shared-ring' })
  }
  const plan = planQueue(QUEUE_AT, size, {
    packed: features.packed,
    tableEntries: features.indirect ? tableEntries : 0,
  })
  const dataAddress = alignUp(plan.end, CACHE_LINE)
  const buffer = new SharedArrayBuffer(alignUp(dataAddress + dataBytes, CACHE_LINE))
  const ring = { buffer, features, plan, dataAddress, dataBytes }
  if (features.packed) placePackedQueue(memoryOf(ring), plan.config, size)
  else placeQueue(memoryOf(ring), plan.config, size)
  return ring
}

/** The ring's buffer as the memory that both ends' addresses are of. */
export function memoryOf(ring: SharedRing): GuestMemory {
  return new GuestMemory([{ address: 0, memory: ring.buffer }])
}
