// Internal snapshots by what stands on disk: another L1 table, one reference more to all it names, no copied flag on what is
// shared (qcow2 specification, "Snapshots").

import { describe, expect, test } from 'vitest'
import { BDRV_REQ_WRITE_COMPRESSED } from '../../../../../src/common/request.js'
import {
  applySnapshot,
  createSnapshot,
  deleteSnapshot,
  listSnapshots,
  loadSnapshot,
} from '../../../../../src/global-state/snapshot.js'
import { codeOf } from '../../../../support/code-of.js'
import { closeSound, filled, type OpenQcow2, openQcow2, runsOf } from '../../../../support/open-qcow2.js'
import { COPIED } from '../../../../support/qcow2-bytes.js'
import { runCheck } from '../../../../support/qcow2-check.js'
import { firstDifferentCluster } from '../../../../support/qcow2-compare.js'
import { handMadeImage } from '../../../../support/qcow2-image.js'

const CLUSTER = 512
const image = (options = {}) => handMadeImage({ size: 1024 * CLUSTER, ...options })

const take = (disk: OpenQcow2, name: string) =>
  disk.quiet((main, quiet, node) => createSnapshot(main, quiet, node, { name }))
const drop = (disk: OpenQcow2, name: string) =>
  disk.quiet((main, quiet, node) => deleteSnapshot(main, quiet, node, name))
const goBack = (disk: OpenQcow2, name: string) =>
  disk.quiet((main, quiet, node) => applySnapshot(main, quiet, node, name))

describe('taking a snapshot', () => {
  test('copies the L1 table, counts all that it names once more, and clears its copied flags', async () => {
    const disk = await openQcow2(image())
    const before = disk.image
    const l1 = before.bytes.slice(before.l1At, before.l1At + 8)
    await take(disk, 'one')
    const after = disk.image
    expect([after.get32(60), after.l1At]).toEqual([1, before.l1At])
    const entry = Number(after.get64(64))
    const copy = Number(after.get64(entry))
    expect([entry % CLUSTER, copy % CLUSTER, after.get32(entry + 8)]).toEqual([0, 0, before.get32(36)])
    // The same L2 table, by both.
    expect(after.get64(copy) & ~COPIED).toBe(new DataView(l1.buffer).getBigUint64(0) & ~COPIED)
    expect([after.get64(after.l1At) >> 63n, after.entry(0) >> 63n, after.entry(7) >> 63n]).toEqual([0n, 0n, 0n])
    for (let cluster = 4; cluster < 13; cluster++) expect(after.refcount(cluster)).toBe(2n)
    // Its own tables are counted once, and nothing else is shared.
    expect([after.refcount(entry / CLUSTER), after.refcount(copy / CLUSTER), after.refcount(3)]).toEqual([1n, 1n, 1n])
    await closeSound(disk)
  })

  test('says its name, an id that is one more than the largest, and the length of the disk', async () => {
    const disk = await openQcow2(image())
    for (const name of ['a', 'b', 'c']) await take(disk, name)
    await drop(disk, 'a')
    await take(disk, 'd')
    expect(listSnapshots(disk.rig.node).map(({ id, name, diskSize }) => [id, name, diskSize])).toEqual([
      ['2', 'b', 1024 * CLUSTER],
      ['3', 'c', 1024 * CLUSTER],
      ['4', 'd', 1024 * CLUSTER],
    ])
    await closeSound(disk)
  })

  test('counts a host cluster once for each compressed cluster in it', async () => {
    const disk = await openQcow2(handMadeImage({ clusterBits: 12, data: 0 }))
    const flags = BDRV_REQ_WRITE_COMPRESSED
    for (let index = 0; index < 3; index++) {
      await disk.rig.backend.write(index * 4096, filled(4096, index), { flags })
    }
    await disk.flush()
    const cluster = Math.floor(Number(disk.image.entry(0) & (2n ** 58n - 1n)) / 4096)
    expect(disk.image.refcount(cluster)).toBe(3n)
    await take(disk, 'one')
    expect(disk.image.refcount(cluster)).toBe(6n)
    await closeSound(disk)
  })

  test('of refcounts that are one bit wide is EINVAL, and nothing has changed', async () => {
    const disk = await openQcow2(image({ refcountOrder: 0 }))
    await disk.write(0, 1, 0x99)
    await disk.flush()
    const before = disk.image
    expect(await codeOf(() => take(disk, 'one'))).toBe('EINVAL')
    const after = disk.image
    expect([after.get32(60), listSnapshots(disk.rig.node)]).toEqual([0, []])
    expect(after.entry(0)).toBe(before.entry(0))
    for (let cluster = 0; cluster < 13; cluster++) expect(after.refcount(cluster)).toBe(1n)
    // The disk goes on, in place.
    disk.requests.length = 0
    await disk.write(0, CLUSTER, 0x98)
    expect(disk.taken('write')).toEqual([[5 * CLUSTER, CLUSTER]])
    await closeSound(disk)
  })

  test('as often as a count of two bits allows', async () => {
    const disk = await openQcow2(image({ refcountOrder: 1 }))
    await take(disk, 'one')
    await take(disk, 'two')
    expect(await codeOf(() => take(disk, 'three'))).toBe('EINVAL')
    expect(listSnapshots(disk.rig.node).map(({ name }) => name)).toEqual(['one', 'two'])
    await closeSound(disk)
  })

  test('needs a name that fits 16 bits of length', async () => {
    const disk = await openQcow2(image())
    expect(await codeOf(() => take(disk, 'x'.repeat(65_536)))).toBe('EINVAL')
    await closeSound(disk)
  })
})

