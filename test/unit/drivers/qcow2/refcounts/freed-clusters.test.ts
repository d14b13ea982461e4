// Free clusters that tables on disk may still name: nothing is written there, and nothing discarded, before they no longer do.

import { describe, expect, test } from 'vitest'
import { FreedClusters } from '../../../../../src/drivers/qcow2/refcounts/freed-clusters.js'
import { type FileRequest, type OpenQcow2, openQcow2 } from '../../../../support/open-qcow2.js'
import { handMadeImage } from '../../../../support/qcow2-image.js'

describe('the set of freed clusters', () => {
  test('knows them until all is stable, and gives back runs to be discarded', () => {
    const freed = new FreedClusters()
    for (const [cluster, discarded] of [
      [7, true],
      [5, true],
      [6, true],
      [9, true],
      [8, false],
    ] as const)
      freed.add(cluster, discarded)
    expect([freed.has(4, 1), freed.has(4, 2), freed.has(9, 1), freed.has(10, 5)]).toEqual([false, true, true, false])
    expect(freed.hasDiscards).toBe(true)
    expect(freed.settle()).toEqual([
      { cluster: 5, count: 3 },
      { cluster: 9, count: 1 },
    ])
    expect([freed.has(0, 100), freed.hasDiscards, freed.settle()]).toEqual([false, false, []])
  })

  test('without discards asks for none', () => {
    const freed = new FreedClusters()
    freed.add(5, false)
    expect([freed.has(5, 1), freed.hasDiscards, freed.settle()]).toEqual([true, false, []])
  })
})

/** Where the first request stands that does `op` to the cluster at `offset`. */
function indexOf(requests: readonly FileRequest[], op: FileRequest['op'], offset: number): number {
  return requests.findIndex((request) => request.op === op && request.offset === offset)
}

const L2 = 4 * 512
/** The host cluster of guest cluster 3. */
const FREED = 8 * 512

async function discarded(options: Record<string, unknown>): Promise<OpenQcow2> {
  const disk = await openQcow2(handMadeImage(), { options })
  await disk.rig.backend.discard(3 * 512, 512)
  return disk
}

describe('a cluster that a discard has freed', () => {
  test('is written to again only after the table that named it is stable', async () => {
    const disk = await discarded({ 'pass-discard-request': false })
    expect(disk.requests.some(({ op }) => op === 'write')).toBe(false)
    await disk.write(20 * 512, 512, 0x77)
    const written = indexOf(disk.requests, 'write', FREED)
    const table = indexOf(disk.requests, 'write', L2)
    const flush = disk.requests.findIndex(({ op }, index) => op === 'flush' && index > table)
    expect(table).toBeGreaterThanOrEqual(0)
    expect(flush).toBeGreaterThan(table)
    expect(written).toBeGreaterThan(flush)
    await disk.close()
  })

  test('is discarded in the file after the table that named it is stable', async () => {
    const disk = await discarded({})
    await disk.flush()
    const table = indexOf(disk.requests, 'write', L2)
    const flush = disk.requests.findIndex(({ op }, index) => op === 'flush' && index > table)
    const gone = indexOf(disk.requests, 'discard', FREED)
    expect(table).toBeGreaterThanOrEqual(0)
    expect(flush).toBeGreaterThan(table)
    expect(gone).toBeGreaterThan(flush)
    await disk.close()
  })

  test('is left alone in the file where discards are not passed on', async () => {
    const disk = await discarded({ 'pass-discard-request': false })
    await disk.flush()
    expect(disk.taken('discard')).toEqual([])
    expect(disk.image.refcount(8)).toBe(0n)
    await disk.close()
  })

  test('a discard that the file refuses is passed over', async () => {
    const disk = await discarded({})
    const fault = disk.faults.add({ on: 'discard', fail: 'EIO' })
    await disk.flush()
    expect(fault.hits).toBe(1)
    expect(disk.image.refcount(8)).toBe(0n)
    await disk.close()
  })
})
