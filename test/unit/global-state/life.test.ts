// Close, reopen, activation, and the small questions one asks of a graph: lookup, op blockers, freezing, names, replaceability.

import { describe, expect, it } from 'vitest'
import { BLK_PERM_CONSISTENT_READ, BLK_PERM_WRITE } from '../../../src/common/permissions.js'
import {
  chainContains,
  chainDepth,
  findBase,
  findOverlay,
  freezeBackingChain,
  unfreezeBackingChain,
} from '../../../src/global-state/backing-chain.js'
import { activate, activateAll, inactivateAll } from '../../../src/global-state/life/activation.js'
import { type ReopenRequest, reopenNodes, reopenReadOnly } from '../../../src/global-state/life/reopen.js'
import { backendOf, deviceOrNodeName, findNode, lookupNode, rootNodes } from '../../../src/global-state/lookup.js'
import { exactFilename, nodeFilename } from '../../../src/global-state/node-filename.js'
import {
  blockAllOps,
  blockedOps,
  blockOp,
  refuseBlockedOp,
  unblockAllOps,
  unblockOp,
} from '../../../src/global-state/op-blockers.js'
import { canReplace, nodeToReplace } from '../../../src/global-state/replaceable.js'
import { drainedNodes } from '../../../src/io/drained.js'
import { StageLog, stagedDriver } from '../../../src/testing/model/staged-driver.js'
import { Controller } from '../../../src/testing/storage/controlled.js'
import { FaultPlan, faultDriver } from '../../../src/testing/storage/faults.js'
import { GraphWorld } from '../../support/graph-world.js'

async function reopen(world: GraphWorld, ...requests: ReopenRequest[]): Promise<void> {
  await world.main(async (main) => {
    const quiet = await drainedNodes(requests.map(({ node }) => node))
    try {
      await reopenNodes(main, quiet, requests)
    } finally {
      quiet.end()
    }
  })
}

describe('close', () => {
  it('is refused with EBUSY while somebody uses the node, and names the user', async () => {
    const world = new GraphWorld()
    const disk = await world.memory('disk')
    const backend = await world.backend(disk, { name: 'virtio0' })
    const before = world.serialise()
    await expect(world.close(disk)).rejects.toMatchObject({
      code: 'EBUSY',
      message: expect.stringMatching(/block device 'virtio0'/),
    })
    expect(world.serialise()).toBe(before)
    await world.main((main) => backend.close(main))
    await world.close(disk)
  })

  it('takes along what nobody else refers to, and nothing else', async () => {
    const world = new GraphWorld()
    await world.memory('kept')
    const top = await world.open({
      driver: 'overlay',
      'node-name': 'top',
      backing: { driver: 'overlay', 'node-name': 'mid', backing: 'kept' },
    })
    await world.close(top)
    expect([...world.graph.nodes.keys()]).toEqual(['kept'])
    expect(world.graph.node('kept').parents.size).toBe(0)
  })

  it('reports the error of the last flush when everything is closed', async () => {
    const plan = new FaultPlan()
    const world = new GraphWorld({ drivers: [faultDriver(plan)] })
    await world.memory('disk')
    const top = await world.open({ driver: 'fault', 'node-name': 'top', file: 'disk' })
    const backend = await world.backend(top)
    await backend.write(0, new Uint8Array(512))
    await world.main((main) => backend.close(main))
    plan.add({ on: 'flush', fail: 'ENOSPC' })
    await expect(world.close(top)).rejects.toMatchObject({ code: 'ENOSPC' })
    expect([top.closed, [...world.graph.nodes.keys()]]).toEqual([true, ['disk']])
    expect(world.unrest()).toEqual([])
  })

  it('is refused while operations are blocked', async () => {
    const world = new GraphWorld()
    const disk = await world.memory('disk')
    const reason = { message: 'a backup runs' }
    await world.main(async (main) => blockOp(main, disk, 'resize', reason))
    await expect(world.close(disk)).rejects.toMatchObject({
      code: 'EBUSY',
      message: expect.stringMatching(/a backup runs/),
    })
    await world.main(async (main) => unblockOp(main, disk, 'resize', reason))
    await world.close(disk)
  })

  it('fails requests to a closed node with ENOMEDIUM', async () => {
    const world = new GraphWorld()
    const disk = await world.memory('disk')
    const backend = await world.backend(disk)
    await world.main((main) => backend.remove(main))
    await world.close(disk)
    await expect(backend.read(0, new Uint8Array(512))).rejects.toMatchObject({ code: 'ENOMEDIUM' })
  })
})

