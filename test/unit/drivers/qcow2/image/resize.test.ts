// A disk that changes its length: what comes reads as zeroes, what goes is free, and snapshots keep what they have.

import { describe, expect, test } from 'vitest'
import { applySnapshot, createSnapshot, listSnapshots } from '../../../../../src/global-state/snapshot.js'
import { loadVmstate, saveVmstate } from '../../../../../src/io/vmstate.js'
import { codeOf } from '../../../../support/code-of.js'
import { backedBy, closeSound, filled, openQcow2, runsOf } from '../../../../support/open-qcow2.js'
import { handMadeImage } from '../../../../support/qcow2-image.js'

const CLUSTER = 512
/** What one L2 table maps. */
const TABLE = 64 * CLUSTER
const image = (options = {}) => handMadeImage({ size: 4 * TABLE, ...options })

describe('longer', () => {
  test('within the L1 table: the header says so, and nothing is allocated', async () => {
    const disk = await openQcow2(image({ l1Size: 8 }))
    const l1 = disk.image.l1At
    await disk.truncate(8 * TABLE)
    expect([disk.rig.backend.length, disk.image.get64(24), disk.image.l1At]).toEqual([8 * TABLE, BigInt(8 * TABLE), l1])
    expect(runsOf(await disk.read(4 * TABLE, 4 * TABLE))).toEqual([[0, 4 * TABLE]])
    await closeSound(disk)
  })

  test('beyond it: a larger L1 table elsewhere, with the entries of the old one, which is free', async () => {
    const disk = await openQcow2(image())
    const entry = disk.image.get64(disk.image.l1At)
    await disk.truncate(100 * TABLE)
    const after = disk.image
    expect([after.get32(36), after.l1At === 3 * CLUSTER, after.get64(after.l1At)]).toEqual([100, false, entry])
    expect(after.refcount(3)).toBe(0n)
    expect(await disk.read(7 * CLUSTER, CLUSTER)).toEqual(filled(CLUSTER, 8))
    await disk.write(99 * TABLE, CLUSTER, 0x99)
    await closeSound(disk)
  })

  test('the rest of its last cluster reads as zeroes, whatever that held', async () => {
    const disk = await openQcow2(image({ clusterBits: 12, size: 7 * 4096 + 512 }))
    await disk.truncate(10 * 4096)
    expect(runsOf(await disk.read(7 * 4096, 3 * 4096))).toEqual([
      [8, 512],
      [0, 4096 * 3 - 512],
    ])
    await closeSound(disk)
  })

  test('a longer backing file does not show through where growth is to be zeroes', async () => {
    const disk = await openQcow2(image({ size: 10 * CLUSTER }), backedBy(filled(20 * CLUSTER, 0xbb)))
    await disk.truncate(20 * CLUSTER)
    expect(runsOf(await disk.read(8 * CLUSTER, 12 * CLUSTER))).toEqual([
      [0xbb, 2 * CLUSTER],
      [0, 10 * CLUSTER],
    ])
    await closeSound(disk)
  })

  test('with preallocation of metadata every new cluster has a place', async () => {
    const disk = await openQcow2(image({ size: 8 * CLUSTER }))
    await disk.truncate(16 * CLUSTER, { preallocation: 'metadata' })
    await disk.flush()
    for (let index = 8; index < 16; index++) expect(disk.image.entry(index) >> 63n).toBe(1n)
    expect(runsOf(await disk.read(8 * CLUSTER, 8 * CLUSTER))).toEqual([[0, 8 * CLUSTER]])
    await closeSound(disk)
  })

  test('not beyond 32 MiB of L1 table', async () => {
    const disk = await openQcow2(image())
    expect(await codeOf(() => disk.truncate(2 ** 37 + 512))).toBe('EFBIG')
    expect(disk.rig.backend.length).toBe(4 * TABLE)
    await closeSound(disk)
  })

  test('not where the L1 table cannot be written', async () => {
    const disk = await openQcow2(image())
    const fault = disk.faults.add({ on: 'write', fail: 'ENOSPC' })
    expect(await codeOf(() => disk.truncate(100 * TABLE))).toBe('ENOSPC')
    expect([fault.hits, disk.rig.backend.length, disk.image.get32(36)]).toEqual([1, 4 * TABLE, 4])
    await disk.truncate(100 * TABLE)
    await closeSound(disk)
  })
})

