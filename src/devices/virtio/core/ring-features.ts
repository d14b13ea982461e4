// The feature bits that belong to queues, not to a kind of device (virtio 1.2, 6): which of them a device offers, and what
// a queue is made of once they are agreed.

import {
  type FeatureSet,
  featureSet,
  hasFeature,
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_IN_ORDER,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_RING_PACKED,
  VIRTIO_F_RING_RESET,
  VIRTIO_F_VERSION_1,
} from '../../../protocols/virtio/features.js'
import { type QueueFeatures, SUPPORTED_QUEUE_FEATURES } from '../queue/create-queue.js'

/** What a device offers of its queues. */
export interface RingOffer {
  /** Packed rings, for drivers that want them. Default true. */
  packed?: boolean
  /** Descriptors that stand for a table of them. Default true. */
  indirect?: boolean
  /** Default true. */
  eventIndex?: boolean
  /** Buffers are used in the order in which they were made available: late ones wait for early ones. Default false. */
  inOrder?: boolean
  /** Single queues can be reset. Default true. */
  queueReset?: boolean
}

/** The bits a device offers besides those of its kind. A device of this library is always one of version 1. */
export function ringFeatures(offer: RingOffer): FeatureSet {
  const can = SUPPORTED_QUEUE_FEATURES
  const bits = [VIRTIO_F_VERSION_1]
  if (can.packed && (offer.packed ?? true)) bits.push(VIRTIO_F_RING_PACKED)
  if (can.indirect && (offer.indirect ?? true)) bits.push(VIRTIO_F_INDIRECT_DESC)
  if (can.eventIndex && (offer.eventIndex ?? true)) bits.push(VIRTIO_F_EVENT_IDX)
  if (can.inOrder && (offer.inOrder ?? false)) bits.push(VIRTIO_F_IN_ORDER)
  if (offer.queueReset ?? true) bits.push(VIRTIO_F_RING_RESET)
  return featureSet(...bits)
}

/** What a queue is made of under a set of features. */
export function queueFeatures(active: FeatureSet): QueueFeatures {
  return {
    packed: hasFeature(active, VIRTIO_F_RING_PACKED),
    indirect: hasFeature(active, VIRTIO_F_INDIRECT_DESC),
    eventIndex: hasFeature(active, VIRTIO_F_EVENT_IDX),
    inOrder: hasFeature(active, VIRTIO_F_IN_ORDER),
  }
}
