// L2 entries by tables of bits, from the specification ("Standard Cluster Descriptor", "Compressed Clusters Descriptor",
// "Extended L2 Entries").

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  COMPRESSED,
  decodeCompressed,
  encodeCompressed,
  hasHostCluster,
  INVALID,
  NORMAL,
  standardKind,
  subclusterKind,
  UNALLOCATED,
  UNALLOCATED_HOST,
  ZERO_ALLOCATED,
  ZERO_PLAIN,
} from '../../../../../src/drivers/qcow2/format/l2-entry.js'
import { createLayout, host } from '../../../../../src/drivers/qcow2/format/layout.js'

const halves = (entry: bigint): [high: number, low: number] => [Number(entry >> 32n), Number(entry & 0xffff_ffffn)]

describe('a standard cluster', () => {
  test.each([
    ['nothing', 0n, UNALLOCATED],
    ['an offset, counted once', 0x8000_0000_0005_0000n, NORMAL],
    ['an offset, shared', 0x0000_0000_0005_0000n, NORMAL],
    ['an offset of 512', 0x8000_0000_0000_0200n, NORMAL],
    ['an offset beyond 4 GiB', 0x8000_0001_0000_0000n, NORMAL],
    ['zero', 0x0000_0000_0000_0001n, ZERO_PLAIN],
    ['zero, with a place', 0x8000_0000_0005_0001n, ZERO_ALLOCATED],
    ['zero, with a shared place', 0x0000_0000_0005_0001n, ZERO_ALLOCATED],
    ['bit 62', 0x4000_0000_0005_0123n, COMPRESSED],
    ['bit 63 alone: allowed with a data file only', 0x8000_0000_0000_0000n, UNALLOCATED],
    ['an offset beyond the cap of 2^53', 0x8080_0000_0000_0000n, INVALID],
  ])('%s', (_name, entry, kind) => {
    expect(standardKind(...halves(entry), false)).toBe(kind)
  })

  test.each([
    ['nothing', 0n, UNALLOCATED],
    ['offset 0 with bit 63: the first cluster of the data file', 0x8000_0000_0000_0000n, NORMAL],
    ['an offset', 0x8000_0000_0005_0000n, NORMAL],
    ['zero', 0x0000_0000_0000_0001n, ZERO_PLAIN],
    ['zero at offset 0 with bit 63', 0x8000_0000_0000_0001n, ZERO_ALLOCATED],
    ['bit 62: there are no compressed clusters', 0x4000_0000_0005_0000n, INVALID],
  ])('with an external data file: %s', (_name, entry, kind) => {
    expect(standardKind(...halves(entry), true)).toBe(kind)
  })
})

describe('a subcluster', () => {
  const HOST = 0x8000_0000_0005_0000n

  test.each([
    ['no place, no bits', 0n, 0, 0, UNALLOCATED],
    ['no place, reads as zeroes', 0n, 1, 0, ZERO_PLAIN],
    ['no place, yet allocated', 0n, 0, 1, INVALID],
    ['a place, no bits', HOST, 0, 0, UNALLOCATED_HOST],
    ['a place, allocated', HOST, 0, 1, NORMAL],
    ['a place, reads as zeroes', HOST, 1, 0, ZERO_ALLOCATED],
    ['allocated and zeroes at once', HOST, 1, 1, INVALID],
    ['compressed: its bits mean nothing', 0x4000_0000_0005_0000n, 1, 1, COMPRESSED],
  ])('%s', (_name, entry, zero, allocated, kind) => {
    for (const index of [0, 1, 15, 30, 31]) {
      const [zeroBits, allocatedBits] = [(zero << index) >>> 0, (allocated << index) >>> 0]
      expect(subclusterKind(...halves(entry), zeroBits, allocatedBits, index, false)).toBe(kind)
      // The bits of all others say nothing of this one.
      const [others, more] = [~(1 << index) >>> 0, ~(1 << index) >>> 0]
      expect(subclusterKind(...halves(entry), (zeroBits | others) >>> 0, allocatedBits, index, false)).toBe(kind)
      expect(subclusterKind(...halves(entry), zeroBits, (allocatedBits | more) >>> 0, index, false)).toBe(kind)
    }
  })

  test('bit x of the lower half is that of subcluster x, bit 32 + x that of its zeroes', () => {
    // The bitmap 0x0000_0002_8000_0001: subclusters 0 and 31 are allocated, 1 reads as zeroes.
    const [zeroBits, allocatedBits] = [0x0000_0002, 0x8000_0001]
    const kinds = [0, 1, 2, 31].map((index) => subclusterKind(...halves(HOST), zeroBits, allocatedBits, index, false))
    expect(kinds).toEqual([NORMAL, ZERO_ALLOCATED, UNALLOCATED_HOST, NORMAL])
  })

  test('bit 0 of the descriptor is no zero flag here', () => {
    expect(subclusterKind(...halves(HOST | 1n), 0, 1, 0, false)).toBe(NORMAL)
  })

  test('with an external data file, bit 63 makes offset 0 a place', () => {
    expect(subclusterKind(0x8000_0000, 0, 0, 1, 0, true)).toBe(NORMAL)
    expect(subclusterKind(0, 0, 0, 1, 0, true)).toBe(INVALID)
    expect(subclusterKind(0x4000_0000, 0, 0, 0, 0, true)).toBe(INVALID)
  })
})