describe('reopen', () => {
  it('passes read-only on to the children that the options made, and to no others', async () => {
    const world = new GraphWorld()
    await world.memory('other')
    const top = await world.open({
      driver: 'raw',
      'node-name': 'top',
      file: { driver: 'throttle', 'node-name': 'mid', file: 'other' },
    })
    await reopen(world, { node: top, options: { 'read-only': true }, keepOld: true })
    expect(['top', 'mid', 'other'].map((name) => world.graph.node(name).readOnly)).toEqual([true, true, false])
    await reopen(world, { node: top, options: { 'read-only': false }, keepOld: true })
    expect(world.graph.node('mid').readOnly).toBe(false)
  })

  it('without keepOld goes back to defaults', async () => {
    const world = new GraphWorld()
    const disk = await world.memory('disk', { 'read-only': true, 'cache.no-flush': true })
    await reopen(world, { node: disk, options: { size: 65536, 'cache.no-flush': true } })
    expect([disk.readOnly, disk.options['cache.no-flush']]).toEqual([false, true])
  })

  it('with keepOld keeps what was inherited from an owner that is gone', async () => {
    const world = new GraphWorld()
    const top = await world.open({
      driver: 'overlay',
      'node-name': 'top',
      backing: { driver: 'memory', 'node-name': 'base', size: 4096 },
    })
    const base = world.graph.node('base')
    await world.backend(base, { perm: BLK_PERM_CONSISTENT_READ })
    await world.close(top)
    expect(base.readOnly).toBe(true)
    await reopen(world, { node: base, options: { 'cache.no-flush': true }, keepOld: true })
    expect([base.readOnly, base.options['cache.no-flush']]).toEqual([true, true])
  })

  const refused: [string, Record<string, unknown>, RegExp][] = [
    ['an option the driver cannot change', { size: 8192 }, /cannot change the option 'size'/],
    ['another driver', { driver: 'null-co' }, /'driver' cannot change/],
    ['another name', { 'node-name': 'new' }, /'node-name' cannot change/],
    ['an unknown option', { colour: 'red' }, /does not support the option 'colour'/],
    ['force-share of a writable node', { 'force-share': true }, /force-share/],
  ]
  it.each(refused)('refuses %s', async (_what, options, message) => {
    const world = new GraphWorld()
    const disk = await world.memory('disk')
    const before = world.serialise()
    await expect(reopen(world, { node: disk, options, keepOld: true })).rejects.toMatchObject({
      code: 'EINVAL',
      message: expect.stringMatching(message),
    })
    expect(world.serialise()).toBe(before)
  })

  it('refuses to take writing away from a writer', async () => {
    const world = new GraphWorld()
    const disk = await world.memory('disk')
    await world.backend(disk, { name: 'virtio0' })
    await expect(reopen(world, { node: disk, options: { 'read-only': true }, keepOld: true })).rejects.toMatchObject({
      code: 'EPERM',
      message: expect.stringMatching(/virtio0/),
    })
  })

  it('wants the nodes drained', async () => {
    const world = new GraphWorld()
    const [disk, other] = [await world.memory('disk'), await world.memory('other')]
    await world.main(async (main) => {
      const quiet = await drainedNodes([other])
      await expect(reopenReadOnly(main, quiet, disk, true)).rejects.toMatchObject({
        code: 'EINVAL',
        message: expect.stringMatching(/not drained/),
      })
      quiet.end()
    })
  })

  it('changes the backing file by name, and insists on hearing of one that exists', async () => {
    const world = new GraphWorld()
    const [a, b] = [await world.memory('a'), await world.memory('b')]
    const top = await world.open({ driver: 'overlay', 'node-name': 'top', backing: 'a' })
    await reopen(world, { node: top, options: { backing: 'b' }, keepOld: true })
    expect([top.backing?.node, a.parents.size, b.parents.size]).toEqual([b, 0, 1])
    await expect(reopen(world, { node: top, options: {} })).rejects.toMatchObject({
      code: 'EINVAL',
      message: expect.stringMatching(/backing/),
    })
    await reopen(world, { node: top, options: { backing: null } })
    expect(top.backing).toBeUndefined()
    await expect(reopen(world, { node: b, options: { backing: 'a' }, keepOld: true })).rejects.toMatchObject({
      code: 'EINVAL',
    })
    expect(world.unrest()).toEqual([])
  })

  it('lets the driver prepare, and commits once', async () => {
    const log = new StageLog()
    const controller = new Controller()
    controller.open = true
    const world = new GraphWorld({ drivers: [stagedDriver(controller, log)] })
    const disk = await world.open({ driver: 'staged', 'node-name': 'disk', tag: 'old' })
    log.entries.length = 0
    await reopen(world, { node: disk, options: { tag: 'new' }, keepOld: true })
    expect([log.entries, disk.options.tag]).toEqual([['begin reopen disk', 'commit reopen disk'], 'new'])
    log.vetoReopen.add('disk')
    await expect(reopen(world, { node: disk, options: { tag: 'third' }, keepOld: true })).rejects.toMatchObject({
      code: 'EACCES',
    })
    expect(disk.options.tag).toBe('new')
  })
})

