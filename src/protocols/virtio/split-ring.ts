// Layout of a split virtqueue (virtio 1.2, 2.7): descriptor table, available ring and used ring in guest memory. Pure
// arithmetic and codecs; index arithmetic is modulo 2^16 throughout.

/** The buffer continues in the descriptor named by `next`. */
export const VIRTQ_DESC_F_NEXT = 1
/** The device writes the buffer; otherwise it reads it. */
export const VIRTQ_DESC_F_WRITE = 2
/** The buffer holds a table of descriptors (needs VIRTIO_F_INDIRECT_DESC). */
export const VIRTQ_DESC_F_INDIRECT = 4
/** Available ring: the driver needs no used buffer notification. */
export const VIRTQ_AVAIL_F_NO_INTERRUPT = 1
/** Used ring: the device needs no available buffer notification. */
export const VIRTQ_USED_F_NO_NOTIFY = 1

/** Largest queue size (virtio 1.2, 2.7). */
export const VIRTQ_MAX_SIZE = 32768
/** Longest chain in bytes that a device here takes (virtio 1.2, 2.7.5.2 allows 2^32; a used length cannot say that). */
export const VIRTQ_MAX_CHAIN_BYTES = 0xffff_ffff

/** Alignment of the three parts in bytes (virtio 1.2, 2.7). */
export const VIRTQ_DESC_ALIGNMENT = 16
export const VIRTQ_AVAIL_ALIGNMENT = 2
export const VIRTQ_USED_ALIGNMENT = 4

/** Bytes of one descriptor. */
export const VIRTQ_DESC_BYTES = 16

/** Positions in the rings, in 16-bit words: the same for both. */
export const RING_FLAGS_WORD = 0
export const RING_INDEX_WORD = 1
/** First entry of the available ring, in 16-bit words. */
export const AVAIL_RING_WORD = 2
/** First element of the used ring, in 32-bit words; an element is the two words id and len. */
export const USED_RING_WORD32 = 1

/** Bytes of the descriptor table of a queue of `size` entries. */
export function descriptorTableBytes(size: number): number {
  return VIRTQ_DESC_BYTES * size
}

/** Bytes of the available ring, `used_event` included. */
export function availRingBytes(size: number): number {
  return 6 + 2 * size
}

/** Bytes of the used ring, `avail_event` included. */
export function usedRingBytes(size: number): number {
  return 6 + 8 * size
}

/** Position of `used_event` in the available ring, in 16-bit words. */
export function usedEventWord(size: number): number {
  return AVAIL_RING_WORD + size
}

/** Position of `avail_event` in the used ring, in 16-bit words. */
export function availEventWord(size: number): number {
  return 2 + 4 * size
}

/** Steps from ring index `from` to `to`, modulo 2^16. */
export function ringDistance(from: number, to: number): number {
  return (to - from) & 0xffff
}

/**
 * Whether an index that moved from `oldIndex` to `newIndex` has passed `event`, so that the other side wants to be told
 * (virtio 1.2, 2.7.7.2 and 2.7.10.1).
 */
export function passesEvent(event: number, newIndex: number, oldIndex: number): boolean {
  return ((newIndex - event - 1) & 0xffff) < ((newIndex - oldIndex) & 0xffff)
}

/** A descriptor as it stands in the table. The address is two halves, since all 64 bits come from outside. */
export interface VirtqDescriptor {
  addressHigh: number
  addressLow: number
  /** In bytes. */
  length: number
  flags: number
  next: number
}

/** Reads the descriptor at byte `offset`. */
export function decodeDescriptor(view: DataView, offset: number): VirtqDescriptor {
  return {
    addressLow: view.getUint32(offset, true),
    addressHigh: view.getUint32(offset + 4, true),
    length: view.getUint32(offset + 8, true),
    flags: view.getUint16(offset + 12, true),
    next: view.getUint16(offset + 14, true),
  }
}

/** Writes `descriptor` at byte `offset`. */
export function encodeDescriptor(view: DataView, offset: number, descriptor: VirtqDescriptor): void {
  view.setUint32(offset, descriptor.addressLow, true)
  view.setUint32(offset + 4, descriptor.addressHigh, true)
  view.setUint32(offset + 8, descriptor.length, true)
  view.setUint16(offset + 12, descriptor.flags, true)
  view.setUint16(offset + 14, descriptor.next, true)
}
