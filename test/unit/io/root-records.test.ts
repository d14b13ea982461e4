// Whose record a pending request of a root is in, and that its end is told once whichever that is.

import { describe, expect, it } from 'vitest'
import { BDRV_REQ_PREFETCH } from '../../../src/common/request.js'
import { submitRead } from '../../../src/io/backend/submit.js'
import { GraphWorld, stateOfPromise } from '../../support/graph-world.js'

const sector = () => new Uint8Array(512)

describe('a pending request of a root', () => {
  it('is in the record of its node where it is plain, on the promise of the node', async () => {
    const world = new GraphWorld()
    const disk = await world.disk('disk')
    const { root } = await world.backend(disk)
    const pending = submitRead(root, 0, sector())
    expect(disk.state.first?.issuer).toBe(root.issuers[0])
    expect([disk.state.inFlight, root.inFlight]).toEqual([1, 1])
    world.controller.releaseAll()
    await pending
    expect([disk.state.inFlight, root.inFlight, root.accounting.read.operations]).toEqual([0, 0, 1])
  })

  it('hangs on the promise where it takes the careful path, and counts the same', async () => {
    const world = new GraphWorld()
    const disk = await world.disk('disk')
    const backend = await world.backend(disk)
    const pending = submitRead(backend.root, 0, sector(), BDRV_REQ_PREFETCH)
    expect(disk.state.first?.issuer).toBeUndefined()
    expect([disk.state.inFlight, backend.root.inFlight]).toEqual([1, 1])
    await world.settle()
    world.controller.releaseAll()
    await pending
    expect([disk.state.inFlight, backend.root.inFlight, backend.root.accounting.read.operations]).toEqual([0, 0, 1])
  })

  it('fails a submitter with the error of the node, and an owner by the policy, with the same buffer run again', async () => {
    const world = new GraphWorld()
    const disk = await world.disk('disk')
    const backend = await world.backend(disk)
    const { root } = backend
    root.onReadError = 'stop'
    const submitted = submitRead(root, 0, sector())
    const buffer = sector().fill(7)
    const owned = backend.read(0, buffer)
    for (const request of [...world.controller.pending]) request.fail('EIO')
    await expect(submitted).rejects.toMatchObject({ code: 'EIO', node: 'disk' })
    await world.settle()
    expect(await stateOfPromise(owned)).toBe('pending')
    expect([root.inFlight, root.parked.size, root.accounting.read.failed]).toEqual([0, 1, 2])
    root.parked.startFirst()
    await world.settle()
    world.controller.releaseAll()
    await owned
    expect(buffer).toEqual(sector())
  })
})
