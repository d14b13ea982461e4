// Options changed after creation: versions up and down, lazy refcounts, widths of refcounts, length.

import { describe, expect, test } from 'vitest'
import { amendImage } from '../../../../../src/global-state/amend-image.js'
import { createSnapshot } from '../../../../../src/global-state/snapshot.js'
import { codeOf } from '../../../../support/code-of.js'
import { backedBy, closeSound, filled, type OpenQcow2, openQcow2, runsOf } from '../../../../support/open-qcow2.js'
import { COPIED } from '../../../../support/qcow2-bytes.js'
import { firstDifferentCluster } from '../../../../support/qcow2-compare.js'
import { handMadeImage } from '../../../../support/qcow2-image.js'

const CLUSTER = 4096
const image = (options = {}) => handMadeImage({ clusterBits: 12, ...options })

function amend(disk: OpenQcow2, options: Record<string, string | number | boolean>): Promise<void> {
  const { graph, node } = disk.rig
  return graph.mainLoop((main) => amendImage(main, node, options))
}

const content = (disk: OpenQcow2) => disk.read(0, 8 * CLUSTER)
const CONTENT = Uint8Array.from({ length: 8 * CLUSTER }, (_, at) => Math.floor(at / CLUSTER) + 1)

describe('up to version 3', () => {
  test('the header gets longer, features are none, refcounts stay 16 bits wide', async () => {
    const disk = await openQcow2(image({ version: 2 }))
    await amend(disk, { compat: '1.1' })
    const after = disk.image
    expect([after.get32(4), after.get32(96), after.get32(100)]).toEqual([3, 4, 112])
    expect([after.get64(72), after.get64(80), after.get64(88)]).toEqual([0n, 0n, 0n])
    // Zero clusters are known from now on.
    await disk.rig.backend.writeZeroes(0, CLUSTER)
    await disk.flush()
    expect(disk.image.entry(0)).toBe(COPIED | BigInt(5 * CLUSTER) | 1n)
    await closeSound(disk)
  })
})

describe('down to version 2', () => {
  test('nothing is left of what version 2 does not know', async () => {
    const disk = await openQcow2(image({ lazyRefcounts: true }))
    await disk.write(0, CLUSTER, 0x99)
    await disk.write(20 * CLUSTER, CLUSTER, 0x98)
    await amend(disk, { compat: '0.10' })
    const after = disk.image
    expect([after.get32(4), after.get64(72), after.get64(80), after.get64(88)]).toEqual([2, 0n, 0n, 0n])
    expect([(await disk.read(0, 1))[0], (await disk.read(20 * CLUSTER, 1))[0]]).toEqual([0x99, 0x98])
    await closeSound(disk)
  })

  test('zero clusters become unallocated, or where a backing file would show through clusters of zeroes', async () => {
    const alone = await openQcow2(image())
    await alone.rig.backend.writeZeroes(20 * CLUSTER, CLUSTER)
    await amend(alone, { compat: '0.10' })
    expect(alone.image.entry(20)).toBe(0n)
    await closeSound(alone)
    const backed = await openQcow2(image(), backedBy(filled(40 * CLUSTER, 0xbb)))
    await backed.rig.backend.writeZeroes(20 * CLUSTER, CLUSTER)
    await amend(backed, { compat: '0.10' })
    expect(backed.image.entry(20) >> 63n).toBe(1n)
    expect(runsOf(await backed.read(19 * CLUSTER, 3 * CLUSTER))).toEqual([
      [0xbb, CLUSTER],
      [0, CLUSTER],
      [0xbb, CLUSTER],
    ])
    await closeSound(backed)
  })

  test.each([
    ['other refcounts than of 16 bits', { refcountOrder: 3 }],
    ['subclusters', { clusterBits: 14, extendedL2: true }],
    ['zstd', { zstd: true }],
  ])('not with %s', async (_name, options) => {
    const disk = await openQcow2(image(options))
    expect(await codeOf(() => amend(disk, { compat: '0.10' }))).toBe('ENOTSUP')
    expect(disk.image.get32(4)).toBe(3)
    await closeSound(disk)
  })

  test('not with a snapshot of another length of disk', async () => {
    const disk = await openQcow2(image())
    await disk.quiet((main, quiet, node) => createSnapshot(main, quiet, node, { name: 'a' }))
    await disk.truncate(2048 * CLUSTER)
    expect(await codeOf(() => amend(disk, { compat: '0.10' }))).toBe('ENOTSUP')
    await closeSound(disk)
  })
})

