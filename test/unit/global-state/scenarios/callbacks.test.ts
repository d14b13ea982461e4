// Drain scenarios in which something that runs because of a drain, or while one waits, changes the graph.

import { describe, expect, it } from 'vitest'
import { BDRV_CHILD_COW } from '../../../../src/common/child-role.js'
import { drainAll } from '../../../../src/global-state/drain-all.js'
import { applyPlan } from '../../../../src/global-state/edit/apply-plan.js'
import {
  appendNode,
  dropFilter,
  insertNode,
  replaceChild,
  setBacking,
} from '../../../../src/global-state/edit/graph-edit.js'
import { GraphPlan } from '../../../../src/global-state/edit/plan.js'
import { closeNode } from '../../../../src/global-state/life/close.js'
import { drained } from '../../../../src/io/drained.js'
import { ClientRoot } from '../../../../src/testing/client-root.js'
import { GraphWorld, stateOfPromise } from '../../../support/graph-world.js'

const sector = (fill = 7) => new Uint8Array(512).fill(fill)

/** A throttle node `top` over a controlled disk `base`, with a backend. */
async function stack() {
  const world = new GraphWorld()
  const base = await world.disk('base')
  const top = await world.open({ driver: 'throttle', 'node-name': 'top', file: 'base' })
  const backend = await world.backend(top)
  return { world, base, top, backend }
}

describe.each(['one node', 'all nodes'])('with a drain of %s waiting', (what) => {
  const begin = (world: GraphWorld, node: Parameters<typeof drained>[0]) =>
    what === 'one node' ? drained(node) : world.main((main) => drainAll(main, world.graph))

  it('G06: a completion deletes the parent node', async () => {
    const { world, base, top, backend } = await stack()
    const deleted = backend.write(0, sector()).then(() =>
      world.main(async (main) => {
        await backend.close(main)
        await closeNode(main, top)
      }),
    )
    const drain = begin(world, base)
    world.controller.releaseAll()
    const section = await drain
    await deleted
    expect(top.closed).toBe(true)
    expect(world.eventsOf('node-closed').map((event) => event.node)).toEqual(['top'])
    expect(base.parents.size).toBe(0)
    section.end()
    expect(world.unrest()).toEqual([])
    expect(backend.root.quiesced).toBe(0)
  })

  it('G07: a completion detaches all children of the parent', async () => {
    const world = new GraphWorld()
    const base = await world.disk('base')
    const top = await world.open({ driver: 'overlay', 'node-name': 'top', backing: 'base' })
    const backend = await world.backend(top)
    const detached = backend.read(0, sector()).then(() =>
      world.main(async (main) => {
        const quiet = await drained(top, base)
        await setBacking(main, quiet, top, undefined)
        quiet.end()
      }),
    )
    const drain = begin(world, base)
    world.controller.releaseAll()
    const section = await drain
    await detached
    expect(top.children).toEqual([])
    section.end()
    expect(world.unrest()).toEqual([])
  })
})

describe('G08: a completion of one parent, run while another is drained, swaps that one’s child', () => {
  it('releases the old child, quiesces the new one, and walks no old list', async () => {
    const world = new GraphWorld()
    const [a, b, c] = [await world.disk('a'), await world.disk('b'), await world.memory('c')]
    const pa = await world.open({ driver: 'throttle', 'node-name': 'pa', file: 'a' })
    const pb = await world.open({ driver: 'overlay', 'node-name': 'pb', backing: 'b' })
    const [writer, reader] = [await world.backend(pa), await world.backend(pb)]
    const swapped = writer.write(0, sector()).then(() =>
      world.main(async (main) => {
        const quiet = await drained(pb, b, c)
        await setBacking(main, quiet, pb, c)
        quiet.end()
      }),
    )
    const reading = reader.read(0, sector())
    const drain = drained(b, c)
    world.controller.releaseAll()
    await reading
    const section = await drain
    await swapped
    expect(pb.backing?.node).toBe(c)
    expect([b.parents.size, b.state.quiesceCounter, c.state.quiesceCounter, pb.state.quiesceCounter]).toEqual([
      0, 1, 1, 1,
    ])
    section.end()
    expect(world.unrest()).toEqual([])
    expect(a.state.inFlight).toBe(0)
  })

  it('G09: the same change asked for by a begin hook happens in the wait, not in the hook', async () => {
    const world = new GraphWorld()
    const [b, c] = [await world.disk('b'), await world.memory('c')]
    const pb = await world.open({ driver: 'overlay', 'node-name': 'pb', backing: 'b' })
    let change: Promise<void> | undefined
    const client = new ClientRoot(world.graph, 'c', {
      drainedBegin: () => {
        if (change !== undefined) return
        change = world.main(async (main) => {
          const quiet = await drained(pb, b, c)
          await setBacking(main, quiet, pb, c)
          quiet.end()
        })
        expect(pb.backing?.node).toBe(b)
      },
    })
    await world.main((main) => client.attach(main, pb))
    const section = await drained(b)
    await change
    expect(pb.backing?.node).toBe(c)
    expect([b, c, pb].map((node) => node.state.quiesceCounter)).toEqual([1, 0, 0])
    expect(client.quiesced).toBe(false)
    section.end()
    expect(world.unrest()).toEqual([])
  })
})