describe('a snapshot', () => {
  test('keeps what the disk was; writes go to clusters of their own', async () => {
    const disk = await openQcow2(image())
    await take(disk, 'one')
    await disk.write(2 * CLUSTER, CLUSTER, 0x99)
    await disk.write(20 * CLUSTER, CLUSTER, 0x98)
    await disk.flush()
    const after = disk.image
    expect(after.bytes.subarray(7 * CLUSTER, 8 * CLUSTER)).toEqual(filled(CLUSTER, 3))
    // The L2 table was copied as well: the old one is the snapshot's alone.
    expect([after.refcount(4), after.refcount(7), after.refcount(8)]).toEqual([1n, 1n, 2n])
    await goBack(disk, 'one')
    expect([(await disk.read(2 * CLUSTER, 1))[0], (await disk.read(20 * CLUSTER, 1))[0]]).toEqual([3, 0])
    await closeSound(disk)
  })

  test('is still there when the disk has gone back to it', async () => {
    const disk = await openQcow2(image())
    await take(disk, 'one')
    for (const value of [0x91, 0x92]) {
      await disk.write(0, 4 * CLUSTER, value)
      await goBack(disk, 'one')
      expect(runsOf(await disk.read(0, 2 * CLUSTER))).toEqual([
        [1, CLUSTER],
        [2, CLUSTER],
      ])
    }
    await closeSound(disk)
  })

  test('that is deleted gives back what only it has, and the disk writes in place again', async () => {
    const disk = await openQcow2(image())
    await take(disk, 'one')
    await disk.write(2 * CLUSTER, CLUSTER, 0x99)
    await drop(disk, 'one')
    const after = disk.image
    expect([after.get32(60), after.refcount(7), after.refcount(8)]).toEqual([0, 0n, 1n])
    expect([after.entry(0) >> 63n, after.entry(3) >> 63n]).toEqual([1n, 1n])
    disk.requests.length = 0
    await disk.write(3 * CLUSTER, CLUSTER, 0x98)
    expect(disk.taken('write')).toEqual([[8 * CLUSTER, CLUSTER]])
    await closeSound(disk)
  })

  test('that is not there is ENOENT', async () => {
    const disk = await openQcow2(image())
    expect(await codeOf(() => drop(disk, 'one'))).toBe('ENOENT')
    expect(await codeOf(() => goBack(disk, 'one'))).toBe('ENOENT')
    await closeSound(disk)
  })

  test('can be looked at in an image that is only read, and nothing is written', async () => {
    const disk = await openQcow2(image())
    await take(disk, 'one')
    await disk.write(0, CLUSTER, 0x99)
    await disk.close()
    const reader = await openQcow2(disk.image, { options: { 'read-only': true }, perm: 1 })
    expect((await reader.read(0, 1))[0]).toBe(0x99)
    await reader.quiet((main, quiet, node) => loadSnapshot(main, quiet, node, 'one'))
    expect((await reader.read(0, 1))[0]).toBe(1)
    await reader.close()
    expect(firstDifferentCluster(reader.image.bytes, disk.image.bytes, CLUSTER)).toBeUndefined()
  })

  test('whose L1 table is too large, or between clusters, is not used, and can be seen', async () => {
    const disk = await openQcow2(image())
    await take(disk, 'one')
    await disk.close()
    for (const [at, value, code] of [
      [0, 0x300n, 'EINVAL'],
      [8, 0x0040_0001n, 'EFBIG'],
    ] as const) {
      const damaged = disk.image
      const entry = Number(damaged.get64(64))
      if (at === 0) damaged.put64(entry, value)
      else damaged.put32(entry + 8, Number(value))
      const reopened = await openQcow2(damaged)
      expect(listSnapshots(reopened.rig.node)).toHaveLength(1)
      expect(await codeOf(() => goBack(reopened, 'one'))).toBe(code)
      expect(await codeOf(() => drop(reopened, 'one'))).toBe(code)
      expect((await reopened.read(0, 1))[0]).toBe(1)
      await reopened.close()
    }
  })
})

