// Reopening: what is explicit, who inherits from whom, what cannot change, and what follows from new options.

import { describe, expect, it } from 'vitest'
import { type BlockDriver, defineDriver } from '../../../../src/global-state/driver.js'
import { setBacking } from '../../../../src/global-state/edit/graph-edit.js'
import { type ReopenRequest, reopenNodes, reopenReadOnly } from '../../../../src/global-state/life/reopen.js'
import { integerOption } from '../../../../src/global-state/options/option-schema.js'
import { drained } from '../../../../src/io/drained.js'
import { enableCopyOnRead } from '../../../../src/io/gates.js'
import { GraphWorld } from '../../../support/graph-world.js'

/** A protocol with a file name and an option that a reopen may change to what makes its limits impossible. */
const tape = defineDriver({
  name: 'file',
  kind: 'protocol',
  options: { filename: { type: 'string', required: true, read: String }, alignment: integerOption({ default: 512 }) },
  mutableOptions: ['alignment'],
  open: (_context, options) => ({
    io: { length: () => 65536, read: () => {}, write: () => {} },
    state: { alignment: options.alignment },
  }),
  refreshLimits(state, limits) {
    limits.requestAlignment = state.alignment
  },
  reopen: (state, { options }) => ({
    commit() {
      state.alignment = options.alignment
    },
    abort() {},
  }),
}) as BlockDriver

const reopen = (world: GraphWorld, ...requests: ReopenRequest[]) =>
  world.main(async (main) => {
    const quiet = await drained(...requests.map((request) => request.node))
    try {
      await reopenNodes(main, quiet, requests)
    } finally {
      quiet.end()
    }
  })

describe('explicit options', () => {
  it.each([
    { driver: 'raw', filename: 'disk.img' },
    { filename: 'json:{"driver":"raw","file":{"driver":"file","filename":"disk.img"}}', driver: 'raw' },
  ])('a node opened by a file name can be reopened: %j', async (options) => {
    const world = new GraphWorld({ drivers: [tape] })
    const node = await world.open({ ...options, 'node-name': 'disk' })
    await world.main(async (main) => {
      const quiet = await drained(node)
      await reopenReadOnly(main, quiet, node, true)
      quiet.end()
    })
    expect([node.readOnly, node.file?.node.readOnly]).toEqual([true, true])
  })

  it('what a child inherited is not explicit, and follows its parent', async () => {
    const world = new GraphWorld()
    const node = await world.open({ driver: 'raw', file: { driver: 'memory', size: 4096 }, 'read-only': true })
    expect(node.file?.node.explicitOptions).toEqual({ driver: 'memory', size: 4096 })
  })
})

describe('several requests', () => {
  it('two requests for one node are one', async () => {
    const world = new GraphWorld()
    const node = await world.memory('disk')
    const keepOld = true
    await reopen(
      world,
      { node, options: { 'detect-zeroes': 'on' }, keepOld },
      { node, options: { discard: 'unmap' }, keepOld },
    )
    expect([node.detectZeroes, node.options.discard]).toEqual(['on', 'unmap'])
  })

  it.each([false, true])('a child named beside its parent inherits what the parent will have', async (childFirst) => {
    const world = new GraphWorld()
    const node = await world.open({ driver: 'raw', file: { driver: 'memory', size: 4096 } })
    const child = node.file?.node
    if (child === undefined) throw new Error('no child')
    const requests = [
      { node, options: { 'read-only': true }, keepOld: true },
      { node: child, options: { 'detect-zeroes': 'on' }, keepOld: true },
    ]
    await reopen(world, ...(childFirst ? requests.reverse() : requests))
    expect([node.readOnly, child.readOnly, child.detectZeroes]).toEqual([true, true, 'on'])
  })
})

describe('what cannot change', () => {
  it('force-share is for life, since others rely on what it shares', async () => {
    const world = new GraphWorld()
    const node = await world.memory('disk', { 'read-only': true })
    const before = world.serialise()
    const request = { node, options: { 'force-share': true }, keepOld: true }
    await expect(reopen(world, request)).rejects.toThrow(/'force-share' cannot change/)
    expect(world.serialise()).toBe(before)
  })

  it('a node that copies on read stays writable', async () => {
    const world = new GraphWorld()
    const node = await world.memory('disk')
    enableCopyOnRead(node)
    const request = { node, options: { 'read-only': true }, keepOld: true }
    await expect(reopen(world, request)).rejects.toThrow(/copy-on-read is on/)
    expect(node.readOnly).toBe(false)
  })
})

describe('what follows', () => {
  it('a moved window has its new length', async () => {
    const world = new GraphWorld()
    await world.memory('file')
    const node = await world.open({ driver: 'raw', offset: 512, size: 4096, file: 'file' })
    await reopen(world, { node, options: { size: 8192 }, keepOld: true })
    expect(node.state.length).toBe(8192)
  })

  it('limits that turn out impossible are reported; the reopen is done and says so', async () => {
    const world = new GraphWorld({ drivers: [tape] })
    const node = await world.open({ driver: 'file', filename: 'x' })
    await reopen(world, { node, options: { alignment: 700 }, keepOld: true })
    expect(node.options.alignment).toBe(700)
    expect(world.eventsOf('background-error')).toHaveLength(1)
    expect(node.state.limits.requestAlignment).toBe(512)
  })

  it('a backing file that was taken away no longer belongs to the node that opened it', async () => {
    const world = new GraphWorld()
    const top = await world.open({ driver: 'overlay', backing: { driver: 'memory', 'node-name': 'base', size: 4096 } })
    const base = world.graph.node('base')
    base.holds += 1
    await world.main(async (main) => {
      const quiet = await drained(top, base)
      await setBacking(main, quiet, top, undefined)
      quiet.end()
    })
    expect(base.inheritsFrom).toBeUndefined()
  })
})