describe('G10: the end of a section lets a job complete, which removes edges of the node being released', () => {
  it('walks a snapshot and releases each edge once', async () => {
    const world = new GraphWorld()
    const disk = await world.memory('disk')
    const clients: ClientRoot[] = []
    let removal: Promise<void> | undefined
    const job = new ClientRoot(world.graph, 'job', {
      drainedEnd: () => {
        if (removal !== undefined) return
        removal = world.main(async (main) => {
          for (const client of [...clients]) for (const edge of [...client.edges]) await client.detach(main, edge)
        })
      },
    })
    clients.push(job)
    for (const name of ['x', 'y']) clients.push(new ClientRoot(world.graph, name))
    await world.main(async (main) => {
      for (const client of clients) await client.attach(main, disk)
    })
    const section = await drained(disk)
    section.end()
    await removal
    expect(disk.parents.size).toBe(0)
    for (const client of clients) expect(client.begins).toBe(client.ends)
    expect(world.unrest()).toEqual([])
  })
})

describe('G12: a device that goes on after an error', () => {
  it('does not start again inside the section', async () => {
    const { world, base, backend } = await stack()
    const started: string[] = []
    const retry = (): Promise<void> => {
      started.push(base.state.quiesceCounter > 0 ? 'while drained' : 'outside')
      return backend.read(0, sector()).catch(retry)
    }
    const reading = retry()
    const drain = drained(base)
    world.controller.pending[0]?.fail('EIO')
    const section = await drain
    expect(base.state.inFlight).toBe(0)
    await world.settle()
    expect(started).toEqual(['outside', 'while drained'])
    expect([base.state.inFlight, backend.root.inFlight, backend.root.held.size]).toEqual([0, 0, 1])
    section.end()
    world.controller.open = true
    await reading
    expect(world.unrest()).toEqual([])
  })
})

describe('G14: a drive removed under load', () => {
  it('its flush is done before the edge goes', async () => {
    const { world, backend } = await stack()
    world.controller.open = true
    await backend.write(0, sector())
    world.controller.open = false
    const flush = backend.flush()
    const removed = world.main((main) => backend.remove(main))
    expect(await stateOfPromise(removed)).toBe('pending')
    expect(backend.node?.nodeName).toBe('top')
    expect(world.controller.releaseNext()).toBe(true)
    await flush
    await removed
    expect(backend.node).toBeUndefined()
    await expect(backend.flush()).rejects.toMatchObject({ code: 'ENOMEDIUM' })
    expect(world.unrest()).toEqual([])
  })
})

describe('G15: the last reference goes, and the drain inside the delete runs a callback that looks for the node', () => {
  it('nobody finds it or takes it any more', async () => {
    const world = new GraphWorld()
    const disk = await world.disk('disk')
    const backend = await world.backend(disk)
    world.controller.open = true
    await backend.write(0, sector())
    world.controller.open = false
    await world.main((main) => backend.close(main))
    // The flush of the close waits for us; meanwhile the node is on its way out.
    const closed = world.close(disk)
    await world.settle()
    expect(() => world.graph.node('disk')).toThrow(/no node/)
    world.controller.releaseAll()
    await closed
    expect(disk.closed).toBe(true)
    expect(disk.references).toBe(0)
  })

  it('a second close is refused while the first is under way, and after it', async () => {
    const world = new GraphWorld()
    const disk = await world.memory('disk')
    const results = await world.main((main) => Promise.allSettled([closeNode(main, disk), closeNode(main, disk)]))
    expect(results.map((result) => result.status)).toEqual(['fulfilled', 'rejected'])
    expect(world.eventsOf('node-closed')).toHaveLength(1)
    await expect(world.close(disk)).rejects.toMatchObject({ code: 'ENODEV' })
  })
})

describe('G19: an exporter whose reply goes out after the backend call is done', () => {
  it('its own counter takes part in the wait', async () => {
    const world = new GraphWorld()
    const disk = await world.memory('disk')
    const exporter = new ClientRoot(world.graph, 'export')
    await world.main((main) => exporter.attach(main, disk))
    const replied = exporter.begin()
    const drain = drained(disk)
    expect(await stateOfPromise(drain)).toBe('pending')
    replied()
    ;(await drain).end()
    expect(world.unrest()).toEqual([])
  })
})

