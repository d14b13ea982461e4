// Reading: what the file is asked for. A run that is contiguous on the host is one request, however many clusters it spans.

import { describe, expect, test } from 'vitest'
import { readGuest } from '../../../../../src/drivers/qcow2/data/read.js'
import { guest } from '../../../../../src/drivers/qcow2/format/layout.js'
import { codeOf } from '../../../../support/code-of.js'
import { backedBy, filled, openQcow2, runsOf } from '../../../../support/open-qcow2.js'
import { COPIED, type ImageBytes } from '../../../../support/qcow2-bytes.js'
import { firstDifferentCluster } from '../../../../support/qcow2-compare.js'
import { handMadeImage } from '../../../../support/qcow2-image.js'

const CLUSTER = 512
/** Where guest cluster 0 of a hand-made image stands; the others follow it. */
const FIRST = 5 * CLUSTER

/** Reads what `from` to `to` (clusters) hold, with its table in memory: the requests, and the first byte of each cluster. */
async function readOf(image: ImageBytes, from: number, to: number) {
  const disk = await openQcow2(image)
  await disk.read(from * CLUSTER, 1)
  await disk.read(to * CLUSTER - 1, 1)
  disk.requests.length = 0
  const bytes = await disk.read(from * CLUSTER, (to - from) * CLUSTER)
  const requests = disk.taken('read')
  await disk.close()
  return { requests, firsts: Array.from({ length: to - from }, (_, index) => bytes[index * CLUSTER]) }
}

describe('a range', () => {
  test('of clusters in a row is one request', async () => {
    const { requests, firsts } = await readOf(handMadeImage(), 0, 8)
    expect(requests).toEqual([[FIRST, 8 * CLUSTER]])
    expect(firsts).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
  })

  test('between cluster boundaries asks for its own bytes alone', async () => {
    const disk = await openQcow2(handMadeImage())
    await disk.read(0, 1)
    disk.requests.length = 0
    const bytes = await disk.read(100, 1000)
    expect(disk.taken('read')).toEqual([[FIRST + 100, 1000]])
    expect([bytes[0], bytes[411], bytes[412], bytes[999]]).toEqual([1, 1, 2, 3])
    await disk.close()
  })

  test('whose table is in memory waits for nothing but the file', async () => {
    const disk = await openQcow2(handMadeImage())
    await disk.read(0, 1)
    const into = filled(8 * CLUSTER, 0xcc)
    expect(readGuest(disk.state, guest(0), into)).toBeUndefined()
    expect([into[0], into[7 * CLUSTER]]).toEqual([1, 8])
    expect(readGuest(disk.state, guest(100 * CLUSTER), into)).toBeUndefined()
    await disk.close()
  })

  test('of clusters out of order is one request for each run', async () => {
    const image = handMadeImage()
    const [two, three] = [image.entry(2), image.entry(3)]
    image.setEntry(2, three)
    image.setEntry(3, two)
    const { requests, firsts } = await readOf(image, 0, 8)
    expect(requests).toEqual([
      [FIRST, 2 * CLUSTER],
      [FIRST + 3 * CLUSTER, CLUSTER],
      [FIRST + 2 * CLUSTER, CLUSTER],
      [FIRST + 4 * CLUSTER, 4 * CLUSTER],
    ])
    expect(firsts).toEqual([1, 2, 4, 3, 5, 6, 7, 8])
  })

  test('with zero clusters and unallocated ones asks for neither', async () => {
    const image = handMadeImage()
    image.setEntry(1, 1n)
    image.setEntry(2, image.entry(2) | 1n)
    image.setEntry(5, 0n)
    image.setRefcount(6, 0n)
    image.setRefcount(10, 0n)
    const { requests, firsts } = await readOf(image, 0, 10)
    expect(requests).toEqual([
      [FIRST, CLUSTER],
      [FIRST + 3 * CLUSTER, 2 * CLUSTER],
      [FIRST + 6 * CLUSTER, 2 * CLUSTER],
    ])
    expect(firsts).toEqual([1, 0, 0, 4, 5, 0, 7, 8, 0, 0])
  })

  test('of shared clusters and of those that are not is one request: reading changes nothing', async () => {
    const image = handMadeImage()
    image.setEntry(3, image.entry(3) & ~COPIED)
    image.setRefcount(8, 2n)
    expect((await readOf(image, 0, 8)).requests).toEqual([[FIRST, 8 * CLUSTER]])
  })

  test('over two L2 tables is one request where the host clusters follow each other', async () => {
    const image = handMadeImage()
    const [table, last, next] = [image.addCluster(), image.addCluster(), image.addCluster()]
    image.put64(image.l1At + 8, COPIED | BigInt(table))
    image.setEntry(63, COPIED | BigInt(last))
    image.put64(table, COPIED | BigInt(next))
    image.bytes.fill(0x63, last, last + CLUSTER)
    image.bytes.fill(0x64, next, next + CLUSTER)
    const { requests, firsts } = await readOf(image, 63, 65)
    expect(requests).toEqual([[last, 2 * CLUSTER]])
    expect(firsts).toEqual([0x63, 0x64])
  })

  test('of subclusters is one request for those in a row, within clusters and across them', async () => {
    const image = handMadeImage({ clusterBits: 14, extendedL2: true, data: 2 })
    // The last 8 of the first cluster are unallocated, the first of the second reads as zeroes.
    image.put64(image.entryAt(0) + 8, 0x00ff_ffff)
    image.put64(image.entryAt(1) + 8, 0x0000_0001_ffff_fffen)
    const disk = await openQcow2(image)
    await disk.read(0, 1)
    disk.requests.length = 0
    const bytes = await disk.read(0, 32_768)
    const data = 5 * 16_384
    expect(disk.taken('read')).toEqual([
      [data, 24 * 512],
      [data + 33 * 512, 31 * 512],
    ])
    expect([0, 24 * 512 - 1, 24 * 512, 33 * 512 - 1, 33 * 512].map((at) => bytes[at])).toEqual([1, 1, 0, 0, 2])
    await disk.close()
  })
})

