// The check of images with one fault each: what it counts, what it says, and what a repair leaves. Numbers and words are those
// of qemu-img 7.2 for the same bytes.

import { expect, test } from 'vitest'
import { BDRV_FIX_ERRORS, BDRV_FIX_LEAKS, type BdrvCheckResult } from '../../../../../src/common/block-info.js'
import { firstDifference } from '../../../../../src/testing/crash/compare-bytes.js'
import { codeOf } from '../../../../support/code-of.js'
import { COMPRESSED, COPIED, type ImageBytes } from '../../../../support/qcow2-bytes.js'
import { runCheck } from '../../../../support/qcow2-check.js'
import { type HandMadeOptions, handMadeImage } from '../../../../support/qcow2-image.js'

const ALL = BDRV_FIX_LEAKS | BDRV_FIX_ERRORS

interface FaultCase {
  title: string
  options?: HandMadeOptions
  damage(image: ImageBytes): void
  found: Partial<BdrvCheckResult>
  says: string[]
  /** What is left after a repair of everything; nothing by default. */
  left?: Partial<BdrvCheckResult>
}

const ALIGNED = { clusterBits: 10 }

const FAULTS: FaultCase[] = [
  {
    title: 'a refcount too high',
    damage: (image) => image.setRefcount(8, 2n),
    found: { leaks: 1, corruptions: 1 },
    says: [
      'Leaked cluster 8 refcount=2 reference=1',
      'ERROR OFLAG_COPIED data cluster: l2_entry=8000000000001000 refcount=2',
    ],
  },
  {
    title: 'a refcount of 0',
    damage: (image) => image.setRefcount(8, 0n),
    found: { corruptions: 2 },
    says: [
      'ERROR cluster 8 refcount=0 reference=1',
      'ERROR OFLAG_COPIED data cluster: l2_entry=8000000000001000 refcount=0',
    ],
  },
  {
    title: 'a refcount too low',
    damage: (image) => image.setEntry(0, image.entry(1)),
    found: { corruptions: 1, leaks: 1 },
    says: ['Leaked cluster 5 refcount=1 reference=0', 'ERROR cluster 6 refcount=1 reference=2'],
  },
  {
    title: 'a copied flag that is missing',
    damage: (image) => image.setEntry(0, image.entry(0) & ~COPIED),
    found: { corruptions: 1 },
    says: ['ERROR OFLAG_COPIED data cluster: l2_entry=a00 refcount=1'],
  },
  {
    title: 'a copied flag that is missing in the L1 table',
    damage: (image) => image.put64(image.l1At, image.get64(image.l1At) & ~COPIED),
    found: { corruptions: 1 },
    says: ['ERROR OFLAG_COPIED L2 cluster: l1_index=0 l1_entry=800 refcount=1'],
  },
  {
    title: 'reserved bits in an L2 entry',
    damage: (image) => image.setEntry(0, image.entry(0) | 0x100n),
    found: { corruptions: 1 },
    says: ['ERROR found l2 entry with reserved bits set: 8000000000000b00'],
    left: { corruptions: 1 },
  },
  {
    title: 'reserved bits in an L1 entry',
    damage: (image) => image.put64(image.l1At, image.get64(image.l1At) | (1n << 60n)),
    found: { corruptions: 1 },
    says: ['ERROR found L1 entry with reserved bits set: 9000000000000800'],
    left: { corruptions: 1 },
  },
  {
    title: 'data behind the end of the file',
    damage: (image) => image.setEntry(0, COPIED | 0x100000n),
    found: { corruptions: 2, leaks: 1 },
    says: [
      'ERROR: counting reference for region exceeding the end of the file by one cluster or more: offset 0x100000 size 0x200',
      'Leaked cluster 5 refcount=1 reference=0',
      'ERROR OFLAG_COPIED data cluster: l2_entry=8000000000100000 refcount=0',
    ],
    left: { corruptions: 1 },
  },
  {
    title: 'data between clusters',
    options: ALIGNED,
    damage: (image) => image.setEntry(0, image.entry(0) + 512n),
    found: { corruptions: 2 },
    says: [
      'ERROR offset=1600: Data cluster is not properly aligned; L2 entry corrupted.',
      'ERROR cluster 6 refcount=1 reference=2',
    ],
    left: { corruptions: 1 },
  },
  {
    title: 'preallocated zeroes between clusters, which a repair drops',
    options: ALIGNED,
    damage: (image) => image.setEntry(0, image.entry(0) + 513n),
    found: { corruptions: 2 },
    says: [
      'ERROR offset=1600: Preallocated cluster is not properly aligned; L2 entry corrupted.',
      'ERROR cluster 6 refcount=1 reference=2',
    ],
  },
  {
    title: 'an L2 table between clusters',
    options: ALIGNED,
    damage: (image) => {
      image.bytes.fill(0, image.l2At() + 512, image.l2At() + 1536)
      image.put64(image.l1At, image.get64(image.l1At) + 512n)
    },
    found: { corruptions: 1, leaks: 7 },
    says: [
      'ERROR l2_offset=1200: Table is not cluster aligned; L1 entry corrupted',
      ...[6, 7, 8, 9, 10, 11, 12].map((cluster) => `Leaked cluster ${cluster} refcount=1 reference=0`),
    ],
    left: { corruptions: 1 },
  },
  {
    title: 'a compressed cluster with the copied flag',
    damage: (image) => image.setEntry(0, COPIED | COMPRESSED | 0xa00n),
    found: { corruptions: 1 },
    says: ['ERROR: coffset=0xa00: copied flag must never be set for compressed clusters'],
    left: { corruptions: 1 },
  },
  {
    title: 'a compressed cluster far away',
    damage: (image) => image.setEntry(0, COMPRESSED | (1n << 58n) | 3n),
    found: { corruptions: 1, leaks: 1 },
    says: [
      'ERROR: counting reference for region exceeding the end of the file by one cluster or more: offset 0x400000000000003 size 0x1fd',
      'Leaked cluster 5 refcount=1 reference=0',
    ],
    left: { corruptions: 1 },
  },
  {
    title: 'a count beyond its width',
    options: { refcountOrder: 0 },
    damage: (image) => image.setEntry(0, image.entry(1)),
    found: { corruptions: 1, leaks: 1 },
    says: [
      'ERROR: overflow cluster offset=0xc00',
      'Use blockgraph-img amend to increase the refcount entry width or blockgraph-img convert to create a clean copy if the image cannot be opened for writing',
      'Leaked cluster 5 refcount=1 reference=0',
    ],
    left: { corruptions: 1 },
  },
  {
    title: 'a 64-bit refcount in full',
    options: { refcountOrder: 6 },
    damage: (image) => image.setRefcount(5, (1n << 64n) - 1n),
    found: { corruptions: 1, leaks: 1 },
    says: [
      'Leaked cluster 5 refcount=18446744073709551615 reference=1',
      'ERROR OFLAG_COPIED data cluster: l2_entry=8000000000000a00 refcount=18446744073709551615',
    ],
  },
  {
    title: 'a subcluster both allocated and zero',
    options: { clusterBits: 14, extendedL2: true, data: 1 },
    damage: (image) => image.put64(image.entryAt(0) + 8, (1n << 32n) | 0xffff_ffffn),
    found: { corruptions: 1 },
    says: ['ERROR offset=14000: Allocated cluster has corrupted subcluster allocation bitmap'],
    left: { corruptions: 1 },
  },
  {
    title: 'allocated subclusters without a cluster',
    options: { clusterBits: 14, extendedL2: true, data: 1 },
    damage: (image) => image.setEntry(0, 0n),
    found: { corruptions: 1, leaks: 1 },
    says: [
      'ERROR: Unallocated cluster has non-zero subcluster allocation map',
      'Leaked cluster 5 refcount=1 reference=0',
    ],
    left: { corruptions: 1 },
  },
  {
    title: 'a compressed cluster with a bitmap',
    options: { clusterBits: 14, extendedL2: true, data: 1 },
    damage: (image) => image.setEntry(0, COMPRESSED | 0x14000n),
    found: { corruptions: 1, leaks: 1 },
    says: [
      'ERROR compressed cluster 0 with non-zero subcluster allocation bitmap, entry=0x4000000000014000',
      'Leaked cluster 5 refcount=1 reference=0',
    ],
    // Somebody still names it: it is not freed.
    left: { corruptions: 1, leaks: 1 },
  },
]

