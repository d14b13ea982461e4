// What is left of a queue between two lives: a stop and a start, a migration, a restart of the process. Positions only; the
// chains a device had taken are told to the new life by DeviceQueue.refetch.

import { BlockError } from '../../../common/error.js'
import { ringDistance } from '../../../protocols/virtio/split-ring.js'
import type { QueueState } from './device-queue.js'

/** What was agreed on that changes how a queue is read and written. */
export interface QueueFeatures {
  /** VIRTIO_F_RING_PACKED. */
  readonly packed: boolean
  /** VIRTIO_F_INDIRECT_DESC. */
  readonly indirect: boolean
  /** VIRTIO_F_EVENT_IDX. */
  readonly eventIndex: boolean
  /** VIRTIO_F_IN_ORDER. */
  readonly inOrder: boolean
}

/** Of a queue that has never run. */
export function freshQueueState(packed: boolean): QueueState {
  return { availIndex: 0, availWrap: packed, usedIndex: 0, usedWrap: packed }
}

/** How many entries lie between what was returned and what was taken. Throws EINVAL for what no queue can have left. */
export function entriesTaken(state: QueueState, size: number, packed: boolean): number {
  const { availIndex, availWrap, usedIndex, usedWrap } = state
  const limit = packed ? size : 0x1_0000
  if (!isIndex(availIndex, limit) || !isIndex(usedIndex, limit)) {
    throw refuse(`index ${String(availIndex)} or ${String(usedIndex)} is not below ${limit}`)
  }
  if (!packed && (availWrap || usedWrap)) throw refuse('a split queue has no wrap counters')
  const taken = packed
    ? availIndex - usedIndex + (availWrap === usedWrap ? 0 : size)
    : ringDistance(usedIndex, availIndex)
  if (taken < 0 || taken > size) throw refuse(`${taken} entries are taken of ${size}`)
  return taken
}

function isIndex(value: number, limit: number): boolean {
  return Number.isSafeInteger(value) && value >= 0 && value < limit
}

function refuse(message: string): BlockError {
  return new BlockError('EINVAL', `state of the queue: ${message}`, { op: 'enable-queue' })
}
