// Writes to clusters that are the guest's own: one request, no table changes; and what keeps them from doing harm.

import { describe, expect, test } from 'vitest'
import { writeGuest } from '../../../../../src/drivers/qcow2/data/write.js'
import { guest } from '../../../../../src/drivers/qcow2/format/layout.js'
import { codeOf } from '../../../../support/code-of.js'
import { closeSound, filled, type OpenQcow2, openQcow2 } from '../../../../support/open-qcow2.js'
import { COPIED, type ImageBytes } from '../../../../support/qcow2-bytes.js'
import { firstDifferentCluster } from '../../../../support/qcow2-compare.js'
import { handMadeImage } from '../../../../support/qcow2-image.js'

const CLUSTER = 512
const FIRST = 5 * CLUSTER

/** An image that is being written to already, its table in memory. */
async function warm(image: ImageBytes, options: Record<string, unknown> = {}): Promise<OpenQcow2> {
  const disk = await openQcow2(image, { options })
  await disk.write(0, 1, 1)
  disk.requests.length = 0
  return disk
}

describe('a write in place', () => {
  test('is one request for clusters in a row, and changes no table', async () => {
    const disk = await warm(handMadeImage())
    await disk.write(0, 8 * CLUSTER, 0x99)
    expect(disk.requests).toEqual([{ op: 'write', offset: FIRST, bytes: 8 * CLUSTER }])
    expect([disk.state.l2Cache.isClean, disk.state.refcountCache.isClean]).toEqual([true, true])
    await closeSound(disk)
  })

  test('waits for nothing but the file; nor does one to new clusters whose tables and counts are in memory', async () => {
    const disk = await warm(handMadeImage())
    expect(writeGuest(disk.state, guest(CLUSTER), filled(4 * CLUSTER, 0x99))).toBeUndefined()
    await disk.write(20 * CLUSTER, CLUSTER, 0x98)
    expect(writeGuest(disk.state, guest(21 * CLUSTER), filled(CLUSTER, 0x97))).toBeUndefined()
    expect((await disk.read(21 * CLUSTER, 1))[0]).toBe(0x97)
    await closeSound(disk)
  })

  test('of a part of a cluster writes that part', async () => {
    const disk = await warm(handMadeImage())
    await disk.write(3 * CLUSTER + 17, 5, 0x99)
    expect(disk.requests).toEqual([{ op: 'write', offset: FIRST + 3 * CLUSTER + 17, bytes: 5 }])
    await disk.close()
  })

  test('ends where a cluster is shared: that one is copied', async () => {
    const image = handMadeImage()
    image.setEntry(2, image.entry(2) & ~COPIED)
    image.setRefcount(7, 2n)
    const disk = await warm(image)
    await disk.write(0, 4 * CLUSTER, 0x99)
    const writes = disk.taken('write').filter(([offset]) => offset !== 2 * CLUSTER)
    expect(writes.sort(([a], [b]) => a - b)).toEqual([
      [FIRST, 2 * CLUSTER],
      [FIRST + 3 * CLUSTER, CLUSTER],
      [13 * CLUSTER, CLUSTER],
    ])
    await disk.close()
  })

  test('of a zero cluster with a place takes that place, zeroes around the data', async () => {
    const image = handMadeImage()
    image.setEntry(2, image.entry(2) | 1n)
    const disk = await warm(image)
    await disk.write(2 * CLUSTER + 100, 100, 0x99)
    expect(disk.taken('write')).toEqual([[FIRST + 2 * CLUSTER, CLUSTER]])
    await disk.flush()
    expect(disk.image.entry(2)).toBe(COPIED | BigInt(FIRST + 2 * CLUSTER))
    const bytes = await disk.read(2 * CLUSTER, CLUSTER)
    expect([bytes[99], bytes[100], bytes[199], bytes[200]]).toEqual([0, 0x99, 0x99, 0])
    await closeSound(disk)
  })
})