describe('what is not in the image', () => {
  test('comes from the backing file, and is zeroes where that is shorter', async () => {
    const base = new Uint8Array(6 * CLUSTER).fill(0xbb)
    const disk = await openQcow2(handMadeImage({ data: 2 }), backedBy(base))
    expect(runsOf(await disk.read(0, 10 * CLUSTER))).toEqual([
      [1, CLUSTER],
      [2, CLUSTER],
      [0xbb, 4 * CLUSTER],
      [0, 4 * CLUSTER],
    ])
    await disk.close()
  })

  test('does not show through a zero cluster', async () => {
    const image = handMadeImage({ data: 2 })
    image.setEntry(3, 1n)
    const disk = await openQcow2(image, backedBy(new Uint8Array(6 * CLUSTER).fill(0xbb)))
    expect(runsOf(await disk.read(2 * CLUSTER, 3 * CLUSTER))).toEqual([
      [0xbb, CLUSTER],
      [0, CLUSTER],
      [0xbb, CLUSTER],
    ])
    await disk.close()
  })

  test('is zeroes without a backing file', async () => {
    const disk = await openQcow2(handMadeImage({ data: 2 }))
    expect(runsOf(await disk.read(2 * CLUSTER, 100 * CLUSTER))).toEqual([[0, 100 * CLUSTER]])
    await disk.close()
  })
})

describe('an entry that cannot be', () => {
  test('fails who reads it with EIO; the rest of the disk stays readable', async () => {
    const image = handMadeImage()
    image.setEntry(3, COPIED | BigInt(FIRST + 100 * 2 ** 20 + 512))
    image.setEntry(4, (1n << 63n) | (1n << 54n))
    const disk = await openQcow2(image)
    expect(await codeOf(() => disk.read(4 * CLUSTER, 1))).toBe('EIO')
    expect(await disk.read(2 * CLUSTER, CLUSTER)).toEqual(filled(CLUSTER, 3))
    await disk.close()
  })

  test('marks an image corrupt that is being written to', async () => {
    const image = handMadeImage({ clusterBits: 12 })
    image.setEntry(3, COPIED | BigInt(8 * 4096 + 512))
    const disk = await openQcow2(image)
    await disk.write(0, 1, 9)
    expect(await codeOf(() => disk.read(3 * 4096, 1))).toBe('EIO')
    expect(disk.state.corrupt).toBe(true)
    await disk.state.corruptBitWrite
    expect(disk.image.get64(72)).toBe(2n)
    expect((await disk.read(0, 1))[0]).toBe(9)
    await disk.close()
  })

  test('leaves an image alone that is only read', async () => {
    const image = handMadeImage({ clusterBits: 12 })
    image.setEntry(3, COPIED | BigInt(8 * 4096 + 512))
    const before = image.copy()
    const disk = await openQcow2(image, { options: { 'read-only': true }, perm: 1 })
    expect(await codeOf(() => disk.read(3 * 4096, 1))).toBe('EIO')
    await disk.close()
    expect(firstDifferentCluster(disk.image.bytes, before.bytes, 4096)).toBeUndefined()
  })

  test('in version 2 is a zero flag, too', async () => {
    const image = handMadeImage({ version: 2 })
    image.setEntry(3, image.entry(3) | 1n)
    const disk = await openQcow2(image)
    expect(await codeOf(() => disk.read(3 * CLUSTER, 1))).toBe('EIO')
    await disk.close()
  })
})
