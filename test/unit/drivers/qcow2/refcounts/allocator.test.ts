// Which clusters are taken, and what freeing them does: the first that are free, from a hint that moves back to what is freed.

import { describe, expect, test } from 'vitest'
import { type HostOffset, host, MAX_HOST_OFFSET } from '../../../../../src/drivers/qcow2/format/layout.js'
import { settleMetadata } from '../../../../../src/drivers/qcow2/metadata/flush.js'
import { beginWriting } from '../../../../../src/drivers/qcow2/metadata/writing.js'
import {
  allocateBytes,
  allocateClusters,
  allocateClustersAt,
  allocateNow,
  freeClusters,
} from '../../../../../src/drivers/qcow2/refcounts/allocator.js'
import { refcountOf } from '../../../../../src/drivers/qcow2/refcounts/refcounts.js'
import { codeOf } from '../../../../support/code-of.js'
import { type OpenQcow2, openQcow2 } from '../../../../support/open-qcow2.js'
import type { ImageBytes } from '../../../../support/qcow2-bytes.js'
import { handMadeImage } from '../../../../support/qcow2-image.js'

const CLUSTER = 512
/** Header, refcount table, block, L1, L2, and 8 of data. */
const USED = 13

/** An image of 13 clusters of which some are free. */
function withHoles(...clusters: number[]): ImageBytes {
  const image = handMadeImage()
  for (const cluster of clusters) {
    image.setRefcount(cluster, 0n)
    image.setEntry(cluster - 5, 0n)
  }
  return image
}

/** Runs `act` as whoever changes metadata does. */
async function locked<T>(disk: OpenQcow2, act: () => T | Promise<T>): Promise<T> {
  return disk.state.lock.runExclusive(async () => {
    await beginWriting(disk.state)
    return act()
  })
}

/** Takes `count` clusters in a row; the first. */
async function take(disk: OpenQcow2, count = 1): Promise<number> {
  return locked(disk, async () => (await allocateClusters(disk.state, count * CLUSTER)) / CLUSTER)
}

async function free(disk: OpenQcow2, cluster: number, count = 1): Promise<void> {
  await locked(disk, () => freeClusters(disk.state, at(cluster), count * CLUSTER, 'other'))
}

const at = (cluster: number): HostOffset => host(cluster * CLUSTER)

describe('clusters', () => {
  test('are taken behind what is in use, one after the other, and counted once', async () => {
    const disk = await openQcow2(handMadeImage())
    expect([await take(disk), await take(disk, 3), await take(disk)]).toEqual([USED, USED + 1, USED + 4])
    for (let cluster = USED; cluster < USED + 5; cluster++) expect(await refcountOf(disk.state, cluster)).toBe(1)
    expect(await refcountOf(disk.state, USED + 5)).toBe(0)
    await disk.close()
  })

  test('fill the first hole first', async () => {
    const disk = await openQcow2(withHoles(7, 10))
    expect([await take(disk), await take(disk), await take(disk)]).toEqual([7, 10, USED])
    await disk.close()
  })

  test('in a row need a hole that is long enough; shorter ones before it are passed over', async () => {
    const disk = await openQcow2(withHoles(6, 8, 9))
    expect(await take(disk, 2)).toBe(8)
    // The hint stands behind them: the hole at 6 stays until something before it is freed.
    expect([disk.state.freeClusterIndex, await take(disk)]).toEqual([10, USED])
    await disk.close()
  })

  test('a hole at the end of what is in use goes on behind it', async () => {
    const disk = await openQcow2(withHoles(11, 12))
    expect(await take(disk, 4)).toBe(11)
    await disk.close()
  })

  test('count bytes up to whole clusters', async () => {
    const disk = await openQcow2(handMadeImage())
    await locked(disk, () => allocateClusters(disk.state, CLUSTER + 1))
    expect(await take(disk)).toBe(USED + 2)
    await disk.close()
  })
})

