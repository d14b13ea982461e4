// VM state: guest data behind the end of the disk, from the first L1 entry that maps nothing of it (qcow2 specification,
// "Snapshots").

import { describe, expect, test } from 'vitest'
import { createSnapshot } from '../../../../../src/global-state/snapshot.js'
import { loadVmstate, saveVmstate } from '../../../../../src/io/vmstate.js'
import { codeOf } from '../../../../support/code-of.js'
import { closeSound, filled, type OpenQcow2, openQcow2, runsOf } from '../../../../support/open-qcow2.js'
import { handMadeImage } from '../../../../support/qcow2-image.js'

const CLUSTER = 512
/** What one L2 table maps. */
const TABLE = 64 * CLUSTER
const image = (options = {}) => handMadeImage({ size: 2 * TABLE - CLUSTER, ...options })

async function load(disk: OpenQcow2, position: number, bytes: number): Promise<Uint8Array> {
  const into = filled(bytes, 0xcc)
  await loadVmstate(disk.rig.node, position, into)
  return into
}

describe('VM state', () => {
  test('begins at a boundary of what an L2 table maps, and lets the L1 table grow', async () => {
    const disk = await openQcow2(image())
    expect(disk.image.get32(36)).toBe(2)
    await saveVmstate(disk.rig.node, 0, filled(3 * CLUSTER, 0x77))
    await disk.flush()
    const after = disk.image
    // Half as many entries again, at least as many as are needed.
    expect(after.get32(36)).toBe(3)
    const table = after.l2At(2)
    const host = Number(after.get64(table) & 0x00ff_ffff_ffff_fe00n)
    expect(after.bytes.subarray(host, host + CLUSTER)).toEqual(filled(CLUSTER, 0x77))
    await closeSound(disk)
  })

  test('is read back at any position, as zeroes where nothing was written', async () => {
    const disk = await openQcow2(image())
    await saveVmstate(disk.rig.node, 100, filled(1000, 0x77))
    await saveVmstate(disk.rig.node, 5 * TABLE + 7, filled(10, 0x78))
    expect(runsOf(await load(disk, 0, 1200))).toEqual([
      [0, 100],
      [0x77, 1000],
      [0, 100],
    ])
    expect(runsOf(await load(disk, 5 * TABLE, 30))).toEqual([
      [0, 7],
      [0x78, 10],
      [0, 13],
    ])
    expect(runsOf(await load(disk, 100 * TABLE, 30))).toEqual([[0, 30]])
    await closeSound(disk)
  })

  test('is not the disk’s: neither its length nor its data changes', async () => {
    const disk = await openQcow2(image())
    await saveVmstate(disk.rig.node, 0, filled(TABLE, 0x77))
    expect(disk.rig.backend.length).toBe(2 * TABLE - CLUSTER)
    expect(runsOf(await disk.read(2 * TABLE - 3 * CLUSTER, 2 * CLUSTER))).toEqual([[0, 2 * CLUSTER]])
    expect(await codeOf(() => disk.write(2 * TABLE, CLUSTER, 1))).toBe('EIO')
    await closeSound(disk)
  })

  test('belongs to the snapshot that is taken with it: the disk goes on without', async () => {
    const disk = await openQcow2(image())
    await saveVmstate(disk.rig.node, 0, filled(1000, 0x77))
    await disk.quiet((main, quiet, node) => createSnapshot(main, quiet, node, { name: 'a', vmStateSize: 1000 }))
    expect(runsOf(await load(disk, 0, 1000))).toEqual([[0, 1000]])
    await closeSound(disk)
  })

  test('that no L1 table reaches is refused', async () => {
    const disk = await openQcow2(image())
    expect(await codeOf(() => saveVmstate(disk.rig.node, 2 ** 37, filled(1, 1)))).toBe('EFBIG')
    expect(disk.image.get32(36)).toBe(2)
    await closeSound(disk)
  })

  test('needs a writable image, and none with an external data file', async () => {
    const reader = await openQcow2(image(), { options: { 'read-only': true }, perm: 1 })
    expect(await codeOf(() => saveVmstate(reader.rig.node, 0, filled(1, 1)))).toBe('EPERM')
    await reader.close()
    const external = await openQcow2(image({ dataFile: 'plain', data: 0 }), {
      options: { 'data-file': { driver: 'memory', size: 2 * TABLE } },
    })
    expect(await codeOf(() => saveVmstate(external.rig.node, 0, filled(1, 1)))).toBe('ENOTSUP')
    await external.close()
  })

  test('where the larger L1 table cannot be written, the old one stays', async () => {
    const disk = await openQcow2(image())
    const fault = disk.faults.add({ on: 'write', fail: 'ENOSPC' })
    expect(await codeOf(() => saveVmstate(disk.rig.node, 0, filled(10, 1)))).toBe('ENOSPC')
    expect([fault.hits, disk.image.get32(36)]).toEqual([1, 2])
    await saveVmstate(disk.rig.node, 0, filled(10, 2))
    expect(runsOf(await load(disk, 0, 10))).toEqual([[2, 10]])
    await closeSound(disk)
  })
})
