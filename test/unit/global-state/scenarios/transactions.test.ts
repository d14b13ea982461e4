// Transactions of the threat list: an edit that fails leaves the graph as it was, and permissions are judged on the result.

import { describe, expect, it } from 'vitest'
import { BDRV_CHILD_DATA, BDRV_CHILD_FILTERED, BDRV_CHILD_PRIMARY } from '../../../../src/common/child-role.js'
import {
  BLK_PERM_ALL,
  BLK_PERM_CONSISTENT_READ,
  BLK_PERM_RESIZE,
  BLK_PERM_WRITE,
  BLK_PERM_WRITE_UNCHANGED,
} from '../../../../src/common/permissions.js'
import { forward } from '../../../../src/drivers/filters/forward.js'
import { freezeBackingChain, unfreezeBackingChain } from '../../../../src/global-state/backing-chain.js'
import { type BlockDriver, defineDriver } from '../../../../src/global-state/driver.js'
import { applyPlan } from '../../../../src/global-state/edit/apply-plan.js'
import {
  appendNode,
  dropFilter,
  insertNode,
  replaceNode,
  setBacking,
} from '../../../../src/global-state/edit/graph-edit.js'
import { GraphPlan } from '../../../../src/global-state/edit/plan.js'
import { reopenNodes } from '../../../../src/global-state/life/reopen.js'
import { drained } from '../../../../src/io/drained.js'
import { read } from '../../../../src/io/read.js'
import { ClientRoot } from '../../../../src/testing/client-root.js'
import { StageLog, stagedDriver } from '../../../../src/testing/model/staged-driver.js'
import { Controller } from '../../../../src/testing/storage/controlled.js'
import { GraphWorld, READ_WRITE } from '../../../support/graph-world.js'

function stagedWorld(drivers: readonly BlockDriver[] = []) {
  const controller = new Controller()
  controller.open = true
  const log = new StageLog()
  const world = new GraphWorld({ drivers: [stagedDriver(controller, log), ...drivers] })
  return { world, log, disk: (name: string) => world.open({ driver: 'staged', 'node-name': name, size: 4096 }) }
}

describe('G21: a reopen of three nodes of which the third fails', () => {
  // Drivers are asked for their permissions parents first, the last node named first among those that know nothing of each other.
  it.each([
    ['reopen', 'three'],
    ['permissions', 'one'],
  ])('leaves everything as it was (refused by %s of %s)', async (by, refusing) => {
    const { world, log, disk } = stagedWorld()
    const nodes = [await disk('one'), await disk('two'), await disk('three')]
    const before = world.serialise()
    log.entries.length = 0
    ;(by === 'reopen' ? log.vetoReopen : log.vetoPermissions).add(refusing)
    await world.main(async (main) => {
      const quiet = await drained(...nodes)
      const inside = world.serialise()
      const requests = nodes.map((node) => ({ node, options: { 'read-only': true, tag: 'new' }, keepOld: true }))
      await expect(reopenNodes(main, quiet, requests)).rejects.toMatchObject({
        code: 'EACCES',
        node: refusing,
      })
      expect(world.serialise()).toBe(inside)
      quiet.end()
    })
    expect(world.serialise()).toBe(before)
    expect(log.faults).toEqual([])
    expect([...log.open]).toEqual([])
    const begun = log.entries.filter((entry) => entry.startsWith('begin ')).map((entry) => entry.slice(6))
    const aborted = log.entries.filter((entry) => entry.startsWith('abort ')).map((entry) => entry.slice(6))
    expect(begun.length).toBeGreaterThan(0)
    expect(aborted).toEqual([...begun].reverse())
  })

  it('succeeds as a whole otherwise, each step committed once', async () => {
    const { world, log, disk } = stagedWorld()
    const nodes = [await disk('one'), await disk('two'), await disk('three')]
    log.entries.length = 0
    await world.main(async (main) => {
      const quiet = await drained(...nodes)
      await reopenNodes(
        main,
        quiet,
        nodes.map((node) => ({ node, options: { 'read-only': true, tag: 'new' }, keepOld: true })),
      )
      quiet.end()
    })
    expect(nodes.map((node) => [node.readOnly, node.options.tag])).toEqual(nodes.map(() => [true, 'new']))
    expect(log.entries.filter((entry) => entry.startsWith('commit reopen'))).toHaveLength(3)
    expect(log.faults).toEqual([])
  })
})

