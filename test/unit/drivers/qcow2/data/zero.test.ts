// Zeroing and discarding: which entries come of it, by the specification ("Standard Cluster Descriptor", "Extended L2 Entries"), and
// which clusters stay.

import { describe, expect, test } from 'vitest'
import { BDRV_REQ_MAY_UNMAP, BDRV_REQ_NO_FALLBACK } from '../../../../../src/common/request.js'
import { codeOf } from '../../../../support/code-of.js'
import { backedBy, closeSound, filled, type OpenQcow2, openQcow2, runsOf } from '../../../../support/open-qcow2.js'
import { COPIED } from '../../../../support/qcow2-bytes.js'
import { type HandMadeOptions, handMadeImage } from '../../../../support/qcow2-image.js'
import { drainMicrotasks } from '../../../../support/virtual-clock.js'

const CLUSTER = 4096
const image = (options: HandMadeOptions = {}) => handMadeImage({ clusterBits: 12, ...options })
/** Where guest cluster `index` stands. */
const place = (index: number) => BigInt((5 + index) * CLUSTER)

async function zero(disk: OpenQcow2, offset: number, bytes: number, flags = 0): Promise<void> {
  await disk.rig.backend.writeZeroes(offset, bytes, { flags })
}

describe('zeroing whole clusters', () => {
  test('sets bit 0 and keeps the place', async () => {
    const disk = await openQcow2(image())
    await zero(disk, 2 * CLUSTER, 2 * CLUSTER)
    await disk.flush()
    expect([disk.image.entry(2), disk.image.entry(3)]).toEqual([COPIED | place(2) | 1n, COPIED | place(3) | 1n])
    expect([disk.image.refcount(7), disk.image.refcount(8)]).toEqual([1n, 1n])
    expect(disk.image.bytes[7 * CLUSTER]).toBe(3)
    expect(runsOf(await disk.read(2 * CLUSTER, 2 * CLUSTER))).toEqual([[0, 2 * CLUSTER]])
    await closeSound(disk)
  })

  test('with leave to unmap frees the place', async () => {
    const disk = await openQcow2(image())
    await zero(disk, 2 * CLUSTER, CLUSTER, BDRV_REQ_MAY_UNMAP)
    await disk.flush()
    expect([disk.image.entry(2), disk.image.refcount(7)]).toEqual([1n, 0n])
    await closeSound(disk)
  })

  test('of what is not there takes no cluster', async () => {
    const disk = await openQcow2(image())
    await zero(disk, 20 * CLUSTER, CLUSTER)
    await disk.flush()
    expect([disk.image.entry(20), disk.state.freeClusterIndex]).toEqual([1n, 0])
    await closeSound(disk)
  })

  test('hides the backing file', async () => {
    const disk = await openQcow2(image(), backedBy(filled(40 * CLUSTER, 0xbb)))
    await zero(disk, 20 * CLUSTER, CLUSTER)
    expect(runsOf(await disk.read(19 * CLUSTER, 3 * CLUSTER))).toEqual([
      [0xbb, CLUSTER],
      [0, CLUSTER],
      [0xbb, CLUSTER],
    ])
    await closeSound(disk)
  })

  test('in version 2, without a backing file, unallocates them; with one, writes zeroes', async () => {
    const alone = await openQcow2(image({ version: 2 }))
    await zero(alone, 2 * CLUSTER, CLUSTER)
    await alone.flush()
    expect([alone.image.entry(2), alone.image.refcount(7)]).toEqual([0n, 0n])
    await closeSound(alone)
    const backed = await openQcow2(image({ version: 2 }), backedBy(filled(40 * CLUSTER, 0xbb)))
    await zero(backed, 2 * CLUSTER, CLUSTER)
    await backed.flush()
    expect(backed.image.entry(2)).toBe(COPIED | place(2))
    expect(backed.image.bytes[7 * CLUSTER]).toBe(0)
    await closeSound(backed)
  })

  test('the last cluster of a disk that ends inside it is a whole one', async () => {
    const disk = await openQcow2(image({ size: 7 * CLUSTER + 512 }))
    await zero(disk, 7 * CLUSTER, 512, BDRV_REQ_NO_FALLBACK)
    await disk.flush()
    expect(disk.image.entry(7)).toBe(COPIED | place(7) | 1n)
    await closeSound(disk)
  })
})

describe('zeroing a part of a cluster', () => {
  test('writes zeroes where the rest is data', async () => {
    const disk = await openQcow2(image())
    disk.requests.length = 0
    await zero(disk, 2 * CLUSTER + 1024, 512)
    expect(disk.taken('write')).toEqual([[7 * CLUSTER + 1024, 512]])
    expect(runsOf(await disk.read(2 * CLUSTER, CLUSTER))).toEqual([
      [3, 1024],
      [0, 512],
      [3, 2560],
    ])
    expect(await codeOf(() => zero(disk, 2 * CLUSTER, 512, BDRV_REQ_NO_FALLBACK))).toBe('ENOTSUP')
    await closeSound(disk)
  })

  test('changes the entry alone where the rest reads as zeroes', async () => {
    const disk = await openQcow2(image())
    await zero(disk, 20 * CLUSTER + 1024, 512, BDRV_REQ_NO_FALLBACK)
    await disk.flush()
    expect(disk.image.entry(20)).toBe(1n)
    await closeSound(disk)
  })

  test('waits for a write to the same cluster, and spares what that has written', async () => {
    const disk = await openQcow2(image())
    await disk.write(30 * CLUSTER, CLUSTER, 1)
    // Looked at before the write ends, the rest of the cluster would read as zeroes.
    const fault = disk.faults.add({ on: 'write', stick: true, range: { offset: 14 * CLUSTER, bytes: CLUSTER } })
    const writing = disk.write(20 * CLUSTER, 1024, 0x99)
    await fault.stuckOnce
    let done = false
    const zeroing = zero(disk, 20 * CLUSTER + 2048, 1024).then(() => {
      done = true
    })
    await drainMicrotasks()
    expect(done).toBe(false)
    fault.release()
    await writing
    await zeroing
    expect(runsOf(await disk.read(20 * CLUSTER, CLUSTER))).toEqual([
      [0x99, 1024],
      [0, 3072],
    ])
    await closeSound(disk)
  })
})