describe('activation', () => {
  it('inactive nodes take no writes; their users may come back', async () => {
    const world = new GraphWorld()
    const disk = await world.memory('disk')
    const top = await world.open({ driver: 'overlay', 'node-name': 'top', backing: 'disk' })
    const reader = await world.backend(top, { perm: BLK_PERM_CONSISTENT_READ })
    await world.main((main) => inactivateAll(main, world.graph))
    expect([disk.inactive, top.inactive]).toEqual([true, true])
    await expect(world.backend(top, { name: 'writer' })).rejects.toMatchObject({
      code: 'EPERM',
      message: expect.stringMatching(/inactive/),
    })
    await reader.read(0, new Uint8Array(512))
    await world.main((main) => activate(main, top))
    expect([disk.inactive, top.inactive]).toEqual([false, false])
    const writer = await world.backend(top, { name: 'writer' })
    await writer.write(0, new Uint8Array(512))
    expect(world.unrest()).toEqual([])
  })

  it('refuses while somebody writes, and everything is active as before', async () => {
    const world = new GraphWorld()
    const disk = await world.memory('disk')
    await world.memory('free')
    await world.backend(disk)
    const before = world.serialise()
    await expect(world.main((main) => inactivateAll(main, world.graph))).rejects.toMatchObject({
      code: 'EPERM',
      node: 'disk',
    })
    expect(world.serialise()).toBe(before)
    await world.main((main) => activateAll(main, world.graph))
    expect(world.serialise()).toBe(before)
  })
})

describe('lookup', () => {
  it('finds nodes and backends, and lists each root once', async () => {
    const world = new GraphWorld()
    const disk = await world.memory('disk')
    const held = await world.memory('held')
    const backend = await world.backend(disk, { name: 'virtio0' })
    await world.backend(disk, { name: 'reader', perm: BLK_PERM_CONSISTENT_READ })
    const empty = await world.backend(undefined, { name: 'cd0' })
    expect([findNode(world.graph, 'disk'), findNode(world.graph, 'none')]).toEqual([disk, undefined])
    expect([lookupNode(world.graph, 'virtio0'), lookupNode(world.graph, 'held')]).toEqual([disk, held])
    expect(() => lookupNode(world.graph, 'cd0')).toThrow(/no medium/)
    expect(() => lookupNode(world.graph, 'none')).toThrow(/no node 'none'/)
    expect([...rootNodes(world.graph)]).toEqual([disk, held])
    expect([backendOf(world.graph, disk), backendOf(world.graph, held)]).toEqual([backend, undefined])
    expect([deviceOrNodeName(world.graph, disk), deviceOrNodeName(world.graph, held)]).toEqual(['virtio0', 'held'])
    expect(() => empty.length).toThrow(/no medium/)
  })
})

describe('op blockers', () => {
  it('count reasons by identity and give them back', async () => {
    const world = new GraphWorld()
    const disk = await world.memory('disk')
    const [job, other] = [{ message: 'a job runs' }, { message: 'a job runs' }]
    await world.main(async (main) => {
      blockAllOps(main, disk, job, ['dataplane'])
      blockOp(main, disk, 'resize', other)
      expect(() => refuseBlockedOp(disk, 'resize')).toThrow(/node is busy: a job runs/)
      refuseBlockedOp(disk, 'dataplane')
      unblockAllOps(main, disk, job)
      expect([...blockedOps(disk).keys()]).toEqual(['resize'])
      unblockOp(main, disk, 'resize', other)
    })
    expect(disk.hasOpBlockers).toBe(false)
    refuseBlockedOp(disk, 'resize')
  })

  it('an overlay blocks most operations on its backing file', async () => {
    const world = new GraphWorld()
    const base = await world.memory('base')
    await world.open({ driver: 'overlay', 'node-name': 'top', backing: 'base' })
    expect(() => refuseBlockedOp(base, 'resize')).toThrow(/backing file of node 'top'/)
    refuseBlockedOp(base, 'stream')
    expect(base.hasOpBlockers).toBe(false)
  })
})