test.each(FAULTS)('$title', async ({ options, damage, found, says, left = {} }) => {
  const image = handMadeImage(options)
  damage(image)
  const { result, lines, after } = await runCheck(image)
  expect(firstDifference(after.bytes, image.bytes)).toBeUndefined()
  expect(result).toMatchObject({ corruptions: 0, leaks: 0, checkErrors: 0, ...found })
  expect(lines).toEqual(says)
  const repaired = await runCheck(image, ALL)
  const again = await runCheck(repaired.after)
  expect(again.result).toMatchObject({ corruptions: 0, leaks: 0, checkErrors: 0, ...left })
})

test('a repair of leaks alone refuses what needs a new structure', async () => {
  const image = handMadeImage()
  image.setRefcount(8, 0n)
  expect(await codeOf(() => runCheck(image, BDRV_FIX_LEAKS))).toBe('EIO')
})

test('a repair of leaks leaves errors', async () => {
  const image = handMadeImage()
  image.setEntry(0, image.entry(1))
  const { result, after } = await runCheck(image, BDRV_FIX_LEAKS)
  expect(result).toMatchObject({ leaksFixed: 1, leaks: 0, corruptions: 1, corruptionsFixed: 0 })
  expect(after.refcount(5)).toBe(0n)
  expect(after.refcount(6)).toBe(1n)
})

