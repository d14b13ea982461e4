// Drain scenarios of the threat list: counters, nesting, and edges that change while something is drained.

import { describe, expect, it } from 'vitest'
import { drainAll } from '../../../../src/global-state/drain-all.js'
import { applyPlan } from '../../../../src/global-state/edit/apply-plan.js'
import { replaceChild, replaceNode, setBacking } from '../../../../src/global-state/edit/graph-edit.js'
import { GraphPlan } from '../../../../src/global-state/edit/plan.js'
import { closeNode } from '../../../../src/global-state/life/close.js'
import { openNode } from '../../../../src/global-state/life/open.js'
import { drained, endQuiesce } from '../../../../src/io/drained.js'
import { ClientRoot } from '../../../../src/testing/client-root.js'
import { GraphWorld, stateOfPromise } from '../../../support/graph-world.js'

const sector = () => new Uint8Array(512).fill(7)

describe('G01: draining a node with a slow request', () => {
  it('waits for it, nests, and tells each client once per outermost section', async () => {
    const world = new GraphWorld()
    const disk = await world.disk('disk')
    const backend = await world.backend(disk)
    const client = new ClientRoot(world.graph, 'c')
    await world.main((main) => client.attach(main, disk))
    const write = backend.write(0, sector())
    const drain = drained(disk)
    expect(await stateOfPromise(drain)).toBe('pending')
    expect(client.begins).toBe(1)
    world.controller.releaseAll()
    await write
    const outer = await drain
    const inner = await drained(disk)
    expect([client.begins, client.ends]).toEqual([1, 0])
    inner.end()
    expect(client.ends).toBe(0)
    outer.end()
    expect([client.begins, client.ends]).toEqual([1, 1])
    expect(world.unrest()).toEqual([])
  })

  it('works from a callback of the request itself, once that has left', async () => {
    const world = new GraphWorld()
    const disk = await world.disk('disk')
    const backend = await world.backend(disk)
    const drain = backend.write(0, sector()).then(() => drained(disk))
    world.controller.releaseAll()
    ;(await drain).end()
    expect(world.unrest()).toEqual([])
  })

  it('holds for drain-all too', async () => {
    const world = new GraphWorld()
    const disks = [await world.disk('a'), await world.disk('b')]
    const [backend] = [await world.backend(disks[1])]
    const write = backend.write(0, sector())
    const all = world.main((main) => drainAll(main, world.graph))
    expect(await stateOfPromise(all)).toBe('pending')
    world.controller.releaseAll()
    await write
    const section = await all
    expect(disks.map((disk) => disk.state.quiesceCounter)).toEqual([1, 1])
    section.end()
    expect(world.unrest()).toEqual([])
  })

  it('resolves without a timer where all is idle', async () => {
    const world = new GraphWorld()
    const disk = await world.disk('disk')
    const section = await drained(disk)
    expect(world.clock.pendingTimers).toBe(0)
    section.end()
  })
})

describe('G02: two parents on one base', () => {
  const orders = [
    ['base first', [0, 1]],
    ['parent first', [1, 0]],
  ] as const
  it.each(orders)('each is quiesced once; counters are 0 after all ends, %s', async (_name, order) => {
    const world = new GraphWorld()
    const base = await world.memory('base')
    const left = await world.open({ driver: 'throttle', 'node-name': 'left', file: 'base' })
    const right = await world.open({ driver: 'throttle', 'node-name': 'right', file: 'base' })
    const sections = [await drained(base), await drained(left)]
    expect([base, left, right].map((node) => node.state.quiesceCounter)).toEqual([1, 2, 1])
    for (const index of order) sections[index]?.end()
    expect(world.unrest()).toEqual([])
  })
})