describe('G22: a permission conflict found after half of a transaction', () => {
  it('changes nothing; the error names both users and the permission', async () => {
    const { world, log, disk } = stagedWorld()
    const base = await disk('base')
    const other = await disk('other')
    await world.open({ driver: 'throttle', 'node-name': 'top', file: 'other' })
    const guard = new ClientRoot(world.graph, 'guard')
    await world.main((main) =>
      guard.attach(main, base, 'watched', { perm: BLK_PERM_CONSISTENT_READ, shared: BLK_PERM_ALL & ~BLK_PERM_WRITE }),
    )
    await world.backend(world.graph.node('top'), { name: 'virtio0' })
    const before = world.serialise()
    log.entries.length = 0
    await world.main(async (main) => {
      const quiet = await drained(base, other)
      await expect(replaceNode(main, quiet, other, base)).rejects.toMatchObject({
        code: 'EPERM',
        node: 'base',
        message: expect.stringMatching(
          /node 'top' uses 'write' \(as 'file'\), which client 'guard' does not allow \(as 'watched'\)/,
        ),
      })
      quiet.end()
    })
    expect(world.serialise()).toBe(before)
    expect(log.open.size).toBe(0)
    expect(log.faults).toEqual([])
  })

  it('aborts what drivers had prepared when a later one refuses', async () => {
    const { world, log, disk } = stagedWorld()
    const [a, b] = [await disk('a'), await disk('b')]
    await world.backend(a, { name: 'virtio0' })
    const before = world.serialise()
    log.entries.length = 0
    log.vetoPermissions.add('a')
    await world.main(async (main) => {
      const quiet = await drained(a, b)
      await expect(replaceNode(main, quiet, a, b)).rejects.toMatchObject({ code: 'EACCES', node: 'a' })
      quiet.end()
    })
    expect(world.serialise()).toBe(before)
    expect(log.entries).toEqual(['begin permissions b', 'abort permissions b'])
  })
})

describe('a driver that refuses permissions', () => {
  it('keeps a backend from changing what it asks for', async () => {
    const { world, log, disk } = stagedWorld()
    const a = await disk('a')
    const backend = await world.backend(a, { perm: BLK_PERM_CONSISTENT_READ })
    const before = world.serialise()
    log.vetoPermissions.add('a')
    await expect(world.main((main) => backend.setPermissions(main, READ_WRITE, BLK_PERM_ALL))).rejects.toMatchObject({
      code: 'EACCES',
    })
    expect(world.serialise()).toBe(before)
    await world.main((main) => backend.setPermissions(main, READ_WRITE, BLK_PERM_ALL))
  })

  it('cannot stop what only takes away: detach, close, and the undoing of a failed open', async () => {
    const { world, log, disk } = stagedWorld()
    const a = await disk('a')
    const top = await world.open({ driver: 'throttle', 'node-name': 'top', file: 'a' })
    const backend = await world.backend(a)
    log.vetoPermissions.add('a')
    await world.main((main) => backend.close(main))
    log.vetoPermissions.add('a')
    await world.close(top)
    expect([a.parents.size, [...world.graph.nodes.keys()]]).toEqual([0, ['a']])
    expect(world.eventsOf('background-error')).toMatchObject([{ node: 'a' }, { node: 'a' }])
    expect([log.open.size, log.faults]).toEqual([0, []])
  })
})

/** A format that takes exclusive write on the child it has selected, and nothing on the other. */
const selector = defineDriver({
  name: 'selector',
  kind: 'format',
  options: {},
  childNames: ['left', 'right'],
  async open(context) {
    const left = await context.child('left', BDRV_CHILD_DATA)
    await context.child('right', BDRV_CHILD_DATA)
    return { io: { length: () => 4096, read: (offset, into) => read(left, offset, into) }, state: { selected: 'left' } }
  },
  childPermissions: (state, child) =>
    child.name === state.selected
      ? { perm: BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE, shared: BLK_PERM_ALL & ~BLK_PERM_WRITE }
      : { perm: 0, shared: BLK_PERM_ALL },
}) as BlockDriver