describe('shorter', () => {
  test('frees clusters and tables behind its end, and cuts the file', async () => {
    const disk = await openQcow2(image())
    await disk.write(2 * TABLE, 4 * CLUSTER, 0x99)
    await disk.flush()
    const before = disk.image.bytes.byteLength
    await disk.truncate(4 * CLUSTER)
    const after = disk.image
    expect([after.get64(24), after.get64(after.l1At + 16)]).toEqual([BigInt(4 * CLUSTER), 0n])
    expect([3, 4, 7].map((index) => after.entry(index) === 0n)).toEqual([false, true, true])
    expect(after.bytes.byteLength).toBeLessThan(before)
    await closeSound(disk)
  })

  test('and longer again shows zeroes', async () => {
    const disk = await openQcow2(image())
    await disk.truncate(4 * CLUSTER)
    await disk.truncate(8 * CLUSTER)
    expect(runsOf(await disk.read(3 * CLUSTER, 5 * CLUSTER))).toEqual([
      [4, CLUSTER],
      [0, 4 * CLUSTER],
    ])
    await closeSound(disk)
  })

  test('inside a cluster keeps that cluster', async () => {
    const disk = await openQcow2(image({ clusterBits: 12, size: 8 * 4096 }))
    await disk.truncate(3 * 4096 + 1024)
    await disk.flush()
    expect(disk.image.entry(3) >> 63n).toBe(1n)
    await disk.truncate(4 * 4096)
    expect(runsOf(await disk.read(3 * 4096, 4096))).toEqual([
      [4, 1024],
      [0, 3072],
    ])
    await closeSound(disk)
  })

  test('drops refcount blocks that describe nothing any more', async () => {
    const disk = await openQcow2(image({ refcountOrder: 6, size: 512 * CLUSTER }))
    await disk.write(0, 500 * CLUSTER, 0x99)
    await disk.flush()
    const blocks = () =>
      Array.from({ length: 64 }, (_, index) => disk.image.get64(disk.image.refcountTableAt + index * 8)).filter(
        (entry) => entry !== 0n,
      ).length
    expect(blocks()).toBe(9)
    await disk.truncate(8 * CLUSTER)
    expect(blocks()).toBeLessThan(4)
    expect(runsOf(await disk.read(0, 8 * CLUSTER))).toEqual([[0x99, 8 * CLUSTER]])
    await closeSound(disk)
  })

  test('not with preallocation, nor to a length that is no multiple of 512', async () => {
    const disk = await openQcow2(image())
    expect(await codeOf(() => disk.truncate(CLUSTER, { preallocation: 'full' }))).toBe('ENOTSUP')
    expect(await codeOf(() => disk.truncate(1000, { exact: true }))).toBe('EINVAL')
    expect(disk.rig.backend.length).toBe(4 * TABLE)
    await closeSound(disk)
  })
})

describe('with snapshots', () => {
  test.each([2 * CLUSTER, 100 * TABLE])('the disk becomes %i bytes long, and goes back', async (length) => {
    const disk = await openQcow2(image())
    await disk.quiet((main, quiet, node) => createSnapshot(main, quiet, node, { name: 'before' }))
    await disk.truncate(length)
    await disk.write(0, CLUSTER, 0x99)
    expect(listSnapshots(disk.rig.node)[0]?.diskSize).toBe(4 * TABLE)
    await disk.quiet((main, quiet, node) => applySnapshot(main, quiet, node, 'before'))
    expect(disk.rig.backend.length).toBe(4 * TABLE)
    expect([(await disk.read(0, 1))[0], (await disk.read(7 * CLUSTER, 1))[0]]).toEqual([1, 8])
    await closeSound(disk)
  })

  test('version 2 has no place for the length of a snapshot: refused', async () => {
    const disk = await openQcow2(image({ version: 2 }))
    await disk.quiet((main, quiet, node) => createSnapshot(main, quiet, node, { name: 'before' }))
    expect(await codeOf(() => disk.truncate(8 * TABLE))).toBe('ENOTSUP')
    await closeSound(disk)
  })

  test('VM state behind the disk goes with any change of length: it would come into view', async () => {
    const disk = await openQcow2(image())
    await saveVmstate(disk.rig.node, 0, filled(3000, 0x77))
    await disk.truncate(5 * TABLE)
    expect(runsOf(await disk.read(4 * TABLE, TABLE))).toEqual([[0, TABLE]])
    const state = filled(3000, 1)
    await loadVmstate(disk.rig.node, 0, state)
    expect(runsOf(state)).toEqual([[0, 3000]])
    await closeSound(disk)
  })
})