describe('G03: an edge to a drained node', () => {
  it('quiesces the new parent at once and releases it with the section', async () => {
    const world = new GraphWorld()
    const base = await world.memory('base')
    const section = await drained(base)
    const nested = await drained(base)
    const top = await world.open({ driver: 'throttle', 'node-name': 'top', file: 'base' })
    const backend = await world.backend(top)
    expect([base.state.quiesceCounter, top.state.quiesceCounter, backend.root.quiesced]).toEqual([2, 1, 1])
    const write = backend.write(0, sector())
    expect(await stateOfPromise(write)).toBe('pending')
    section.end()
    expect(top.state.quiesceCounter).toBe(1)
    nested.end()
    await write
    expect(world.unrest()).toEqual([])
  })

  it('goes for drain-all, and a node opened in it is quiesced once for it', async () => {
    const world = new GraphWorld()
    const base = await world.memory('base')
    const section = await world.main((main) => drainAll(main, world.graph))
    const alone = await world.memory('alone')
    const top = await world.open({ driver: 'throttle', 'node-name': 'top', file: 'base' })
    expect([base, alone, top].map((node) => node.state.quiesceCounter)).toEqual([1, 1, 2])
    expect([base, alone, top].every((node) => section.covers(node))).toBe(true)
    section.end()
    expect(world.unrest()).toEqual([])
  })
})

describe('G04: detaching or replacing a child inside a section', () => {
  it('takes from the parent exactly what came through that edge', async () => {
    const world = new GraphWorld()
    const base = await world.memory('base')
    const other = await world.memory('other')
    const top = await world.open({ driver: 'overlay', 'node-name': 'top', backing: 'base' })
    const own = await drained(top)
    const below = await drained(base)
    expect(top.state.quiesceCounter).toBe(2)
    const quiet = await drained(top, base, other)
    await world.main((main) => setBacking(main, quiet, top, other))
    expect([base.state.quiesceCounter, other.state.quiesceCounter, top.state.quiesceCounter]).toEqual([2, 1, 3])
    quiet.end()
    expect([base, other, top].map((node) => node.state.quiesceCounter)).toEqual([1, 0, 1])
    const again = await drained(top, base, other)
    await world.main((main) => setBacking(main, again, top, undefined))
    again.end()
    below.end()
    expect(top.state.quiesceCounter).toBe(1)
    own.end()
    expect(world.unrest()).toEqual([])
  })
})

describe('G05: replacing children, drained or not', () => {
  it.each([
    [true, true],
    [true, false],
    [false, true],
    [false, false],
  ])('never releases the parent in between (old drained: %s, new drained: %s)', async (oldDrained, newDrained) => {
    const world = new GraphWorld()
    const [from, to] = [await world.disk('from'), await world.disk('to')]
    const backend = await world.backend(from)
    const changes: string[] = []
    const client = new ClientRoot(world.graph, 'c', {
      drainedBegin: () => changes.push('begin'),
      drainedEnd: () => changes.push('end'),
    })
    await world.main((main) => client.attach(main, from))
    const write = backend.write(0, sector())
    const sections = []
    world.controller.open = true
    world.controller.releaseAll()
    await write
    if (oldDrained) sections.push(await drained(from))
    if (newDrained) sections.push(await drained(to))
    const quiet = await drained(from, to)
    const late = backend.write(0, sector())
    await world.main((main) => replaceNode(main, quiet, from, to))
    expect(client.quiesced).toBe(true)
    expect(changes).toEqual(['begin'])
    quiet.end()
    expect(client.quiesced).toBe(newDrained)
    expect(await stateOfPromise(late)).toBe(newDrained ? 'pending' : 'fulfilled')
    for (const section of sections) section.end()
    await late
    expect(world.unrest()).toEqual([])
  })

  it('keeps a parent of two edges quiesced while both change sides', async () => {
    const world = new GraphWorld()
    const [a, b] = [await world.memory('a'), await world.memory('b')]
    const changes: string[] = []
    const seen: number[] = []
    const client = new ClientRoot(world.graph, 'c', {
      drainedBegin: () => {
        changes.push('begin')
        seen.push(client.begins - client.ends)
      },
      drainedEnd: () => {
        changes.push('end')
        seen.push(client.begins - client.ends)
      },
    })
    const first = await world.main((main) => client.attach(main, a, 'first'))
    const second = await world.main((main) => client.attach(main, b, 'second'))
    const outer = await drained(a)
    // Both edges change their child in one plan: the one that leaves `a` may not release before the other is told.
    await world.main((main) =>
      main.call('swap', world.graph.environment, async (call) => {
        const plan = new GraphPlan()
        plan.retarget(first, b)
        plan.retarget(second, a)
        await applyPlan(call, plan, undefined, 'swap')
      }),
    )
    expect(changes).toEqual(['begin', 'begin', 'end'])
    expect(Math.min(...seen)).toBe(1)
    outer.end()
    expect(client.quiesced).toBe(false)
    expect(world.unrest()).toEqual([])
  })
})