describe('a lower write that fails while a snapshot is taken', () => {
  test.each([1, 2, 3, 4, 5])('number %i: none is there, counts are as they were or too high', async (nth) => {
    const disk = await openQcow2(image())
    await disk.write(0, 1, 1)
    await disk.flush()
    const fault = disk.faults.add({ on: 'write', fail: 'EIO', nth })
    expect(await codeOf(() => take(disk, 'one'))).toBe('EIO')
    expect(fault.hits).toBe(1)
    expect(listSnapshots(disk.rig.node)).toEqual([])
    await disk.write(2 * CLUSTER, CLUSTER, 0x99)
    await take(disk, 'two')
    await goBack(disk, 'two')
    expect((await disk.read(2 * CLUSTER, 1))[0]).toBe(0x99)
    await disk.close()
    const { result } = await runCheck(disk.image)
    expect([result.corruptions, result.checkErrors]).toEqual([0, 0])
  })
})

describe('while the references of a snapshot are counted', () => {
  const dirty = (disk: OpenQcow2) => disk.image.get64(72) & 1n
  const ACTS: readonly [string, (disk: OpenQcow2) => Promise<void>][] = [
    ['taken', (disk) => take(disk, 'two')],
    ['deleted', (disk) => drop(disk, 'one')],
    ['applied', (disk) => goBack(disk, 'one')],
  ]

  test.each(ACTS)('the dirty bit says so, until all is durable: it is %s', async (_name, act) => {
    const disk = await openQcow2(image())
    await take(disk, 'one')
    await disk.write(0, 1, 0x99)
    await disk.flush()
    expect(dirty(disk)).toBe(0n)
    // The refcount block.
    const held = disk.faults.add({ on: 'write', range: { offset: 2 * CLUSTER, bytes: CLUSTER }, stick: true })
    const done = act(disk)
    await held.stuckOnce
    expect(dirty(disk)).toBe(1n)
    held.release()
    await done
    expect(dirty(disk)).toBe(0n)
    await closeSound(disk)
  })

  test('version 2 has no place to say so', async () => {
    const disk = await openQcow2(image({ version: 2 }))
    await take(disk, 'one')
    expect(disk.requests.some(({ op, offset }) => op === 'write' && offset === 72)).toBe(false)
    await closeSound(disk)
  })

  test('the dirty bit stays where refcounts are lazy', async () => {
    const disk = await openQcow2(image({ lazyRefcounts: true }))
    await take(disk, 'one')
    expect(dirty(disk)).toBe(1n)
    await closeSound(disk)
    expect(dirty(disk)).toBe(0n)
  })

  test('a failure that leaves it half done leaves the dirty bit, and the next opening finishes it', async () => {
    const disk = await openQcow2(image())
    await take(disk, 'one')
    disk.faults.add({ on: 'write', range: { offset: disk.image.l1At, bytes: 8 }, fail: 'EIO' })
    expect(await codeOf(() => drop(disk, 'one'))).toBe('EIO')
    await disk.close()
    expect([dirty(disk), disk.image.get32(60)]).toEqual([1n, 0])
    expect((await runCheck(disk.image)).result.corruptions).toBeGreaterThan(0)
    const again = await openQcow2(disk.image)
    expect(dirty(again)).toBe(0n)
    await closeSound(again)
  })

  test('a snapshot that is refused leaves no dirty bit behind', async () => {
    const disk = await openQcow2(image({ refcountOrder: 0 }))
    expect(await codeOf(() => take(disk, 'one'))).toBe('EINVAL')
    await closeSound(disk)
    expect(dirty(disk)).toBe(0n)
  })
})