test('kinds with a host cluster of their own', () => {
  const kinds = [UNALLOCATED, ZERO_PLAIN, ZERO_ALLOCATED, NORMAL, COMPRESSED, UNALLOCATED_HOST, INVALID] as const
  expect(kinds.filter((kind) => hasHostCluster(kind))).toEqual([ZERO_ALLOCATED, NORMAL, UNALLOCATED_HOST])
})

describe('a compressed cluster', () => {
  const layoutOf = (bits: number) => createLayout(bits, 4, false)

  test.each([
    // x = 54: sectors from bit 54 on.
    ['64 KiB clusters, one sector', 16, 0x4000_0000_0005_0000n, 0x5_0000, 512],
    ['64 KiB clusters, one sector and two more', 16, 0x4080_0000_0005_0000n, 0x5_0000, 1536],
    ['from the middle of a sector', 16, 0x4040_0000_0005_0123n, 0x5_0123, 1024 - 0x123],
    ['from the last byte of a sector', 16, 0x4000_0000_0005_01ffn, 0x5_01ff, 1],
    ['all 8 bits of its sectors', 16, 0x7fc0_0000_0005_0000n, 0x5_0000, 256 * 512],
    ['beyond 4 GiB', 16, 0x4000_0012_3456_7801n, 0x12_3456_7801, 511],
    // x = 61: a single bit for the sectors.
    ['512-byte clusters, one sector', 9, 0x4000_0000_0000_0a00n, 0xa00, 512],
    ['512-byte clusters, two sectors', 9, 0x6000_0000_0000_0a10n, 0xa10, 1024 - 0x10],
    // x = 49: 13 bits for the sectors.
    ['2 MiB clusters, all 13 bits of its sectors', 21, 0x7ffe_0000_0020_0000n, 0x20_0000, 8192 * 512],
    ['2 MiB clusters, the last offset of 49 bits', 21, 0x4001_ffff_ffff_fe00n, 2 ** 49 - 512, 512],
  ])('%s', (_name, bits, entry, offset, bytes) => {
    expect(decodeCompressed(layoutOf(bits), ...halves(entry))).toEqual({ offset, bytes })
    const { high, low } = encodeCompressed(layoutOf(bits), host(offset), bytes)
    expect((BigInt(high) << 32n) | BigInt(low)).toBe(entry)
  })

  test('an offset beyond the cap is none', () => {
    // x = 61, but no offset of an image has more than 56 bits, and none here more than 53.
    expect(decodeCompressed(layoutOf(9), ...halves(0x4020_0000_0000_0000n))).toBeUndefined()
    expect(decodeCompressed(layoutOf(9), ...halves(0x5000_0000_0000_0000n))).toBeUndefined()
  })

  test('a descriptor covers its data to the end of the last sector, and not a sector more', () => {
    const arbitrary = fc.tuple(fc.integer({ min: 9, max: 21 }), fc.nat(2 ** 31 - 1), fc.nat(2 ** 31 - 1))
    fc.assert(
      fc.property(arbitrary, ([bits, at, length]) => {
        const layout = layoutOf(bits)
        const bytes = 1 + (length % (layout.clusterSize - 1))
        const { high, low } = encodeCompressed(layout, host(at), bytes)
        const range = decodeCompressed(layout, high, low)
        const end = Math.ceil((at + bytes) / 512) * 512
        expect(range).toEqual({ offset: at, bytes: end - at })
      }),
    )
  })
})
