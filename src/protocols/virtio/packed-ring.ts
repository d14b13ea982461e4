// Layout of a packed virtqueue (virtio 1.2, 2.8): one ring of descriptors that both sides write, and an event suppression
// structure for each side. Pure arithmetic and codecs. The flags NEXT, WRITE and INDIRECT are those of split-ring.ts.

/** Marks a descriptor as available where it equals the driver's wrap counter, and `USED` does not (2.8.1). */
export const VIRTQ_DESC_F_AVAIL = 1 << 7
/** Marks a descriptor as used where it, and `AVAIL`, equal the device's wrap counter (2.8.1). */
export const VIRTQ_DESC_F_USED = 1 << 15

/** Tell me of every descriptor (2.8.10). */
export const RING_EVENT_FLAGS_ENABLE = 0
/** Tell me of none. */
export const RING_EVENT_FLAGS_DISABLE = 1
/** Tell me of the descriptor named; only with VIRTIO_F_EVENT_IDX. */
export const RING_EVENT_FLAGS_DESC = 2

/** Largest queue size (2.8); it need not be a power of two (2.8.10.1). */
export const PACKED_MAX_SIZE = 32768

/** Alignment of the parts in bytes (2.8.10.1). */
export const PACKED_RING_ALIGNMENT = 16
export const PACKED_EVENT_ALIGNMENT = 4
/** Bytes of an event suppression structure (2.8.14). */
export const PACKED_EVENT_BYTES = 4

/** Bytes of one descriptor. */
const PACKED_DESC_BYTES = 16

/** The flags of a descriptor that both its sides' wrap counters are in, as they stand in its last 32-bit word. */
export const PACKED_TURN_MASK = ((VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED) << 16) | 0

/** Bytes of the descriptor ring of a queue of `size` entries. */
export function packedRingBytes(size: number): number {
  return PACKED_DESC_BYTES * size
}

/** What {@link PACKED_TURN_MASK} leaves of a descriptor that is available while the wrap counter is `wrap`. */
export function availableTurn(wrap: boolean): number {
  return ((wrap ? VIRTQ_DESC_F_AVAIL : VIRTQ_DESC_F_USED) << 16) | 0
}

/** What {@link PACKED_TURN_MASK} leaves of a descriptor that is used while the wrap counter is `wrap`. */
export function usedTurn(wrap: boolean): number {
  return wrap ? PACKED_TURN_MASK : 0
}

/** An event suppression structure as one 32-bit word: `slot` and `wrap` mean something with `RING_EVENT_FLAGS_DESC` only. */
export function packedEvent(flags: number, slot = 0, wrap = false): number {
  return ((flags << 16) | (wrap ? 0x8000 : 0) | slot) >>> 0
}

/**
 * Whether the writer of `event` wants to be told of what the other side has written: `slots` slots up to `next`, where
 * the wrap counter is `wrap` now (2.8.10). Reserved flags, and an event index that was not agreed, ask for everything.
 */
export function packedEventWanted(
  event: number,
  next: number,
  wrap: boolean,
  slots: number,
  size: number,
  eventIndex: boolean,
): boolean {
  const flags = (event >>> 16) & 3
  if (flags === RING_EVENT_FLAGS_DISABLE) return false
  if (flags !== RING_EVENT_FLAGS_DESC || !eventIndex) return true
  const offset = event & 0x7fff
  const slot = ((event & 0x8000) !== 0) === wrap ? offset : offset - size
  return slot >= next - slots && slot < next
}

/** A descriptor as it stands in the ring. */
export interface PackedDescriptor {
  addressHigh: number
  addressLow: number
  /** In bytes. */
  length: number
  id: number
  flags: number
}

/** Reads the descriptor at byte `offset` (2.8.13). */
export function decodePackedDescriptor(view: DataView, offset: number): PackedDescriptor {
  return {
    addressLow: view.getUint32(offset, true),
    addressHigh: view.getUint32(offset + 4, true),
    length: view.getUint32(offset + 8, true),
    id: view.getUint16(offset + 12, true),
    flags: view.getUint16(offset + 14, true),
  }
}

/** Writes `descriptor` at byte `offset`. */
export function encodePackedDescriptor(view: DataView, offset: number, descriptor: PackedDescriptor): void {
  view.setUint32(offset, descriptor.addressLow, true)
  view.setUint32(offset + 4, descriptor.addressHigh, true)
  view.setUint32(offset + 8, descriptor.length, true)
  view.setUint16(offset + 12, descriptor.id, true)
  view.setUint16(offset + 14, descriptor.flags, true)
}
