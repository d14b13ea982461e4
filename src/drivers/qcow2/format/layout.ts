// Arithmetic of an image's geometry: how guest offsets become table indices and host offsets cluster indices, and how large
// things may be. Pure numbers that follow from four header fields (qcow2 specification, "Cluster mapping" and "Host cluster
// management").

import { MAX_LENGTH } from '../../../common/limits.js'
import { KiB, MiB, type Offset } from '../../../common/units.js'

/** A position on the virtual disk, in bytes. VM state lies behind the end of the disk in the same space. */
export type GuestOffset = Offset & { readonly space: 'guest' }
/** A position in the image file (or the external data file), in bytes. */
export type HostOffset = Offset & { readonly space: 'host' }

/** Marks a number as a position on the virtual disk. */
export function guest(offset: number): GuestOffset {
  return offset as GuestOffset
}

/** Marks a number as a position in the image file. */
export function host(offset: number): HostOffset {
  return offset as HostOffset
}

export const MIN_CLUSTER_BITS = 9
export const MAX_CLUSTER_BITS = 21
export const DEFAULT_CLUSTER_SIZE = 64 * KiB
/** Extended L2 entries need clusters of at least 16 KiB. */
export const MIN_EXTENDED_CLUSTER_BITS = 14
export const SUBCLUSTERS = 32
export const MAX_L1_BYTES = 32 * MiB
export const MAX_REFCOUNT_TABLE_BYTES = 8 * MiB
/** Bytes of an entry of an L1, refcount or bitmap table, and of an L2 table without subclusters. */
export const ENTRY_BYTES = 8
/** Host offsets in entries have 56 bits; the library's own cap is lower. */
export const MAX_HOST_OFFSET = Math.min(2 ** 56, MAX_LENGTH)

/** What follows from cluster size, entry format and refcount width. Units are bytes where the name says nothing else. */
export interface Layout {
  readonly clusterBits: number
  readonly clusterSize: number
  readonly extendedL2: boolean
  /** Equal to the cluster size where there are no subclusters. */
  readonly subclusterSize: number
  readonly subclustersPerCluster: number
  readonly l2EntryBytes: number
  /** Entries of one L2 table. */
  readonly l2Entries: number
  /** Guest bytes that one L2 table maps. */
  readonly l2Coverage: number
  readonly refcountOrder: number
  readonly refcountBits: number
  /** Largest refcount of one cluster; 2^53 - 1 for 64-bit refcounts. */
  readonly maxRefcount: number
  /** Entries of one refcount block. */
  readonly refcountBlockEntries: number
  /** Host bytes that one refcount block describes. */
  readonly refcountBlockCoverage: number
  /** Of a compressed descriptor: bits of its host offset (specification: x). */
  readonly compressedOffsetBits: number
}

/** The layout of an image; the arguments have been checked. */
export function createLayout(clusterBits: number, refcountOrder: number, extendedL2: boolean): Layout {
  // By shifts: a power is a floating-point number to the engine, and so is all that is computed from it.
  const clusterSize = 1 << clusterBits
  const l2EntryBytes = extendedL2 ? 2 * ENTRY_BYTES : ENTRY_BYTES
  const l2Entries = clusterSize / l2EntryBytes
  const refcountBits = 1 << refcountOrder
  const refcountBlockEntries = (clusterSize * 8) / refcountBits
  return {
    clusterBits,
    clusterSize,
    extendedL2,
    subclusterSize: extendedL2 ? clusterSize / SUBCLUSTERS : clusterSize,
    subclustersPerCluster: extendedL2 ? SUBCLUSTERS : 1,
    l2EntryBytes,
    l2Entries,
    l2Coverage: l2Entries * clusterSize,
    refcountOrder,
    refcountBits,
    maxRefcount: refcountBits > 53 ? Number.MAX_SAFE_INTEGER : 2 ** refcountBits - 1,
    refcountBlockEntries,
    refcountBlockCoverage: refcountBlockEntries * clusterSize,
    compressedOffsetBits: 62 - (clusterBits - 8),
  }
}

/** Clusters that hold `bytes` bytes. */
export function clustersFor(layout: Layout, bytes: number): number {
  return Math.ceil(bytes / layout.clusterSize)
}

/** L1 entries that map a disk of `bytes` bytes. */
export function l1EntriesFor(layout: Layout, bytes: number): number {
  return Math.ceil(bytes / layout.l2Coverage)
}

/** The start of the cluster that holds `offset`. */
export function clusterStart<T extends GuestOffset | HostOffset>(layout: Layout, offset: T): T {
  return (offset - (offset & (layout.clusterSize - 1))) as T
}

/** The first cluster boundary at or behind `offset`. */
export function clusterEnd<T extends GuestOffset | HostOffset>(layout: Layout, offset: T): T {
  const inside = offset & (layout.clusterSize - 1)
  return (inside === 0 ? offset : offset - inside + layout.clusterSize) as T
}

/** Whether `offset` is a cluster boundary. */
export function isClusterAligned(layout: Layout, offset: Offset): boolean {
  return (offset & (layout.clusterSize - 1)) === 0
}

/** Index of the host cluster that holds `offset`. */
export function clusterIndex(layout: Layout, offset: HostOffset): number {
  return Math.floor(offset / layout.clusterSize)
}
