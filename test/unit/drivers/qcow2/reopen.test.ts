// An image reopened with other options, while it has something in memory only.

import { describe, expect, test } from 'vitest'
import { BLK_PERM_CONSISTENT_READ } from '../../../../src/common/permissions.js'
import { type ReopenRequest, reopenNodes } from '../../../../src/global-state/life/reopen.js'
import { codeOf } from '../../../support/code-of.js'
import { closeSound, type OpenQcow2, openQcow2 } from '../../../support/open-qcow2.js'
import { handMadeImage } from '../../../support/qcow2-image.js'

const CLUSTER = 4096
const image = (options = {}) => handMadeImage({ clusterBits: 12, ...options })

function reopen(disk: OpenQcow2, request: Omit<ReopenRequest, 'node'>): Promise<void> {
  return disk.quiet((main, quiet, node) => reopenNodes(main, quiet, [{ node, ...request }]))
}

describe('with other options', () => {
  test('smaller caches: what was changed is on disk first', async () => {
    const disk = await openQcow2(image())
    await disk.write(20 * CLUSTER, CLUSTER, 0x99)
    await reopen(disk, { options: { 'l2-cache-entry-size': 512, 'l2-cache-size': 1024 } })
    expect([disk.image.entry(20) >> 63n, disk.image.refcount(13)]).toEqual([1n, 1n])
    expect([disk.state.l2Cache.entryBytes, disk.state.l2Cache.capacity]).toEqual([512, 2])
    expect((await disk.read(20 * CLUSTER, 1))[0]).toBe(0x99)
    await closeSound(disk)
  })

  test('lazy refcounts on and off', async () => {
    const disk = await openQcow2(image())
    await reopen(disk, { options: { 'lazy-refcounts': true } })
    await disk.write(20 * CLUSTER, CLUSTER, 0x99)
    await disk.flush()
    expect([disk.image.get64(72), disk.image.refcount(13)]).toEqual([1n, 0n])
    await reopen(disk, { options: { 'lazy-refcounts': false } })
    expect([disk.image.get64(72), disk.image.refcount(13)]).toEqual([0n, 1n])
    await closeSound(disk)
  })

  test('to write an image that lags behind: not before it is repaired, which opening it anew does', async () => {
    const crashed = await openQcow2(image({ lazyRefcounts: true }))
    await crashed.write(20 * CLUSTER, CLUSTER, 0x99)
    await crashed.flush()
    const left = crashed.image
    expect(left.get64(72)).toBe(1n)
    const reader = await openQcow2(left, { options: { 'read-only': true }, perm: BLK_PERM_CONSISTENT_READ })
    expect(await codeOf(() => reopen(reader, { options: { 'read-only': false } }))).toBe('EACCES')
    expect((await reader.read(20 * CLUSTER, 1))[0]).toBe(0x99)
    expect(reader.image.get64(72)).toBe(1n)
    await reader.close()
    await crashed.close()
  })

  test('that cannot be leave it as it was', async () => {
    const disk = await openQcow2(image())
    const { settings } = disk.state
    expect(await codeOf(() => reopen(disk, { options: { 'l2-cache-entry-size': 1000 } }))).toBe('EINVAL')
    expect(disk.state.settings).toBe(settings)
    await closeSound(disk)
  })
})
