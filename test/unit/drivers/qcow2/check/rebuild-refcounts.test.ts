// Refcount structures beyond repair in place: a new one is built from a full count.

import { expect, test } from 'vitest'
import { BDRV_FIX_ERRORS, BDRV_FIX_LEAKS, type BdrvCheckResult } from '../../../../../src/common/block-info.js'
import { firstDifference } from '../../../../../src/testing/crash/compare-bytes.js'
import type { ImageBytes } from '../../../../support/qcow2-bytes.js'
import { runCheck } from '../../../../support/qcow2-check.js'
import { type HandMadeOptions, handMadeImage } from '../../../../support/qcow2-image.js'

const ALL = BDRV_FIX_LEAKS | BDRV_FIX_ERRORS
const ALIGNED = { clusterBits: 10 }

interface BrokenCase {
  title: string
  options?: HandMadeOptions
  damage(image: ImageBytes): void
  found: Partial<BdrvCheckResult>
  /** The first lines of what is said. */
  says: string[]
}

const BROKEN_STRUCTURES: BrokenCase[] = [
  {
    title: 'no refcount block',
    damage: (image) => image.put64(image.refcountTableAt, 0),
    found: { corruptions: 21 },
    says: [],
  },
  {
    title: 'a refcount block behind the end',
    damage: (image) => image.put64(image.refcountTableAt, 0x100000),
    found: { corruptions: 22 },
    says: ['ERROR refcount block 0 is outside image'],
  },
  {
    title: 'a refcount block at no offset of a file',
    damage: (image) => image.put64(image.refcountTableAt, 1n << 63n),
    found: { corruptions: 1, checkErrors: 13 },
    says: ['ERROR refcount block 0 is outside image', "Can't get refcount for cluster 0: Input/output error"],
  },
  {
    title: 'a refcount block between clusters',
    options: ALIGNED,
    damage: (image) => image.put64(image.refcountTableAt, image.get64(image.refcountTableAt) + 512n),
    found: { corruptions: 1, checkErrors: 13 },
    says: [
      'ERROR refcount block 0 is not cluster aligned; refcount table entry corrupted',
      'qcow2: Image is corrupt: Refblock offset 0xa00 unaligned (reftable index: 0); further non-fatal corruption events will be suppressed',
    ],
  },
  {
    title: 'reserved bits in a refcount table entry',
    damage: (image) => image.put64(image.refcountTableAt, image.get64(image.refcountTableAt) | 1n),
    found: { corruptions: 1, leaks: 1 },
    says: ['ERROR refcount table entry 0 has reserved bits set', 'Leaked cluster 2 refcount=1 reference=0'],
  },
  {
    title: 'two entries for one refcount block',
    damage: (image) => image.put64(image.refcountTableAt + 8, image.get64(image.refcountTableAt)),
    found: { corruptions: 2 },
    says: ['ERROR refcount block 1 refcount=2', 'ERROR cluster 2 refcount=1 reference=2'],
  },
  {
    title: 'a refcount block on the L1 table',
    damage: (image) => image.put64(image.refcountTableAt, image.l1At),
    found: { corruptions: 20, leaks: 2 },
    says: ['ERROR refcount block 0 refcount=2', 'Leaked cluster 0 refcount=32768 reference=1'],
  },
  {
    title: 'no refcount table',
    damage: (image) => image.put32(56, 0),
    found: { corruptions: 20 },
    says: ['ERROR cluster 0 refcount=0 reference=1'],
  },
]

test.each(BROKEN_STRUCTURES)('$title: built anew', async ({ options, damage, found, says }) => {
  const sound = handMadeImage(options)
  const image = sound.copy()
  damage(image)
  const { result, lines } = await runCheck(image)
  expect(result).toMatchObject(found)
  expect(lines.slice(0, says.length)).toEqual(says)
  const { lines: told, after } = await runCheck(image, ALL)
  expect(told).toContain('Rebuilding refcount structure')
  const again = await runCheck(after)
  expect(again.lines).toEqual([])
  // Nothing that lives was taken for it.
  const live = sound.clusterSize * 3
  expect(
    firstDifference(after.bytes.subarray(live, sound.bytes.byteLength), sound.bytes.subarray(live)),
  ).toBeUndefined()
})

test('a structure of many blocks, and a table of more than a cluster, describe themselves', async () => {
  // 64-bit counts in clusters of 512 bytes: a block for each 64 clusters, a table cluster for each 64 blocks.
  const image = handMadeImage({ refcountOrder: 6, data: 50 })
  const far = 64 * 70 * 512
  image.resize(far + 512)
  image.setEntry(0, (1n << 63n) | BigInt(far))
  image.put64(image.refcountTableAt, 0)
  const { after } = await runCheck(image, ALL)
  expect((await runCheck(after)).lines).toEqual([])
  expect(after.get32(56)).toBe(2)
  expect(after.refcount(far / 512)).toBe(1n)
})

test('what is said to lie behind the end of the file is not built upon', async () => {
  const image = handMadeImage()
  // Header and refcount table are left: the L1 table is behind the end, where the new structure would go.
  image.resize(1024)
  const { after } = await runCheck(image, ALL)
  const again = await runCheck(after)
  expect(again.lines).toEqual([])
  expect(again.result.imageEndOffset).toBeLessThan(16 * 512)
})

test('a snapshot whose L1 table is said to have 32 GiB does not make the file that long', async () => {
  const image = handMadeImage()
  const table = image.addCluster()
  image.put64(table, image.l1At)
  image.put32(table + 8, 0xffff_ffff)
  image.put32(table + 36, 24)
  image.put32(60, 1)
  image.put64(64, table)
  image.setRefcount(6, 0n)
  const { after } = await runCheck(image, ALL)
  expect(after.bytes.byteLength).toBeLessThan(2 ** 26)
  expect((await runCheck(after)).result.leaks).toBe(0)
})