describe('G30: a client with held requests is deleted', () => {
  it('they reject, and none starts later', async () => {
    const { world, base, backend } = await stack()
    const section = await drained(base)
    const writes = [backend.write(0, sector()), backend.write(512, sector())]
    const outcomes = Promise.allSettled(writes)
    await world.settle()
    const closed = world.main((main) => backend.close(main))
    expect((await outcomes).map((result) => result.status === 'rejected' && result.reason.code)).toEqual([
      'ECANCELED',
      'ECANCELED',
    ])
    section.end()
    await closed
    await world.settle()
    expect(world.controller.pending).toEqual([])
    await expect(backend.write(0, sector())).rejects.toMatchObject({ code: 'ECANCELED' })
    expect(world.unrest()).toEqual([])
  })
})

describe('an overlay appended under load', () => {
  it('tells the backend once, and sends what it held to the overlay', async () => {
    const { world, top, backend } = await stack()
    const overlay = await world.open({ driver: 'overlay', 'node-name': 'overlay', size: 65536, 'cluster-size': 512 })
    world.controller.open = true
    await backend.write(0, sector(1))
    let held: Promise<void> | undefined
    await world.main(async (main) => {
      const quiet = await drained(top, overlay)
      held = backend.write(512, sector(2))
      await appendNode(main, quiet, overlay, top)
      expect([backend.root.quiesced, overlay.state.quiesceCounter]).toEqual([1, 2])
      quiet.end()
    })
    await held
    const generation = top.state.writeGeneration
    await backend.write(1024, sector(3))
    expect(top.state.writeGeneration).toBe(generation)
    const into = new Uint8Array(3 * 512)
    await backend.read(0, into)
    expect([0, 1, 2].map((index) => into[index * 512])).toEqual([1, 2, 3])
    expect(world.unrest()).toEqual([])
    expect(backend.root.quiesced).toBe(0)
  })

  it('an overlay that is not drained itself tells the backend no second time', async () => {
    const world = new GraphWorld()
    const [top, overlay] = [
      await world.memory('top'),
      await world.open({ driver: 'overlay', 'node-name': 'overlay', size: 65536 }),
    ]
    const changes: string[] = []
    const client = new ClientRoot(world.graph, 'c', {
      drainedBegin: () => changes.push('begin'),
      drainedEnd: () => changes.push('end'),
    })
    const edge = await world.main((main) => client.attach(main, top))
    const section = await drained(top)
    await world.main((main) =>
      main.call('append', world.graph.environment, async (call) => {
        const plan = new GraphPlan()
        plan.retarget(edge, overlay)
        plan.attach(overlay, top, 'backing', BDRV_CHILD_COW)
        await applyPlan(call, plan, undefined, 'append')
      }),
    )
    expect(changes).toEqual(['begin'])
    section.end()
    expect(changes).toEqual(['begin', 'end'])
    expect(world.unrest()).toEqual([])
  })
})

describe('a filter inserted and dropped under load', () => {
  it('loses no request and leaves no counter', async () => {
    const { world, base, top, backend } = await stack()
    const writes = [0, 1, 2, 3].map((index) => backend.write(index * 512, sector(index + 1)))
    const inserted = world.main(async (main) => {
      const quiet = await drained(top)
      try {
        return await insertNode(main, quiet, top, { driver: 'throttle', 'node-name': 'extra' })
      } finally {
        quiet.end()
      }
    })
    await world.settle()
    const later = backend.write(4 * 512, sector(5))
    world.controller.open = true
    world.controller.releaseAll()
    await Promise.allSettled(writes)
    const extra = await inserted
    await later
    expect(backend.node).toBe(extra)
    await world.main(async (main) => {
      const quiet = await drained(extra, top)
      await dropFilter(main, quiet, extra)
      quiet.end()
    })
    expect(backend.node).toBe(top)
    const into = new Uint8Array(5 * 512)
    await backend.read(0, into)
    expect([0, 1, 2, 3, 4].map((index) => into[index * 512])).toEqual([1, 2, 3, 4, 5])
    expect(world.unrest()).toEqual([])
    expect(base.parents.size).toBe(1)
  })

  it('a retargeted edge of a root leads its next request to the new node', async () => {
    const { world, base, backend, top } = await stack()
    const other = await world.memory('other')
    const edge = backend.edge
    if (edge === undefined) throw new Error('no edge')
    world.controller.open = true
    await world.main(async (main) => {
      const quiet = await drained(top, other)
      const held = backend.write(0, sector(9))
      await replaceChild(main, quiet, edge, other)
      quiet.end()
      await held
    })
    const into = sector(0)
    await backend.read(0, into)
    expect(into[0]).toBe(9)
    expect(base.state.writeGeneration).toBe(0)
  })
})
