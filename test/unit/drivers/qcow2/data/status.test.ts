// Block status over more than one slice of an L2 table.

import { describe, expect, it } from 'vitest'
import { BDRV_BLOCK_DATA } from '../../../../../src/common/block-status.js'
import { blockStatus } from '../../../../../src/io/block-status.js'
import { FaultPlan, faultDriver } from '../../../../../src/testing/storage/faults.js'
import { storageDriver, storageOf } from '../../../../../src/testing/storage/memory-storage.js'
import { openRig } from '../../../../support/driver-rig.js'
import { handMadeImage } from '../../../../support/qcow2-image.js'

const CLUSTER = 4096
const SLICE = 512
/** Clusters with data: one L2 table has 512 entries, in eight slices. */
const DATA = 500

async function opened() {
  const image = handMadeImage({ clusterBits: 12, data: DATA, size: 512 * CLUSTER })
  const view = new DataView(image.bytes.buffer)
  const l1 = Number(view.getBigUint64(40))
  const l2 = Number(view.getBigUint64(l1) & 0x00ff_ffff_ffff_fe00n)
  const plan = new FaultPlan()
  const tableReads = plan.add({ on: 'read', range: { offset: l2, bytes: CLUSTER }, nth: Infinity })
  const drivers = [storageDriver(storageOf(image.bytes)), faultDriver(plan)]
  const options = {
    driver: 'qcow2',
    'l2-cache-entry-size': SLICE,
    file: { driver: 'fault', file: { driver: 'storage' } },
  }
  return { rig: await openRig(options, { drivers }), plan, tableReads, l2 }
}

describe('a run that goes on over slices that are not in memory', () => {
  it('is found whole, in fewer reads than it has slices', async () => {
    const { rig, tableReads } = await opened()
    const status = await blockStatus(rig.node, 0, 512 * CLUSTER)
    expect(status).toMatchObject({ bytes: DATA * CLUSTER })
    expect(status.bits & BDRV_BLOCK_DATA).toBe(BDRV_BLOCK_DATA)
    expect(tableReads.seen).toBe(3)
    expect(await blockStatus(rig.node, DATA * CLUSTER, 12 * CLUSTER)).toMatchObject({ bytes: 12 * CLUSTER })
    await rig.close()
  })

  it('takes what the cache has for newer than what is read beside it', async () => {
    const { rig } = await opened()
    await rig.backend.discard(200 * CLUSTER, CLUSTER)
    const status = await blockStatus(rig.node, 0, 512 * CLUSTER)
    expect(status).toMatchObject({ bytes: 200 * CLUSTER })
    await rig.close()
  })

  it('ends with an error only where a slice that it needs cannot be read', async () => {
    const { rig, plan, l2 } = await opened()
    plan.add({ on: 'read', range: { offset: l2 + 3 * SLICE, bytes: SLICE }, times: Infinity })
    await expect(blockStatus(rig.node, 0, 512 * CLUSTER)).rejects.toMatchObject({ code: 'EIO' })
    const before = await blockStatus(rig.node, 0, 3 * 64 * CLUSTER)
    expect(before).toMatchObject({ bytes: 3 * 64 * CLUSTER })
    await rig.close()
  })
})