describe('refcount_bits', () => {
  test.each([1, 2, 4, 8, 32, 64])('%i: every count is as it was, and the header says the width', async (bits) => {
    const disk = await openQcow2(image())
    await amend(disk, { refcount_bits: bits })
    const after = disk.image
    expect(2 ** after.get32(96)).toBe(bits)
    for (let cluster = 5; cluster < 13; cluster++) expect(after.refcount(cluster)).toBe(1n)
    await disk.write(20 * CLUSTER, CLUSTER, 0x99)
    expect(await content(disk)).toEqual(CONTENT)
    await closeSound(disk)
  })

  test('not so few that a count does not fit: nothing is changed', async () => {
    const disk = await openQcow2(image())
    for (const name of ['a', 'b', 'c']) {
      await disk.quiet((main, quiet, node) => createSnapshot(main, quiet, node, { name }))
    }
    expect(await codeOf(() => amend(disk, { refcount_bits: 2 }))).toBe('EINVAL')
    expect([disk.image.get32(96), disk.image.refcount(5)]).toEqual([4, 4n])
    await amend(disk, { refcount_bits: 4 })
    expect([disk.image.get32(96), disk.image.refcount(5)]).toEqual([2, 4n])
    await closeSound(disk)
  })

  test('not in version 2, nor of a width that is none', async () => {
    const disk = await openQcow2(image({ version: 2 }))
    expect(await codeOf(() => amend(disk, { refcount_bits: 8 }))).toBe('EINVAL')
    expect(await codeOf(() => amend(disk, { compat: '1.1', refcount_bits: 5 }))).toBe('EINVAL')
    expect(disk.image.get32(4)).toBe(2)
    await amend(disk, { compat: '1.1', refcount_bits: 8 })
    expect([disk.image.get32(4), disk.image.get32(96)]).toEqual([3, 3])
    await closeSound(disk)
  })

  test('a write that fails on the way leaves the old width, and no leak', async () => {
    for (let nth = 1; nth <= 3; nth++) {
      const disk = await openQcow2(image())
      const fault = disk.faults.add({ on: 'write', fail: 'EIO', nth })
      expect(await codeOf(() => amend(disk, { refcount_bits: 64 }))).toBe('EIO')
      expect([fault.hits, disk.image.get32(96), disk.state.layout.refcountOrder]).toEqual([1, 4, 4])
      await disk.write(20 * CLUSTER, CLUSTER, 0x99)
      expect(await content(disk)).toEqual(CONTENT)
      await closeSound(disk)
    }
  })
})

describe('lazy_refcounts', () => {
  test('on: the compatible bit; the dirty bit while refcounts lag behind', async () => {
    const disk = await openQcow2(image())
    await amend(disk, { lazy_refcounts: true })
    expect([disk.image.get64(72), disk.image.get64(80)]).toEqual([0n, 1n])
    await disk.write(20 * CLUSTER, CLUSTER, 0x99)
    await disk.flush()
    expect([disk.image.get64(72), disk.image.refcount(13)]).toEqual([1n, 0n])
    await closeSound(disk)
    expect([disk.image.get64(72), disk.image.refcount(13)]).toEqual([0n, 1n])
  })

  test('off: what lagged behind is made good first', async () => {
    const disk = await openQcow2(image({ lazyRefcounts: true }))
    await disk.write(20 * CLUSTER, CLUSTER, 0x99)
    await disk.flush()
    expect(disk.image.get64(72)).toBe(1n)
    await amend(disk, { lazy_refcounts: false })
    expect([disk.image.get64(72), disk.image.get64(80), disk.image.refcount(13)]).toEqual([0n, 0n, 1n])
    await closeSound(disk)
  })
})

describe('others', () => {
  test('size', async () => {
    const disk = await openQcow2(image())
    await amend(disk, { size: 2048 * CLUSTER })
    expect([disk.rig.backend.length, disk.image.get64(24)]).toEqual([2048 * CLUSTER, BigInt(2048 * CLUSTER)])
    await closeSound(disk)
  })

  test.each([
    ['another backing file', { backing_file: 'x' }],
    ['a data file for an image without', { data_file: 'x' }],
    ['raw data of an image without', { data_file_raw: true }],
    ['lazy refcounts together with version 2', { lazy_refcounts: true, compat: '0.10' }],
    ['an unknown version', { compat: '3' }],
  ])('%s: refused', async (_name, options) => {
    const disk = await openQcow2(image())
    const before = disk.image.bytes
    expect(await codeOf(() => amend(disk, options))).toBe('EINVAL')
    expect(firstDifferentCluster(disk.image.bytes, before, CLUSTER)).toBeUndefined()
    await disk.close()
  })
})