describe('subclusters', () => {
  const SUB = 512
  const extended = () => handMadeImage({ clusterBits: 14, extendedL2: true })
  const bitmap = (disk: OpenQcow2, index: number) => disk.image.get64(disk.image.entryAt(index) + 8)

  test('zeroing some moves their bits from the lower half to the upper', async () => {
    const disk = await openQcow2(extended())
    await zero(disk, 2 * 16_384 + 4 * SUB, 2 * SUB, BDRV_REQ_NO_FALLBACK)
    await disk.flush()
    expect(bitmap(disk, 2)).toBe(0x0000_0030_ffff_ffcfn)
    expect(disk.image.entry(2)).toBe(COPIED | BigInt(7 * 16_384))
    await closeSound(disk)
  })

  test('zeroing all of them keeps the place, unless it may be unmapped', async () => {
    const disk = await openQcow2(extended())
    await zero(disk, 2 * 16_384, 16_384)
    await zero(disk, 3 * 16_384, 16_384, BDRV_REQ_MAY_UNMAP)
    await disk.flush()
    expect([disk.image.entry(2), bitmap(disk, 2)]).toEqual([COPIED | BigInt(7 * 16_384), 0xffff_ffff_0000_0000n])
    expect([disk.image.entry(3), bitmap(disk, 3), disk.image.refcount(8)]).toEqual([0n, 0xffff_ffff_0000_0000n, 0n])
    await closeSound(disk)
  })

  test('a write into one that reads as zeroes clears its bit there', async () => {
    const disk = await openQcow2(extended())
    await zero(disk, 2 * 16_384, 16_384)
    await disk.write(2 * 16_384 + 31 * SUB + 10, 10, 0x99)
    await disk.flush()
    expect(bitmap(disk, 2)).toBe(0x7fff_ffff_8000_0000n)
    expect(runsOf(await disk.read(2 * 16_384, 16_384))).toEqual([
      [0, 31 * SUB + 10],
      [0x99, 10],
      [0, SUB - 20],
    ])
    await closeSound(disk)
  })
})

describe('discarding', () => {
  test('leaves zeroes without a place, and frees the cluster', async () => {
    const disk = await openQcow2(image())
    await disk.rig.backend.discard(2 * CLUSTER, 3 * CLUSTER)
    await disk.flush()
    const { image: after } = disk
    expect([2, 3, 4, 5].map((index) => after.entry(index))).toEqual([1n, 1n, 1n, COPIED | place(5)])
    expect([7, 8, 9, 10].map((cluster) => after.refcount(cluster))).toEqual([0n, 0n, 0n, 1n])
    await closeSound(disk)
  })

  test('never brings the backing file into view', async () => {
    const disk = await openQcow2(image(), backedBy(filled(40 * CLUSTER, 0xbb)))
    await disk.rig.backend.discard(2 * CLUSTER, CLUSTER)
    await disk.rig.backend.discard(20 * CLUSTER, CLUSTER)
    expect(runsOf(await disk.read(2 * CLUSTER, CLUSTER))).toEqual([[0, CLUSTER]])
    expect(runsOf(await disk.read(20 * CLUSTER, CLUSTER))).toEqual([[0, CLUSTER]])
    await closeSound(disk)
  })

  test('takes whole clusters only', async () => {
    const disk = await openQcow2(image())
    await disk.rig.backend.discard(2 * CLUSTER + 512, CLUSTER)
    await disk.flush()
    expect([disk.image.entry(2), disk.image.entry(3)]).toEqual([COPIED | place(2), COPIED | place(3)])
    await closeSound(disk)
  })

  test('with discard-no-unref keeps the cluster, as zeroes', async () => {
    const disk = await openQcow2(image(), { options: { 'discard-no-unref': true } })
    await disk.rig.backend.discard(2 * CLUSTER, CLUSTER)
    await disk.flush()
    expect([disk.image.entry(2), disk.image.refcount(7)]).toEqual([COPIED | place(2) | 1n, 1n])
    await closeSound(disk)
  })

  test('in version 2 unallocates', async () => {
    const disk = await openQcow2(image({ version: 2 }))
    await disk.rig.backend.discard(2 * CLUSTER, CLUSTER)
    await disk.flush()
    expect([disk.image.entry(2), disk.image.refcount(7)]).toEqual([0n, 0n])
    await closeSound(disk)
  })

  test('of a shared cluster drops one reference', async () => {
    const shared = image()
    shared.setEntry(2, place(2))
    shared.setRefcount(7, 2n)
    const disk = await openQcow2(shared)
    await disk.rig.backend.discard(2 * CLUSTER, CLUSTER)
    await disk.flush()
    expect([disk.image.entry(2), disk.image.refcount(7)]).toEqual([1n, 1n])
    // What shares it is not to be seen here.
    await closeSound(disk, 1)
  })
})