describe('G28: drain-all while nodes come and go', () => {
  it('quiesces every node that is present at the end once', async () => {
    const world = new GraphWorld()
    const busy = await world.disk('busy')
    const gone = await world.memory('gone')
    const backend = await world.backend(busy)
    const write = backend.write(0, sector())
    let opened: Promise<unknown> = Promise.resolve()
    const all = world.main(async (main) => {
      const drain = drainAll(main, world.graph)
      opened = openNode(main, world.graph, { driver: 'memory', 'node-name': 'late', size: 512 })
      const closed = closeNode(main, gone)
      await opened
      await closed
      return drain
    })
    await world.settle()
    await opened
    world.controller.releaseAll()
    await write
    const section = await all
    expect([...world.graph.nodes.keys()].sort()).toEqual(['busy', 'late'])
    expect([...world.graph.nodes.values()].map((node) => node.state.quiesceCounter)).toEqual([1, 1])
    section.end()
    expect(world.unrest()).toEqual([])
  })
})

describe('G32: ends that do not match', () => {
  it('a double end and an end without a begin are bugs of the caller; counters stay', async () => {
    const world = new GraphWorld()
    const disk = await world.memory('disk')
    const section = await drained(disk)
    section.end()
    expect(() => section.end()).toThrow(/twice/)
    expect(() => endQuiesce([disk])).toThrow(/never began/)
    expect(disk.state.quiesceCounter).toBe(0)
    section[Symbol.dispose]()
    expect(disk.state.quiesceCounter).toBe(0)
  })
})

describe('sections as evidence', () => {
  it('an edit refuses a section that does not cover its nodes, or that has ended', async () => {
    const world = new GraphWorld()
    const [a, b] = [await world.memory('a'), await world.memory('b')]
    const top = await world.open({ driver: 'throttle', 'node-name': 'top', file: 'a' })
    const edge = top.file
    if (edge === undefined) throw new Error('no child')
    const before = world.serialise()
    const half = await drained(a)
    await expect(world.main((main) => replaceChild(main, half, edge, b))).rejects.toThrow(/does not cover node 'b'/)
    half.end()
    const ended = await drained(a, b)
    ended.end()
    await expect(world.main((main) => replaceChild(main, ended, edge, b))).rejects.toThrow(/has ended/)
    expect(world.serialise()).toBe(before)
  })
})

it('a drain-all that its section leaves behind is given up, and undoes itself', async () => {
  const world = new GraphWorld()
  const node = await world.disk('disk')
  const backend = await world.backend(node)
  const reading = backend.read(0, new Uint8Array(512))
  let left: Promise<unknown> = Promise.resolve()
  const section = world.main(async (main) => {
    left = drainAll(main, world.graph)
  })
  await expect(section).rejects.toThrow(/still running/)
  await expect(left).rejects.toMatchObject({ code: 'ECANCELED' })
  expect([node.state.quiesceCounter, world.graph.drainAllDepth]).toEqual([0, 0])
  world.controller.releaseAll()
  await reading
})
