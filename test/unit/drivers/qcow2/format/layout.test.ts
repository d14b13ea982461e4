// What follows from the size of clusters and the width of refcounts, for every cluster size there is, and the limits that the
// specification names ("Header", "Host cluster management", "Cluster mapping").

import { describe, expect, test } from 'vitest'
import {
  clusterEnd,
  clusterIndex,
  clusterStart,
  clustersFor,
  createLayout,
  ENTRY_BYTES,
  guest,
  host,
  isClusterAligned,
  l1EntriesFor,
  MAX_CLUSTER_BITS,
  MAX_HOST_OFFSET,
  MAX_L1_BYTES,
  MAX_REFCOUNT_TABLE_BYTES,
  MIN_CLUSTER_BITS,
} from '../../../../../src/drivers/qcow2/format/layout.js'

const KiB = 1024
const MiB = 1024 * KiB
const GiB = 1024 * MiB

/** cluster_bits; cluster size, entries of an L2 table, bytes it maps; x of a compressed descriptor; counts of 16 bits a block. */
const SIZES = [
  [9, 512, 64, 32 * KiB, 61, 256],
  [10, KiB, 128, 128 * KiB, 60, 512],
  [11, 2 * KiB, 256, 512 * KiB, 59, 1024],
  [12, 4 * KiB, 512, 2 * MiB, 58, 2048],
  [13, 8 * KiB, 1024, 8 * MiB, 57, 4096],
  [14, 16 * KiB, 2048, 32 * MiB, 56, 8192],
  [15, 32 * KiB, 4096, 128 * MiB, 55, 16_384],
  [16, 64 * KiB, 8192, 512 * MiB, 54, 32_768],
  [17, 128 * KiB, 16_384, 2 * GiB, 53, 65_536],
  [18, 256 * KiB, 32_768, 8 * GiB, 52, 131_072],
  [19, 512 * KiB, 65_536, 32 * GiB, 51, 262_144],
  [20, MiB, 131_072, 128 * GiB, 50, 524_288],
  [21, 2 * MiB, 262_144, 512 * GiB, 49, 1_048_576],
] as const

test('cluster sizes go from 512 bytes to 2 MiB', () => {
  expect([MIN_CLUSTER_BITS, MAX_CLUSTER_BITS]).toEqual([9, 21])
  expect(SIZES.map(([bits]) => bits)).toEqual([9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21])
})

describe.each(SIZES)('cluster_bits %i', (bits, clusterSize, l2Entries, l2Coverage, offsetBits, counts) => {
  const layout = createLayout(bits, 4, false)

  test('cluster, L2 table, compressed descriptor and refcount block', () => {
    expect(layout).toMatchObject({
      clusterSize,
      l2EntryBytes: 8,
      l2Entries,
      l2Coverage,
      subclusterSize: clusterSize,
      subclustersPerCluster: 1,
      compressedOffsetBits: offsetBits,
      refcountBits: 16,
      maxRefcount: 65_535,
      refcountBlockEntries: counts,
      refcountBlockCoverage: counts * clusterSize,
    })
  })

  test('positions around cluster boundaries', () => {
    // Beyond 32 and beyond 40 bits, where arithmetic of 32-bit integers would fail.
    for (const base of [0, 2 ** 32, 2 ** 44, 2 ** 52]) {
      const at = (inside: number) => guest(base + inside)
      expect([clusterStart(layout, at(0)), clusterEnd(layout, at(0))]).toEqual([base, base])
      expect([clusterStart(layout, at(1)), clusterEnd(layout, at(1))]).toEqual([base, base + clusterSize])
      expect(clusterStart(layout, at(clusterSize - 1))).toBe(base)
      expect(clusterStart(layout, at(clusterSize))).toBe(base + clusterSize)
      expect([at(0), at(1), at(clusterSize - 1), at(clusterSize)].map((o) => isClusterAligned(layout, o))).toEqual([
        true,
        false,
        false,
        true,
      ])
      expect(clusterIndex(layout, host(base + clusterSize - 1))).toBe(base / clusterSize)
    }
  })

  test('how many clusters and L1 entries it takes', () => {
    expect([0, 1, clusterSize, clusterSize + 1].map((bytes) => clustersFor(layout, bytes))).toEqual([0, 1, 1, 2])
    expect([0, 1, l2Coverage, l2Coverage + 1].map((bytes) => l1EntriesFor(layout, bytes))).toEqual([0, 1, 1, 2])
  })
})

describe('subclusters', () => {
  test.each([
    [14, 512, 1024, 16 * MiB],
    [16, 2 * KiB, 4096, 256 * MiB],
    [21, 64 * KiB, 131_072, 256 * GiB],
  ])('cluster_bits %i: 32 of them, and entries of 16 bytes', (bits, subclusterSize, l2Entries, l2Coverage) => {
    expect(createLayout(bits, 4, true)).toMatchObject({
      subclusterSize,
      subclustersPerCluster: 32,
      l2EntryBytes: 16,
      l2Entries,
      l2Coverage,
    })
  })
})

describe('widths of refcounts', () => {
  test.each([
    [0, 1, 4096, 1],
    [1, 2, 2048, 3],
    [2, 4, 1024, 15],
    [3, 8, 512, 255],
    [4, 16, 256, 65_535],
    [5, 32, 128, 4_294_967_295],
    [6, 64, 64, 9_007_199_254_740_991],
  ])('refcount_order %i: %i bits, %i in a block of 512 bytes, up to %i', (order, bits, entries, most) => {
    expect(createLayout(9, order, false)).toMatchObject({
      refcountBits: bits,
      refcountBlockEntries: entries,
      refcountBlockCoverage: entries * 512,
      maxRefcount: most,
    })
  })
})

describe('limits', () => {
  test('32 MiB of L1 table reach 128 GB in the smallest clusters, 61 bits in the largest', () => {
    const reach = (bits: number) => (MAX_L1_BYTES / ENTRY_BYTES) * createLayout(bits, 4, false).l2Coverage
    expect(reach(9)).toBe(128 * GiB)
    expect(Math.log2(reach(9))).toBe(37)
    expect(Math.log2(reach(21))).toBe(61)
  })

  test('8 MiB of refcount table reach 35 bits at worst, 61 bits with the largest clusters', () => {
    const reach = (bits: number, order: number) =>
      (MAX_REFCOUNT_TABLE_BYTES / ENTRY_BYTES) * createLayout(bits, order, false).refcountBlockCoverage
    expect(Math.log2(reach(9, 6))).toBe(35)
    expect(Math.log2(reach(21, 4))).toBe(61)
  })

  test('host offsets fit 56 bits, and a safe integer', () => {
    expect(MAX_HOST_OFFSET).toBeLessThanOrEqual(2 ** 56)
    expect(Number.isSafeInteger(MAX_HOST_OFFSET)).toBe(true)
  })
})
