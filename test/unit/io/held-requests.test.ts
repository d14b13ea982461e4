// Requests that a section holds at their root: in order, looked at again before they start, and not started behind its back.

import { describe, expect, it } from 'vitest'
import { BDRV_CHILD_FILTERED, BDRV_CHILD_PRIMARY } from '../../../src/common/child-role.js'
import { forward } from '../../../src/drivers/filters/forward.js'
import { createDirtyBitmap } from '../../../src/global-state/bitmaps/bitmaps.js'
import { type BlockDriver, defineDriver } from '../../../src/global-state/driver.js'
import { submit } from '../../../src/io/backend/submit.js'
import type { BlockChild } from '../../../src/io/block-node.js'
import { isDirty } from '../../../src/io/dirty-bitmap.js'
import { drained } from '../../../src/io/drained.js'
import { read } from '../../../src/io/read.js'
import { settleAll } from '../../../src/io/settle-all.js'
import { ClientRoot } from '../../../src/testing/client-root.js'
import { GraphWorld, stateOfPromise } from '../../support/graph-world.js'

const sector = (fill = 1) => new Uint8Array(512).fill(fill)

describe('held requests', () => {
  it('start in the order in which they came', async () => {
    const world = new GraphWorld()
    const disk = await world.disk('disk')
    const backend = await world.backend(disk)
    const section = await drained(disk)
    const writes = [3, 1, 2].map((index) => backend.write(index * 512, sector()))
    section.end()
    await world.settle()
    expect(world.controller.pending.map(({ offset }) => offset)).toEqual([1536, 512, 1024])
    world.controller.releaseAll()
    await Promise.allSettled(writes)
  })

  it('look again whether they may start: a section begun in the same step as another ends holds them still', async () => {
    const world = new GraphWorld()
    const disk = await world.disk('disk')
    const backend = await world.backend(disk)
    const first = await drained(disk)
    const write = backend.write(0, sector())
    await world.settle()
    first.end()
    const second = await drained(disk)
    expect([disk.state.inFlight, backend.root.inFlight, backend.root.held.size]).toEqual([0, 0, 1])
    await world.settle()
    expect(world.controller.pending).toEqual([])
    second.end()
    await world.settle()
    world.controller.releaseAll()
    await write
    expect(world.unrest()).toEqual([])
  })

  it('come before those that arrive when the section has just ended', async () => {
    const world = new GraphWorld()
    const disk = await world.disk('disk')
    const backend = await world.backend(disk)
    const section = await drained(disk)
    const held = backend.write(0, sector())
    await world.settle()
    section.end()
    const late = backend.write(512, sector())
    await world.settle()
    expect(world.controller.pending.map(({ offset }) => offset)).toEqual([0, 512])
    world.controller.releaseAll()
    await Promise.allSettled([held, late])
  })

  it('a root that does not hold passes its requests, and they count', async () => {
    const world = new GraphWorld()
    const disk = await world.disk('disk')
    const backend = await world.backend(disk, { holdWhileDrained: false })
    const begun = backend.write(0, sector())
    const drain = drained(disk)
    const more = backend.write(512, sector())
    await world.settle()
    expect(world.controller.pending).toHaveLength(2)
    expect(world.controller.releaseNext()).toBe(true)
    await begun
    expect(await stateOfPromise(drain)).toBe('pending')
    world.controller.releaseAll()
    await more
    ;(await drain).end()
    expect(world.unrest()).toEqual([])
  })
})

describe('what a drain waits for', () => {
  it('each node above, looked for anew at each wake-up', async () => {
    const world = new GraphWorld()
    const base = await world.memory('base')
    const job = new ClientRoot(world.graph, 'job')
    await world.main((main) => job.attach(main, base))
    const rest = [job.begin(), job.begin(), job.begin()]
    const drain = drained(base)
    for (const done of rest) {
      expect(await stateOfPromise(drain)).toBe('pending')
      done()
    }
    ;(await drain).end()
    expect(world.unrest()).toEqual([])
  })

  it('a request that a root counts while no node has it, as between two steps of a long one', async () => {
    const world = new GraphWorld()
    const disk = await world.memory('disk')
    const { root } = await world.backend(disk)
    let finish: () => void = () => {}
    const request = submit(root, 'read', 0, () => new Promise<void>((resolve) => (finish = resolve)))
    const drain = drained(disk)
    expect(await stateOfPromise(drain)).toBe('pending')
    finish()
    await request
    ;(await drain).end()
    expect(world.unrest()).toEqual([])
  })

  it('a request of an ancestor that has not reached the node yet', async () => {
    const world = new GraphWorld()
    await world.memory('base')
    const top = await world.open({ driver: 'throttle', 'node-name': 'top', file: 'base', 'limits.iops-total': 1 })
    const backend = await world.backend(top)
    const writes = [backend.write(0, sector()), backend.write(512, sector()), backend.write(1024, sector())]
    await world.settle()
    // The throttle lets its requests go for the drain rather than on its timer.
    const section = await drained(world.graph.node('base'))
    expect(world.clock.now()).toBe(0)
    expect(await Promise.all(writes.map(stateOfPromise))).toEqual(['fulfilled', 'fulfilled', 'fulfilled'])
    section.end()
    expect(world.unrest()).toEqual([])
  })
})

