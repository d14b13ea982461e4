// New refcount blocks and larger refcount tables, in the narrowest and the widest counts of the smallest clusters.

import { describe, expect, test } from 'vitest'
import { settleMetadata } from '../../../../../src/drivers/qcow2/metadata/flush.js'
import { beginWriting } from '../../../../../src/drivers/qcow2/metadata/writing.js'
import { allocateClusters } from '../../../../../src/drivers/qcow2/refcounts/allocator.js'
import { codeOf } from '../../../../support/code-of.js'
import { closeSound, filled, type OpenQcow2, openQcow2 } from '../../../../support/open-qcow2.js'
import type { ImageBytes } from '../../../../support/qcow2-bytes.js'
import { handMadeImage } from '../../../../support/qcow2-image.js'

const CLUSTER = 512

/** Takes runs of `count` clusters until `total` are taken; gives all of them. */
async function takeMany(disk: OpenQcow2, total: number, count: number): Promise<number[]> {
  const taken: number[] = []
  await disk.state.lock.runExclusive(async () => {
    await beginWriting(disk.state)
    while (taken.length < total) {
      const first = (await allocateClusters(disk.state, count * CLUSTER)) / CLUSTER
      for (let i = 0; i < count; i++) taken.push(first + i)
    }
    await settleMetadata(disk.state)
  })
  return taken
}

/** The clusters that the refcount table and its blocks stand in, by the bytes of the image. */
function structures(image: ImageBytes): { table: number[]; blocks: Map<number, number> } {
  const first = image.refcountTableAt / CLUSTER
  const table = Array.from({ length: image.get32(56) }, (_, index) => first + index)
  const blocks = new Map<number, number>()
  for (let index = 0; index < table.length * 64; index++) {
    const block = Number(image.get64(image.refcountTableAt + index * 8))
    if (block !== 0) blocks.set(index, block / CLUSTER)
  }
  return { table, blocks }
}

describe.each([
  ['64 bits', 6, 64],
  ['1 bit', 0, 4096],
])('counts of %s', (_name, refcountOrder, perBlock) => {
  test.each([1, 7])('runs of %i: every cluster taken once, structures counted', async (run) => {
    const disk = await openQcow2(handMadeImage({ refcountOrder }))
    const total = perBlock + 700
    const taken = await takeMany(disk, total, run)
    const { image } = disk
    const { table, blocks } = structures(image)
    expect(blocks.size).toBeGreaterThan(1)
    const all = [...taken, ...table, ...blocks.values(), 0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    expect(new Set(all).size).toBe(all.length)
    for (const cluster of all) expect(image.refcount(cluster)).toBe(1n)
    // Nothing else is counted.
    const most = Math.max(...all) + 1
    let counted = 0
    for (let cluster = 0; cluster < most; cluster++) if (image.refcount(cluster) === 1n) counted++
    expect(counted).toBe(all.length)
    await disk.close()
  })
})

describe('a new block', () => {
  test('stands among what it describes, and describes itself', async () => {
    const disk = await openQcow2(handMadeImage({ refcountOrder: 6 }))
    await takeMany(disk, 300, 1)
    const { image } = disk
    for (const [index, cluster] of structures(image).blocks) {
      expect(Math.floor(cluster / 64)).toBe(index)
      expect(image.refcount(cluster)).toBe(1n)
    }
    await disk.close()
  })

  test('that lies in what another one describes is counted there', async () => {
    const disk = await openQcow2(handMadeImage({ refcountOrder: 6 }))
    // A run over several blocks that are all missing: what it needs first is found behind it.
    const [first] = await takeMany(disk, 200, 200)
    const { image } = disk
    const { blocks } = structures(image)
    expect([...blocks].some(([index, cluster]) => Math.floor(cluster / 64) !== index)).toBe(true)
    for (const cluster of blocks.values()) expect(image.refcount(cluster)).toBe(1n)
    for (let i = 0; i < 200; i++) expect(image.refcount((first ?? 0) + i)).toBe(1n)
    await disk.close()
  })
})

describe('a larger table', () => {
  test('is contiguous, the header names it, and the old one is free', async () => {
    const disk = await openQcow2(handMadeImage({ refcountOrder: 6 }))
    // 64 blocks of 64 counts fill one cluster of table.
    const taken = await takeMany(disk, 4200, 60)
    const { image } = disk
    const clusters = image.get32(56)
    expect(clusters).toBeGreaterThan(1)
    expect(image.refcountTableAt % CLUSTER).toBe(0)
    // Cluster 1 held the old table: free, or taken since.
    expect(image.refcount(1)).toBe(taken.includes(1) ? 1n : 0n)
    const { blocks, table } = structures(image)
    expect(Math.max(...blocks.keys())).toBeGreaterThanOrEqual(64)
    for (const cluster of table) expect(image.refcount(cluster)).toBe(1n)
    // It leaves room for more blocks than there are.
    expect(clusters * 64).toBeGreaterThan(blocks.size)
    expect(disk.state.refcountTable.length).toBe(clusters * 64)
    await disk.close()
  })
})

describe('a lower write that fails with ENOSPC while structures grow', () => {
  test.each([
    ['1st: counts', 1, 0],
    ['2nd: the L2 table', 2, 0],
    // Nobody knows whether the disk names the new table now, so its cluster stays taken.
    ['3rd: the L1 entry', 3, 1],
    ['4th: counts', 4, 0],
    ['5th: the new block', 5, 0],
    ['6th: the entry of the refcount table', 6, 0],
    ['7th: data', 7, 0],
  ])('%s: reported, nothing lost, and the next try succeeds', async (_name, nth, leaks) => {
    const disk = await openQcow2(handMadeImage({ refcountOrder: 6, data: 50, size: 1024 * CLUSTER }))
    // Nine counts are left in the only block.
    const fault = disk.faults.add({ on: 'write', fail: 'ENOSPC', nth })
    const codes = [
      await codeOf(() => disk.write(100 * CLUSTER, 30 * CLUSTER, 0xaa)),
      await codeOf(() => disk.flush()),
      await codeOf(() => disk.write(100 * CLUSTER, 30 * CLUSTER, 0xab)),
      await codeOf(() => disk.flush()),
    ]
    expect(fault.hits).toBe(1)
    expect(codes.filter((code) => code !== undefined)).toEqual(['ENOSPC'])
    expect(await disk.read(100 * CLUSTER, 30 * CLUSTER)).toEqual(filled(30 * CLUSTER, 0xab))
    expect(await disk.read(49 * CLUSTER, CLUSTER)).toEqual(filled(CLUSTER, 50))
    expect(disk.state.allocations.count).toBe(0)
    await closeSound(disk, leaks)
  })
})