test('the file below is told of clusters that a repair frees, unless the image stays damaged', async () => {
  const image = handMadeImage({ clusterBits: 16, data: 2 })
  const { clusterSize } = image
  image.setEntry(1, 0n)
  const lastByte = async () => (await runCheck(image, BDRV_FIX_LEAKS)).after.bytes[7 * clusterSize - 1]
  expect(await lastByte()).toBe(0)
  image.setEntry(0, image.entry(0) | 2n)
  expect(await lastByte()).toBe(2)
})

test('what a damaged entry may still name is neither freed nor taken', async () => {
  const image = handMadeImage()
  // The L1 table is said to be so long that it ends behind the file: it is not counted, and must not be overwritten.
  image.put32(36, 2 ** 20)
  image.setRefcount(8, 0n)
  const { result, after } = await runCheck(image, ALL)
  expect(result.corruptions).toBeGreaterThan(0)
  expect(after.bytes.subarray(3 * 512, 4 * 512)).toEqual(image.bytes.subarray(3 * 512, 4 * 512))
  expect(after.refcount(3)).toBe(1n)
})

test('a repair never writes over structures that an entry takes for a table', async () => {
  const image = handMadeImage()
  image.put64(image.l1At, COPIED | BigInt(image.l1At))
  const { after } = await runCheck(image, ALL)
  expect(after.bytes.subarray(0, 112)).toEqual(image.bytes.subarray(0, 112))
})

test('dirty and corrupt bits go with the damage, and stay with it', async () => {
  const image = handMadeImage()
  image.put64(72, 3)
  expect((await runCheck(image, ALL)).after.get64(72)).toBe(0n)
  expect((await runCheck(image, BDRV_FIX_LEAKS)).after.get64(72)).toBe(0n)
  image.setEntry(0, image.entry(0) | 2n)
  expect((await runCheck(image, ALL)).after.get64(72)).toBe(3n)
})

test('fragmentation is told of the active tables, each on its own', async () => {
  const image = handMadeImage({ data: 6 })
  const [first, second] = [image.entry(0), image.entry(1)]
  image.setEntry(0, second)
  image.setEntry(1, first)
  image.setEntry(9, COMPRESSED | (image.entry(5) & ~COPIED))
  image.setEntry(5, 0n)
  const { result } = await runCheck(image)
  expect(result.fragmentation).toEqual({
    allocatedClusters: 6,
    totalClusters: 1024,
    fragmentedClusters: 3,
    compressedClusters: 1,
  })
  expect(result.imageEndOffset).toBe(11 * 512)
})

test('a file cut inside its last cluster is whole; one cut by a cluster is not', async () => {
  const image = handMadeImage()
  image.resize(image.bytes.byteLength - 100)
  expect((await runCheck(image)).lines).toEqual([])
  image.resize(image.bytes.byteLength - 412)
  expect((await runCheck(image)).result.corruptions).toBe(1)
})