describe('a request that waits in a node above', () => {
  it('is waited for though the drained node has not seen it yet', async () => {
    let open: () => void = () => {}
    const gate = new Promise<void>((resolve) => {
      open = resolve
    })
    const slow = defineDriver({
      name: 'slow',
      kind: 'filter',
      options: {},
      childNames: ['file'],
      async open(context) {
        const file = await context.child('file', BDRV_CHILD_FILTERED | BDRV_CHILD_PRIMARY)
        return {
          io: {
            length: () => file.node.state.length,
            read: (offset, into) => gate.then(() => read(file, offset, into)),
          },
          state: undefined,
        }
      },
    }) as BlockDriver
    const world = new GraphWorld({ drivers: [slow] })
    const disk = await world.memory('disk')
    await world.open({ driver: 'slow', 'node-name': 'slow', file: 'disk' })
    const top = await world.open({ driver: 'throttle', 'node-name': 'top', file: 'slow' })
    const backend = await world.backend(top)
    // Submitted as a device does, so that the root holds nothing.
    const reading = read(backend.edge as BlockChild, 0, sector())
    const drain = drained(disk)
    expect([disk.state.inFlight, top.state.inFlight]).toEqual([0, 1])
    expect(await stateOfPromise(drain)).toBe('pending')
    open()
    await reading
    ;(await drain).end()
    expect(world.unrest()).toEqual([])
  })
})

describe('fan-out', () => {
  it('waits for every call before it throws the first error', async () => {
    let finish: () => void = () => {}
    const slow = new Promise<void>((resolve) => {
      finish = resolve
    })
    const all = settleAll([0, 1, 2], (index) => {
      if (index === 0) throw new Error('at once')
      return index === 1 ? Promise.reject(new Error('later')) : slow
    })
    expect(await stateOfPromise(all)).toBe('pending')
    finish()
    await expect(all).rejects.toThrow('at once')
  })
})

/** A filter that knows nothing but reads and writes. */
const plainFilter = defineDriver({
  name: 'plain-filter',
  kind: 'filter',
  options: {},
  childNames: ['file'],
  async open(context) {
    const file = await context.child('file', BDRV_CHILD_FILTERED | BDRV_CHILD_PRIMARY)
    return {
      io: {
        length: () => file.node.state.length,
        read: (offset, into) => read(file, offset, into),
        ...forward(file, 'write'),
      },
      state: undefined,
    }
  },
}) as BlockDriver

describe('a filter', () => {
  it('passes nothing on that it did not see: its discards end, its zeroes become writes', async () => {
    const world = new GraphWorld({ drivers: [plainFilter] })
    const disk = await world.disk('disk', { discard: 'unmap' })
    const filter = await world.open({ driver: 'plain-filter', 'node-name': 'filter', file: 'disk', discard: 'unmap' })
    const backend = await world.backend(filter)
    world.controller.open = true
    await backend.write(0, sector(9))
    world.controller.open = false
    await backend.discard(0, 512)
    expect(world.controller.pending).toEqual([])
    const zeroes = backend.writeZeroes(0, 512)
    await world.settle()
    expect(world.controller.pending.map(({ node, kind }) => [node, kind])).toEqual([['disk', 'write']])
    world.controller.releaseAll()
    await zeroes
    expect(disk.state.inFlight).toBe(0)
  })
})

describe('a bitmap made while a write is in flight', () => {
  it('records it, since nobody knows when it took effect', async () => {
    const world = new GraphWorld()
    const disk = await world.disk('disk')
    const backend = await world.backend(disk)
    const write = backend.write(1024, sector())
    const bitmap = await world.main((main) => createDirtyBitmap(main, disk, { name: 'dirty', granularity: 512 }))
    expect(isDirty(bitmap, 1024)).toBe(false)
    world.controller.releaseAll()
    await write
    expect([0, 512, 1024, 1536].map((offset) => isDirty(bitmap, offset))).toEqual([false, false, true, false])
  })
})
