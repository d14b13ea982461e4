// Feature bits and sets (virtio 1.2, 2.2, 5.2.3 and 6). A set is a bigint: all 64 bits mean something, and it is looked
// at only while a driver starts.

/** Bit numbers of features. */
export const VIRTIO_BLK_F_SIZE_MAX = 1
export const VIRTIO_BLK_F_SEG_MAX = 2
export const VIRTIO_BLK_F_GEOMETRY = 4
export const VIRTIO_BLK_F_RO = 5
export const VIRTIO_BLK_F_BLK_SIZE = 6
export const VIRTIO_BLK_F_FLUSH = 9
export const VIRTIO_BLK_F_TOPOLOGY = 10
export const VIRTIO_BLK_F_CONFIG_WCE = 11
export const VIRTIO_BLK_F_MQ = 12
export const VIRTIO_BLK_F_DISCARD = 13
export const VIRTIO_BLK_F_WRITE_ZEROES = 14
export const VIRTIO_BLK_F_LIFETIME = 15
export const VIRTIO_BLK_F_SECURE_ERASE = 16
export const VIRTIO_BLK_F_ZONED = 17
export const VIRTIO_F_INDIRECT_DESC = 28
export const VIRTIO_F_EVENT_IDX = 29
export const VIRTIO_F_VERSION_1 = 32
export const VIRTIO_F_RING_PACKED = 34
export const VIRTIO_F_IN_ORDER = 35
export const VIRTIO_F_RING_RESET = 40

/** A set of feature bits. */
export type FeatureSet = bigint

/** The set of the bits named. */
export function featureSet(...bits: number[]): FeatureSet {
  let set = 0n
  for (const bit of bits) set |= 1n << BigInt(bit)
  return set
}

/** Whether `set` has the bit. */
export function hasFeature(set: FeatureSet, bit: number): boolean {
  return ((set >> BigInt(bit)) & 1n) === 1n
}

/** Bits 32 x `select` to 32 x `select` + 31 as a u32: the window through which transports show a set; 0 beyond bit 63. */
export function featureWindow(set: FeatureSet, select: number): number {
  if (select !== 0 && select !== 1) return 0
  return Number((set >> BigInt(32 * select)) & 0xffff_ffffn)
}

/** `set` with one window replaced; unchanged where there is no such window. */
export function withFeatureWindow(set: FeatureSet, select: number, value: number): FeatureSet {
  if (select !== 0 && select !== 1) return set
  const shift = BigInt(32 * select)
  return (set & ~(0xffff_ffffn << shift)) | (BigInt(value >>> 0) << shift)
}
