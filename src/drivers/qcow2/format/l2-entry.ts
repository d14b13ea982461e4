// One L2 entry: what a guest cluster is. The codec is pure; kinds are those of the specification ("Standard Cluster
// Descriptor", "Compressed Clusters Descriptor", "Extended L2 Entries").

import { type HostOffset, host, type Layout } from './layout.js'
import { COPIED_HIGH, entryOffset } from './table.js'

/** Bit 62: the cluster is compressed. */
export const COMPRESSED_HIGH = 0x4000_0000
/** Bit 0 (version 3, no subclusters): the cluster reads as zeroes. */
export const ZERO_LOW = 1

/** Unallocated: reads come from the backing file. */
export const UNALLOCATED = 0
/** Reads as zeroes; no host cluster. */
export const ZERO_PLAIN = 1
/** Reads as zeroes; a host cluster stands ready. */
export const ZERO_ALLOCATED = 2
/** Data in the host cluster. */
export const NORMAL = 3
export const COMPRESSED = 4
/** A subcluster of which reads come from the backing file, in a cluster that has a host cluster. */
export const UNALLOCATED_HOST = 5
/** An entry that means nothing. */
export const INVALID = 6

/** What a guest cluster, or one subcluster of it, is. */
export type ClusterKind =
  | typeof UNALLOCATED
  | typeof ZERO_PLAIN
  | typeof ZERO_ALLOCATED
  | typeof NORMAL
  | typeof COMPRESSED
  | typeof UNALLOCATED_HOST
  | typeof INVALID

/** Whether a kind has a host cluster of its own that is not compressed. */
export function hasHostCluster(kind: ClusterKind): boolean {
  return kind === NORMAL || kind === ZERO_ALLOCATED || kind === UNALLOCATED_HOST
}

/** What the first word of an entry says, in an image without subclusters. `external`: data stands in an external data file. */
export function standardKind(high: number, low: number, external: boolean): ClusterKind {
  if ((high & COMPRESSED_HIGH) !== 0) return external ? INVALID : COMPRESSED
  const offset = entryOffset(high, low)
  if (Number.isNaN(offset)) return INVALID
  // With an external data file host offset 0 is a cluster like any other; bit 63 tells that it is allocated.
  const allocated = offset !== 0 || (external && (high & COPIED_HIGH) !== 0)
  if ((low & ZERO_LOW) !== 0) return allocated ? ZERO_ALLOCATED : ZERO_PLAIN
  return allocated ? NORMAL : UNALLOCATED
}

/**
 * What subcluster `index` is by an extended entry: the halves of its first word, and of its bitmap `zeroBits` (32 to 63)
 * and `allocatedBits` (0 to 31).
 */
export function subclusterKind(
  high: number,
  low: number,
  zeroBits: number,
  allocatedBits: number,
  index: number,
  external: boolean,
): ClusterKind {
  if ((high & COMPRESSED_HIGH) !== 0) return external ? INVALID : COMPRESSED
  const offset = entryOffset(high, low)
  if (Number.isNaN(offset)) return INVALID
  const hasHost = offset !== 0 || (external && (high & COPIED_HIGH) !== 0)
  const zero = ((zeroBits >>> index) & 1) !== 0
  const allocated = ((allocatedBits >>> index) & 1) !== 0
  if (zero && allocated) return INVALID
  if (zero) return hasHost ? ZERO_ALLOCATED : ZERO_PLAIN
  if (allocated) return hasHost ? NORMAL : INVALID
  return hasHost ? UNALLOCATED_HOST : UNALLOCATED
}

/** Where the data of a compressed cluster stands. */
export interface CompressedRange {
  offset: HostOffset
  /** Up to the end of the last 512-byte sector the descriptor names. */
  bytes: number
}

/** Decodes a compressed descriptor; undefined where its offset is larger than any can be. */
export function decodeCompressed(layout: Layout, high: number, low: number): CompressedRange | undefined {
  const highBits = layout.compressedOffsetBits - 32
  const upper = high & ((2 ** highBits - 1) | 0)
  if (upper > 0x1f_ffff) return undefined
  const offset = upper * 0x1_0000_0000 + low
  const sectors = ((high & 0x3fff_ffff) >>> highBits) + 1
  return { offset: host(offset), bytes: sectors * 512 - (offset & 511) }
}

/** The halves of the descriptor of `bytes` compressed bytes at `offset`. */
export function encodeCompressed(layout: Layout, offset: HostOffset, bytes: number): { high: number; low: number } {
  const highBits = layout.compressedOffsetBits - 32
  const sectors = Math.floor((offset + bytes - 1) / 512) - Math.floor(offset / 512)
  const upper = Math.floor(offset / 0x1_0000_0000)
  return { high: (COMPRESSED_HIGH | (sectors << highBits) | upper) >>> 0, low: offset >>> 0 }
}