describe('clusters that are freed', () => {
  test('move the hint back, and are taken next', async () => {
    const disk = await openQcow2(handMadeImage())
    await take(disk, 10)
    await free(disk, USED + 3, 2)
    expect(disk.state.freeClusterIndex).toBe(USED + 3)
    expect([await take(disk), await take(disk), await take(disk)]).toEqual([USED + 3, USED + 4, USED + 10])
    await disk.close()
  })

  test('behind the hint leave it where it is', async () => {
    const disk = await openQcow2(withHoles(6))
    const taken = await locked(disk, () => allocateClustersAt(disk.state, at(USED), 5))
    expect([taken, disk.state.freeClusterIndex]).toEqual([5, 0])
    await free(disk, USED + 4)
    expect(disk.state.freeClusterIndex).toBe(0)
    expect(await take(disk)).toBe(6)
    await disk.close()
  })

  test('with a count above 1 are nobody else’s until the last reference is gone', async () => {
    const image = handMadeImage()
    image.setRefcount(8, 2n)
    const disk = await openQcow2(image)
    await free(disk, 8)
    expect(await take(disk)).toBe(USED)
    await free(disk, 8)
    await locked(disk, () => settleMetadata(disk.state))
    expect(await refcountOf(disk.state, 8)).toBe(0)
    expect(await take(disk)).toBe(8)
    await disk.close()
  })

  test('whose decrement is put off have their count lowered when tables are written', async () => {
    const image = handMadeImage()
    image.setRefcount(8, 3n)
    const disk = await openQcow2(image)
    await free(disk, 8)
    expect([disk.image.refcount(8), await refcountOf(disk.state, 8)]).toEqual([3n, 3])
    await disk.flush()
    expect(disk.image.refcount(8)).toBe(2n)
    await disk.close()
  })

  test('that were free already are refused, and nothing changes', async () => {
    const disk = await openQcow2(withHoles(7))
    expect(await codeOf(() => free(disk, 7))).toBe('EINVAL')
    expect(await codeOf(() => free(disk, 6, 2))).toBe('EINVAL')
    expect(await refcountOf(disk.state, 7)).toBe(0)
    await disk.close()
  })
})

describe('clusters at a place of choice', () => {
  test('are as many as are free there in a row', async () => {
    const disk = await openQcow2(withHoles(9, 10))
    const takeAt = (cluster: number, count: number) =>
      locked(disk, () => allocateClustersAt(disk.state, at(cluster), count))
    expect([await takeAt(8, 3), await takeAt(9, 5), await takeAt(9, 5)]).toEqual([0, 2, 0])
    expect([await takeAt(USED, 4), await takeAt(USED + 2, 4), await takeAt(USED + 4, 4)]).toEqual([4, 0, 4])
    await disk.close()
  })
})

describe('clusters without waiting', () => {
  test('are taken where the counts are in memory, and the hint moves on', async () => {
    const disk = await openQcow2(handMadeImage())
    await take(disk)
    expect(allocateNow(disk.state, 2)).toBe(at(USED + 1))
    expect(allocateNow(disk.state, 1)).toBe(at(USED + 3))
    await disk.close()
  })

  test('are not taken where a count has to be read, a block made, or what was freed made stable', async () => {
    const disk = await openQcow2(handMadeImage({ refcountOrder: 6, data: 50 }))
    expect([allocateNow(disk.state, 1), disk.state.freeClusterIndex]).toEqual([undefined, 0])
    await take(disk)
    // 64 counts a block: the ninth from here has none.
    expect([allocateNow(disk.state, 9), disk.state.freeClusterIndex]).toEqual([undefined, 56])
    expect(allocateNow(disk.state, 8)).toBe(at(56))
    await free(disk, 57)
    expect([allocateNow(disk.state, 1), disk.state.freeClusterIndex]).toEqual([undefined, 57])
    await disk.flush()
    await disk.close()
  })
})

