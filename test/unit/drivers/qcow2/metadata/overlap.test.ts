// The cheap guard of every overwrite, in an image with snapshots: their tables are known by their clusters.

import { expect, test } from 'vitest'
import { host } from '../../../../../src/drivers/qcow2/format/layout.js'
import { mayOverlap, overlapOf } from '../../../../../src/drivers/qcow2/metadata/overlap.js'
import type { Qcow2State } from '../../../../../src/drivers/qcow2/state.js'
import { createSnapshot, deleteSnapshot } from '../../../../../src/global-state/snapshot.js'
import { withDrained } from '../../../../../src/io/drained.js'
import { nodeInfo } from '../../../../../src/io/node-info.js'
import { FaultPlan, faultDriver } from '../../../../../src/testing/storage/faults.js'
import { storageDriver, storageOf } from '../../../../../src/testing/storage/memory-storage.js'
import { openRig } from '../../../../support/driver-rig.js'
import { emptyImage, handMadeImage } from '../../../../support/qcow2-image.js'

test('tables of snapshots are known as long as there are any', async () => {
  const store = storageOf(handMadeImage({ data: 8 }).bytes)
  const rig = await openRig({ driver: 'qcow2', file: { driver: 'storage' } }, { drivers: [storageDriver(store)] })
  const { graph, node } = rig
  const state = node.driverState as Qcow2State
  const data = host(7 * 512)
  expect(mayOverlap(state, data, 512)).toBe(false)
  await graph.mainLoop((main) => withDrained([node], (quiet) => createSnapshot(main, quiet, node, { name: 'one' })))
  const place = state.snapshots[0]?.l1TableOffset ?? host(0)
  const table = state.header.snapshotsOffset
  expect([place, table].map((offset) => overlapOf(state, offset, 512, []))).toEqual(['inactive-l1', 'snapshot-table'])
  expect([place, table, data].map((offset) => mayOverlap(state, offset, 512))).toEqual([true, true, false])
  await graph.mainLoop((main) => withDrained([node], (quiet) => deleteSnapshot(main, quiet, node, { name: 'one' })))
  expect([place, table, data].map((offset) => mayOverlap(state, offset, 512))).toEqual([false, false, false])
  expect(await rig.close()).toBe(0)
})

test('VM state begins behind the disk, wherever the data stands', async () => {
  const drivers = [
    storageDriver(storageOf(emptyImage(65_536, { dataFile: 'plain' }))),
    storageDriver(storageOf(new Uint8Array(65_536)), 'data'),
  ]
  const options = { driver: 'qcow2', file: { driver: 'storage' }, 'data-file': { driver: 'data' } }
  const rig = await openRig(options, { drivers })
  expect(await nodeInfo(rig.node)).toMatchObject({ clusterSize: 512, vmStateOffset: 65_536 })
  await rig.close()
})

test('refcounts that cannot be read are told to who needs them, and to nobody else', async () => {
  const plan = new FaultPlan()
  const store = storageOf(handMadeImage({ data: 8 }).bytes)
  const options = { driver: 'qcow2', file: { driver: 'fault', file: { driver: 'storage' } } }
  const rig = await openRig(options, { drivers: [storageDriver(store), faultDriver(plan)] })
  const told: unknown[] = []
  rig.graph.trace.listen((event) => {
    if (event === 'background-error') told.push(event)
  })
  const fault = plan.add({ on: 'read', range: { offset: 1024, bytes: 512 }, times: 2, fail: 'EIO', later: true })
  await expect(rig.backend.write(512 * 20, new Uint8Array(512))).rejects.toMatchObject({ code: 'EIO' })
  expect(fault.hits).toBeGreaterThan(0)
  plan.clear()
  await rig.backend.write(512 * 20, new Uint8Array(512))
  expect(told).toEqual([])
  await rig.close()
})