/** A filter that lets nobody else write. */
const exclusive = defineDriver({
  name: 'exclusive',
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
  childPermissions: (_state, _child, asked) => ({
    perm: asked.perm | BLK_PERM_WRITE,
    shared: asked.shared & ~BLK_PERM_WRITE,
  }),
}) as BlockDriver

describe('G23: a driver that takes exclusive write on a selected child selects the other', () => {
  it('succeeds, since parents are looked at before their shared base', async () => {
    const world = new GraphWorld({ drivers: [selector] })
    const base = await world.memory('base')
    await world.open({ driver: 'throttle', 'node-name': 'left', file: 'base' })
    await world.open({ driver: 'throttle', 'node-name': 'right', file: 'base' })
    const top = await world.open({ driver: 'selector', 'node-name': 'top', left: 'left', right: 'right' })
    const permissions = () => [...base.parents].map((edge) => [edge.parent.describe(), edge.perm & BLK_PERM_WRITE])
    expect(permissions()).toEqual([
      ["node 'left'", BLK_PERM_WRITE],
      ["node 'right'", 0],
    ])
    ;(top.driverState as { selected: string }).selected = 'right'
    await world.main((main) =>
      main.call('select', world.graph.environment, async (call) => {
        const plan = new GraphPlan()
        plan.refresh(top)
        await applyPlan(call, plan, undefined, 'select')
      }),
    )
    expect(permissions()).toEqual([
      ["node 'left'", 0],
      ["node 'right'", BLK_PERM_WRITE],
    ])
  })
})

describe('G24: a filter that does not share write', () => {
  it('can be inserted between a writer and its node', async () => {
    const world = new GraphWorld({ drivers: [exclusive] })
    const base = await world.memory('base')
    const backend = await world.backend(base)
    const filter = await world.main(async (main) => {
      const quiet = await drained(base)
      try {
        return await insertNode(main, quiet, base, { driver: 'exclusive', 'node-name': 'guard' })
      } finally {
        quiet.end()
      }
    })
    expect(backend.node).toBe(filter)
    await backend.write(0, new Uint8Array(512).fill(3))
    await world.main(async (main) => {
      const quiet = await drained(filter, base)
      await dropFilter(main, quiet, filter)
      quiet.end()
    })
    expect(backend.node).toBe(base)
    expect(base.parents.size).toBe(1)
  })

  it('cannot be opened as a side branch', async () => {
    const world = new GraphWorld({ drivers: [exclusive] })
    const base = await world.memory('base')
    await world.backend(base, { name: 'virtio0' })
    const before = world.serialise()
    await expect(world.open({ driver: 'exclusive', 'node-name': 'guard', file: 'base' })).rejects.toMatchObject({
      code: 'EPERM',
      message: expect.stringMatching(/block device 'virtio0' uses 'write'.*node 'guard' does not allow/),
    })
    expect(world.serialise()).toBe(before)
    // The name that was reserved for it is free again.
    expect((await world.memory('guard')).nodeName).toBe('guard')
  })
})

describe('G25: replacing a node by one that has it below', () => {
  it('leaves the edge inside the subtree alone: no ring', async () => {
    const world = new GraphWorld()
    const base = await world.memory('base')
    const backend = await world.backend(base)
    const filter = await world.open({ driver: 'throttle', 'node-name': 'filter', file: 'base' })
    const top = await world.open({ driver: 'throttle', 'node-name': 'top', file: 'filter' })
    await world.main(async (main) => {
      const quiet = await drained(base, top)
      await replaceNode(main, quiet, base, top)
      quiet.end()
    })
    expect(backend.node).toBe(top)
    expect([top.file?.node, filter.file?.node]).toEqual([filter, base])
    expect(base.parents.size).toBe(1)
  })

  it('refuses an edit that would close a ring', async () => {
    const world = new GraphWorld()
    const base = await world.open({ driver: 'overlay', 'node-name': 'base', size: 4096 })
    const top = await world.open({ driver: 'overlay', 'node-name': 'top', backing: 'base' })
    const before = world.serialise()
    await world.main(async (main) => {
      const quiet = await drained(base, top)
      await expect(setBacking(main, quiet, base, top)).rejects.toMatchObject({
        code: 'EINVAL',
        message: expect.stringMatching(/cycle/),
      })
      quiet.end()
    })
    expect(world.serialise()).toBe(before)
  })
})

