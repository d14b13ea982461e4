// virtio is little-endian throughout (virtio 1.2, 1.4). Ring words are accessed through typed arrays, which have the
// host's order; these two turn a word read or to be written into the other order, and cost nothing where both agree.

const littleEndianHost = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1

/** A u16 of a typed array as its little-endian meaning, or the other way round. */
export function le16(value: number): number {
  return littleEndianHost ? value : ((value & 0xff) << 8) | ((value >>> 8) & 0xff)
}

/** A u32 of a typed array as its little-endian meaning, or the other way round. */
export function le32(value: number): number {
  if (littleEndianHost) return value
  return ((le16(value & 0xffff) << 16) | le16(value >>> 16)) >>> 0
}