describe('an image that is corrupt', () => {
  test('is not opened for writing, and is read', async () => {
    const image = handMadeImage()
    image.put64(72, 2)
    expect(await codeOf(() => openQcow2(image))).toBe('EACCES')
    const disk = await openQcow2(image, { options: { 'read-only': true }, perm: 1 })
    expect(await disk.read(3 * CLUSTER, CLUSTER)).toEqual(filled(CLUSTER, 4))
    await disk.close()
  })

  test('refuses writes in place as well from the moment on when it is found to be', async () => {
    const image = handMadeImage({ clusterBits: 12 })
    image.setEntry(3, COPIED | BigInt(8 * 4096 + 512))
    const disk = await warm(image)
    expect(await codeOf(() => disk.read(3 * 4096, 1))).toBe('EIO')
    await disk.state.corruptBitWrite
    const before = disk.image.bytes
    disk.requests.length = 0
    expect(await codeOf(() => disk.write(0, 512, 0x99))).toBe('EIO')
    expect(await codeOf(() => disk.write(50 * 4096, 512, 0x99))).toBe('EIO')
    expect(await codeOf(() => disk.rig.backend.writeZeroes(0, 4096))).toBe('EIO')
    expect(await codeOf(() => disk.rig.backend.discard(4096, 4096))).toBe('EIO')
    expect(disk.requests.filter(({ op }) => op !== 'read' && op !== 'flush')).toEqual([])
    expect(firstDifferentCluster(disk.image.bytes, before, 4096)).toBeUndefined()
    expect((await disk.read(0, 1))[0]).toBe(1)
    await disk.close()
  })
})

describe('an entry that names metadata', () => {
  const METADATA: [name: string, cluster: number, words: string][] = [
    ['the refcount table', 1, 'refcount table'],
    ['a refcount block', 2, 'refcount block'],
    ['the L1 table', 3, 'active L1 table'],
    ['an L2 table', 4, 'active L2 table'],
  ]

  /** Guest cluster 1 stands where metadata does. */
  function overlapping(cluster: number): ImageBytes {
    const image = handMadeImage()
    image.setEntry(1, COPIED | BigInt(cluster * CLUSTER))
    return image
  }

  test.each(METADATA)('%s: nothing is written there, and the image is corrupt', async (_name, at, words) => {
    const disk = await warm(overlapping(at))
    const before = disk.image.bytes.slice(at * CLUSTER, (at + 1) * CLUSTER)
    await expect(disk.write(CLUSTER, CLUSTER, 0x99)).rejects.toThrow(`overlaps with ${words}`)
    await disk.state.corruptBitWrite
    const after = disk.image
    expect(after.bytes.subarray(at * CLUSTER, (at + 1) * CLUSTER)).toEqual(before)
    expect(after.get64(72)).toBe(2n)
    await disk.close()
  })

  test('in the middle of a run stops the whole of its run', async () => {
    const image = handMadeImage()
    // Clusters 3 and 4 hold L1 and L2, cluster 5 data: a run of three.
    for (let index = 0; index < 3; index++) image.setEntry(20 + index, COPIED | BigInt((3 + index) * CLUSTER))
    const disk = await warm(image)
    expect(await codeOf(() => disk.write(20 * CLUSTER, 3 * CLUSTER, 0x99))).toBe('EIO')
    expect(disk.taken('write').every(([offset]) => offset < CLUSTER)).toBe(true)
    await disk.close()
  })

  test.each([
    ['none', 4, true],
    ['constant', 4, true],
    ['cached', 4, false],
    ['constant', 3, false],
    ['none', 3, true],
  ])('overlap-check=%s, cluster %i: written %s', async (check, cluster, written) => {
    const disk = await openQcow2(overlapping(cluster), { options: { 'overlap-check': check } })
    // A part that does no harm to what the rest of this test needs.
    const code = await codeOf(() => disk.write(CLUSTER + 500, 1, 0))
    expect(code === undefined).toBe(written)
    await disk.close()
  })

  test('single checks go beside the template', async () => {
    const options = { 'overlap-check.template': 'none', 'overlap-check.active-l2': true }
    const disk = await openQcow2(overlapping(4), { options })
    expect(await codeOf(() => disk.write(CLUSTER, 1, 0))).toBe('EIO')
    await disk.close()
  })
})