describe('bytes for compressed clusters', () => {
  const bytes = (disk: OpenQcow2, count: number) => locked(disk, () => allocateBytes(disk.state, count))

  test('share a cluster, whose count is the number of those in it', async () => {
    const disk = await openQcow2(handMadeImage())
    const places = [await bytes(disk, 100), await bytes(disk, 200), await bytes(disk, 50)]
    expect(places).toEqual([at(USED), at(USED) + 100, at(USED) + 300])
    expect(await refcountOf(disk.state, USED)).toBe(3)
    await disk.close()
  })

  test('reach into the next cluster where that is free', async () => {
    const disk = await openQcow2(handMadeImage())
    expect([await bytes(disk, 400), await bytes(disk, 300)]).toEqual([at(USED), at(USED) + 400])
    expect([await refcountOf(disk.state, USED), await refcountOf(disk.state, USED + 1)]).toEqual([2, 1])
    await disk.close()
  })

  test('begin anew where the next cluster is not free', async () => {
    const disk = await openQcow2(withHoles(7))
    expect([await bytes(disk, 400), await bytes(disk, 300)]).toEqual([at(7), at(USED)])
    expect([await refcountOf(disk.state, 7), await refcountOf(disk.state, USED)]).toEqual([1, 1])
    await disk.close()
  })

  test('that end with a cluster let the next ones begin in a new one', async () => {
    const disk = await openQcow2(handMadeImage())
    expect([await bytes(disk, 512), await bytes(disk, 10)]).toEqual([at(USED), at(USED + 1)])
    await disk.close()
  })

  test('never share where a count has one bit', async () => {
    const disk = await openQcow2(handMadeImage({ refcountOrder: 0 }))
    expect([await bytes(disk, 10), await bytes(disk, 10), await bytes(disk, 10)]).toEqual([
      at(USED),
      at(USED + 1),
      at(USED + 2),
    ])
    expect(await refcountOf(disk.state, USED)).toBe(1)
    await disk.close()
  })

  test('share as long as the count fits its width', async () => {
    const disk = await openQcow2(handMadeImage({ refcountOrder: 1 }))
    const places: number[] = []
    for (let i = 0; i < 5; i++) places.push((await bytes(disk, 10)) / CLUSTER)
    expect(places.map(Math.floor)).toEqual([USED, USED, USED, USED + 1, USED + 1])
    expect(await refcountOf(disk.state, USED)).toBe(3)
    await disk.close()
  })

  test('do not go on in a cluster that was freed meanwhile', async () => {
    const disk = await openQcow2(handMadeImage())
    expect(await bytes(disk, 10)).toBe(at(USED))
    await free(disk, USED)
    expect(disk.state.freeByteOffset).toBe(0)
    expect(await bytes(disk, 10)).toBe(at(USED))
    await disk.close()
  })
})

describe('nothing is taken', () => {
  test('where the file would pass the largest offset: EFBIG', async () => {
    const disk = await openQcow2(handMadeImage())
    disk.state.freeClusterIndex = MAX_HOST_OFFSET / CLUSTER - 1
    expect(await codeOf(() => take(disk, 2))).toBe('EFBIG')
    disk.state.freeClusterIndex = MAX_HOST_OFFSET / CLUSTER
    expect(await codeOf(() => take(disk))).toBe('EFBIG')
    expect(disk.state.refcountTable.length).toBe(CLUSTER / 8)
    await disk.close()
  })

  test('where the refcount table would pass its 8 MiB: EFBIG, and the image stays sound', async () => {
    const disk = await openQcow2(handMadeImage())
    // 2^20 entries of blocks of 256 counts, two thirds of which a generous table may leave empty.
    disk.state.freeClusterIndex = 2 ** 20 * 256
    expect(await codeOf(() => take(disk))).toBe('EFBIG')
    disk.state.freeClusterIndex = 0
    expect(await take(disk)).toBe(USED)
    await disk.close()
  })

  test('where the header itself is counted as free: EIO, and the image is corrupt', async () => {
    const image = handMadeImage()
    image.setRefcount(0, 0n)
    const disk = await openQcow2(image)
    expect(await codeOf(() => take(disk))).toBe('EIO')
    expect(disk.state.corrupt).toBe(true)
    // Bit 1 of the incompatible features says so to others.
    expect(disk.image.get64(72)).toBe(2n)
    await disk.close()
  })

  test('where a block is nowhere sane: EIO, and the image is corrupt', async () => {
    const image = handMadeImage()
    // Bit 63 belongs to the offset here.
    image.put64(image.refcountTableAt, 1n << 63n)
    const disk = await openQcow2(image)
    expect(await codeOf(() => take(disk))).toBe('EIO')
    expect(disk.state.corrupt).toBe(true)
    await disk.close()
  })
})