describe('the backing chain', () => {
  it('is walked through filters, and frozen link by link', async () => {
    const world = new GraphWorld()
    const base = await world.memory('base')
    const filter = await world.open({ driver: 'throttle', 'node-name': 'filter', file: 'base' })
    const mid = await world.open({ driver: 'overlay', 'node-name': 'mid', backing: 'filter' })
    const top = await world.open({ driver: 'overlay', 'node-name': 'top', backing: 'mid' })
    expect([findBase(top), findOverlay(top, base), findOverlay(top, mid), findOverlay(top, undefined)]).toEqual([
      base,
      mid,
      top,
      base,
    ])
    expect([chainDepth(top), chainContains(top, filter), chainContains(mid, top)]).toEqual([3, true, false])
    await world.main(async (main) => {
      freezeBackingChain(main, top, mid)
      freezeBackingChain(main, mid, base)
      expect(() => freezeBackingChain(main, top)).toThrow(/frozen/)
      unfreezeBackingChain(main, top, mid)
      expect([top.backing?.frozen, mid.backing?.frozen, filter.file?.frozen]).toEqual([false, true, true])
      expect(() => unfreezeBackingChain(main, top, base)).toThrow(/not frozen/)
      expect([top.backing?.frozen, mid.backing?.frozen]).toEqual([false, true])
    })
  })
})

describe('names and replaceability', () => {
  it('has an exact name or says it all in json:', async () => {
    const world = new GraphWorld()
    const plain = await world.open({ driver: 'raw', 'node-name': 'plain', file: { driver: 'null-co' } })
    expect(exactFilename(plain)).toBe('null-co://')
    const window = await world.open({ driver: 'raw', 'node-name': 'window', offset: 512, file: { driver: 'null-co' } })
    expect(exactFilename(window)).toBeUndefined()
    const name = nodeFilename(window)
    expect(JSON.parse(name.slice(5))).toEqual({ driver: 'raw', offset: 512, file: { driver: 'null-co' } })
    const again = await world.open({ filename: name, 'node-name': 'again' })
    expect(again.state.length).toBe(window.state.length)
  })

  it('lets a node be replaced only where it surely shows the same data', async () => {
    const world = new GraphWorld()
    const base = await world.memory('base')
    const filter = await world.open({ driver: 'throttle', 'node-name': 'filter', file: 'base' })
    const overlay = await world.open({ driver: 'overlay', 'node-name': 'overlay', backing: 'filter' })
    expect([canReplace(filter, base), canReplace(overlay, base), canReplace(overlay, overlay)]).toEqual([
      true,
      false,
      true,
    ])
    expect(nodeToReplace(world.graph, overlay, 'overlay')).toBe(overlay)
    expect(() => nodeToReplace(world.graph, filter, 'filter')).toThrow(/backing file of node 'overlay'/)
    expect(() => nodeToReplace(world.graph, overlay, 'base')).toThrow(/may show other data/)
    await world.main(async (main) => blockOp(main, overlay, 'replace', { message: 'mirror' }))
    expect(() => nodeToReplace(world.graph, overlay, 'overlay')).toThrow(/mirror/)
  })
})

describe('permissions of a backend', () => {
  it('change at once or not at all; loosening always works', async () => {
    const world = new GraphWorld()
    const disk = await world.memory('disk')
    const [a, b] = [
      await world.backend(disk, { name: 'a' }),
      await world.backend(disk, { name: 'b', perm: BLK_PERM_CONSISTENT_READ }),
    ]
    await expect(
      world.main((main) => b.setPermissions(main, BLK_PERM_CONSISTENT_READ, BLK_PERM_CONSISTENT_READ)),
    ).rejects.toMatchObject({ code: 'EPERM' })
    expect(b.permissions).toEqual({ perm: BLK_PERM_CONSISTENT_READ, shared: 15 })
    await world.main((main) => a.setPermissions(main, 0, 15))
    await world.main((main) => b.setPermissions(main, BLK_PERM_CONSISTENT_READ, BLK_PERM_CONSISTENT_READ))
    await expect(world.main((main) => a.setPermissions(main, BLK_PERM_WRITE, 15))).rejects.toMatchObject({
      code: 'EPERM',
    })
    expect(a.edge).toMatchObject({ perm: 0, shared: 15 })
  })

  it('of one without a medium are kept until it has one', async () => {
    const world = new GraphWorld()
    const disk = await world.memory('disk', { 'read-only': true })
    const backend = await world.backend(undefined, { name: 'cd0' })
    await expect(world.main((main) => backend.insert(main, disk))).rejects.toMatchObject({ code: 'EPERM' })
    expect([backend.node, disk.parents.size]).toEqual([undefined, 0])
    await world.main((main) => backend.setPermissions(main, BLK_PERM_CONSISTENT_READ, 15))
    await world.main((main) => backend.insert(main, disk))
    await expect(world.main((main) => backend.insert(main, disk))).rejects.toMatchObject({ code: 'EBUSY' })
    expect(backend.node).toBe(disk)
  })
})