describe('G26: a frozen link', () => {
  it('is refused by delete, reopen, replace, append and set-backing; nothing changes', async () => {
    const world = new GraphWorld()
    const base = await world.memory('base')
    const other = await world.memory('other')
    const top = await world.open({ driver: 'overlay', 'node-name': 'top', backing: 'base' })
    await world.main(async (main) => freezeBackingChain(main, top))
    const before = world.serialise()
    const refused = { code: 'EPERM', message: expect.stringMatching(/frozen/) }
    const overlay = await world.open({ driver: 'overlay', 'node-name': 'overlay', size: 65536 })
    const withOverlay = world.serialise()
    await world.main(async (main) => {
      const quiet = await drained(top, base, other, overlay)
      const inside = world.serialise()
      await expect(setBacking(main, quiet, top, other)).rejects.toMatchObject(refused)
      await expect(setBacking(main, quiet, top, undefined)).rejects.toMatchObject(refused)
      await expect(replaceNode(main, quiet, base, other)).rejects.toMatchObject(refused)
      await expect(appendNode(main, quiet, overlay, base)).rejects.toMatchObject(refused)
      await expect(
        reopenNodes(main, quiet, [{ node: top, options: { backing: 'other' }, keepOld: true }]),
      ).rejects.toMatchObject(refused)
      await expect(
        reopenNodes(main, quiet, [{ node: top, options: { backing: null }, keepOld: true }]),
      ).rejects.toMatchObject(refused)
      expect(world.serialise()).toBe(inside)
      quiet.end()
    })
    expect(world.serialise()).toBe(withOverlay)
    await expect(world.close(top)).rejects.toMatchObject(refused)
    await world.close(overlay)
    expect(world.serialise()).toBe(before)
    await world.main(async (main) => unfreezeBackingChain(main, top))
    await world.close(top)
    expect(base.parents.size).toBe(0)
  })

  it('is not cut when the last user of the node above goes', async () => {
    const world = new GraphWorld()
    await world.memory('base')
    const top = await world.open({ driver: 'overlay', 'node-name': 'top', backing: 'base' })
    const filter = await world.open({ driver: 'throttle', 'node-name': 'filter', file: 'top' })
    await world.main(async (main) => freezeBackingChain(main, top))
    top.holds = 0
    await world.close(filter)
    expect([top.closed, top.backing?.linked]).toEqual([false, true])
    await world.main(async (main) => unfreezeBackingChain(main, top))
    await world.close(top)
    expect(top.closed).toBe(true)
  })
})

describe('permissions of an overlay over a shared base', () => {
  it('follow the backing link when it moves', async () => {
    const world = new GraphWorld()
    const [a, b] = [await world.memory('a'), await world.memory('b')]
    const top = await world.open({ driver: 'overlay', 'node-name': 'top', backing: 'a' })
    await world.backend(top, { perm: READ_WRITE, shared: BLK_PERM_CONSISTENT_READ })
    const pair = (node: typeof a) => [...node.parents].map((edge) => [edge.perm, edge.shared])
    const below = [[BLK_PERM_CONSISTENT_READ, BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED]]
    expect(pair(a)).toEqual(below)
    await world.main(async (main) => {
      const quiet = await drained(top, a, b)
      await setBacking(main, quiet, top, b)
      quiet.end()
    })
    expect([pair(a), pair(b)]).toEqual([[], below])
    await expect(world.backend(b, { perm: BLK_PERM_WRITE | BLK_PERM_RESIZE })).rejects.toMatchObject({ code: 'EPERM' })
    await world.backend(a, { perm: BLK_PERM_WRITE | BLK_PERM_RESIZE })
  })
})
