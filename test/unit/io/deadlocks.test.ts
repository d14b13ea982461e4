// The deadlocks that the order "token, then sections, then requests" rules out. With context tracking each is an error at once;
// without it whoever waits too long is told who holds what.

import { describe, expect, it } from 'vitest'
import { drainAll } from '../../../src/global-state/drain-all.js'
import { setBacking } from '../../../src/global-state/edit/graph-edit.js'
import { closeNode } from '../../../src/global-state/life/close.js'
import { openNode } from '../../../src/global-state/life/open.js'
import { MainLoop } from '../../../src/global-state/main-loop.js'
import { drained, drainedNodes, withDrained } from '../../../src/io/drained.js'
import { createContextTracker } from '../../../src/platform/async-context.js'
import { ClientRoot } from '../../../src/testing/client-root.js'
import { GraphWorld, stateOfPromise } from '../../support/graph-world.js'

const sector = () => new Uint8Array(512).fill(1)
const tracked = () => new GraphWorld({ tracker: createContextTracker() })
const DEADLOCK = { code: 'EDEADLK' }

describe('re-entering the main loop', () => {
  it('is an error at once where context is tracked', async () => {
    const world = tracked()
    await world.main(async () => {
      await expect(world.main(async () => {}, 'inner')).rejects.toMatchObject({
        ...DEADLOCK,
        message: expect.stringMatching(/inner.*the main loop/),
      })
    })
  })

  it('also in what the section called', async () => {
    const world = tracked()
    const helper = async () => {
      await world.settle()
      return world.main(async () => {})
    }
    await world.main(async () => {
      await expect(helper()).rejects.toMatchObject(DEADLOCK)
    })
  })

  it('is fine from what another graph runs', async () => {
    const [one, two] = [tracked(), tracked()]
    expect(await one.main(() => two.main(async () => 'inner').catch((error: { code: string }) => error.code))).toBe(
      'inner',
    )
  })

  it('is a stall that names holder and waiter where it is not tracked', async () => {
    const world = new GraphWorld()
    let leave: () => void = () => {}
    const outer = world.main(() => new Promise<void>((resolve) => (leave = resolve)), 'outer section')
    await world.settle()
    const inner = world.main(async () => 'done', 'inner section')
    await world.clock.advance(4999)
    expect(world.eventsOf('stall')).toEqual([])
    await world.clock.advance(1)
    expect(world.eventsOf('stall')).toEqual([
      { waitsFor: 'main-loop', waiter: 'inner section', holder: 'outer section', waitedMs: 5000, requests: [] },
    ])
    leave()
    await outer
    expect(await inner).toBe('done')
    expect(world.clock.pendingTimers).toBe(0)
  })
})

describe('a root request from inside one’s own section', () => {
  it('is an error at once where context is tracked', async () => {
    const world = tracked()
    const disk = await world.memory('disk')
    const backend = await world.backend(disk)
    await expect(withDrained([disk], () => backend.write(0, sector()))).rejects.toMatchObject(DEADLOCK)
    expect(world.unrest()).toEqual([])
    expect(backend.root.held.size).toBe(0)
    await backend.write(0, sector())
  })

  it('also where the section is on a node below, or on all nodes', async () => {
    const world = tracked()
    await world.memory('disk')
    const top = await world.open({ driver: 'throttle', 'node-name': 'top', file: 'disk' })
    const backend = await world.backend(top)
    await withDrained([world.graph.node('disk')], async () => {
      await expect(backend.read(0, sector())).rejects.toMatchObject(DEADLOCK)
    })
    await world.main(async (main) => {
      const all = await drainAll(main, world.graph)
      try {
        await expect(backend.read(0, sector())).rejects.toMatchObject(DEADLOCK)
      } finally {
        all.end()
      }
    })
    expect(world.unrest()).toEqual([])
  })

  it('a stranger’s request waits instead, and so does one for another node', async () => {
    const world = tracked()
    const [disk, other] = [await world.memory('disk'), await world.memory('other')]
    const [backend, elsewhere] = [await world.backend(disk), await world.backend(other)]
    const section = await drained(disk)
    const outside = createContextTracker()
    const held = outside.run(
      { kind: 'request', subject: {}, outer: undefined, ended: true },
      () =>
        new Promise<void>((resolve, reject) => {
          setTimeout(() => backend.write(0, sector()).then(resolve, reject), 0)
        }),
    )
    await elsewhere.write(0, sector())
    section.end()
    await held
  })

  it('without tracking it is held like any stranger’s, until the section ends', async () => {
    const world = new GraphWorld()
    const disk = await world.memory('disk')
    const backend = await world.backend(disk)
    const section = await drained(disk)
    const write = backend.write(0, sector())
    expect(await stateOfPromise(write)).toBe('pending')
    section.end()
    await write
  })
})

describe('a drain from one’s own request', () => {
  it('is an error at once where context is tracked', async () => {
    const world = tracked()
    const disk = await world.disk('disk')
    const backend = await world.backend(disk)
    const seen: unknown[] = []
    const inner = disk.io.write
    disk.io = {
      ...disk.io,
      write: async (offset, data, flags) => {
        await drained(disk).catch((error: unknown) => seen.push(error))
        await inner?.(offset, data, flags)
      },
    }
    world.controller.open = true
    await backend.write(0, sector())
    expect(seen).toMatchObject([DEADLOCK])
    expect(world.unrest()).toEqual([])
  })

  it('the main loop is refused from inside a request as well', async () => {
    const world = tracked()
    const disk = await world.memory('disk')
    const backend = await world.backend(disk)
    const seen: unknown[] = []
    disk.io = {
      ...disk.io,
      write: async () => {
        await world.main(async () => {}).catch((error: unknown) => seen.push(error))
      },
    }
    await backend.write(0, sector())
    expect(seen).toMatchObject([{ ...DEADLOCK, message: expect.stringMatching(/a request/) }])
  })

  it('what a request left behind is no longer part of it', async () => {
    const world = tracked()
    const disk = await world.memory('disk')
    const backend = await world.backend(disk)
    let later: Promise<void> | undefined
    disk.io = {
      ...disk.io,
      write: async () => {
        later = world.settle().then(async () => {
          ;(await drained(disk)).end()
        })
      },
    }
    await backend.write(0, sector())
    await later
    expect(world.unrest()).toEqual([])
  })

  it('G31: is a stall that names node, kind, range and age of the request where it is not tracked', async () => {
    const world = new GraphWorld()
    const disk = await world.disk('disk')
    const backend = await world.backend(disk)
    const write = backend.write(4096, sector())
    await world.clock.advance(1000)
    const drain = drained(disk)
    await world.clock.advance(5000)
    const [stall, ...others] = world.eventsOf('stall')
    expect(others).toEqual([])
    expect(stall).toMatchObject({
      waitsFor: 'drain',
      waiter: 'drain of disk',
      holder: expect.stringContaining("node 'disk'"),
      waitedMs: 5000,
    })
    expect(stall?.requests).toMatchObject([
      { node: 'disk', kind: 'write', offset: 4096, bytes: 512, serialising: false },
    ])
    expect(stall?.requests[0]?.ageMs).toBeGreaterThanOrEqual(5000)
    world.controller.releaseAll()
    await write
    ;(await drain).end()
    expect(world.clock.pendingTimers).toBe(0)
  })

  it('a busy client is named as the holder', async () => {
    const world = new GraphWorld()
    const disk = await world.memory('disk')
    const job = new ClientRoot(world.graph, 'mirror')
    await world.main((main) => job.attach(main, disk))
    const rest = job.begin()
    const drain = drainedNodes([disk], { label: 'reset of virtio0' })
    await world.clock.advance(5000)
    expect(world.eventsOf('stall')).toMatchObject([
      { waitsFor: 'drain', waiter: 'reset of virtio0', holder: "client 'mirror'", requests: [] },
    ])
    rest()
    ;(await drain).end()
  })
})

describe('a token asked for inside a section', () => {
  it('is an error at once where context is tracked', async () => {
    const world = tracked()
    const disk = await world.memory('disk')
    await withDrained([disk], async () => {
      await expect(world.main(async () => {})).rejects.toMatchObject({
        ...DEADLOCK,
        message: expect.stringMatching(/drained section/),
      })
    })
    await world.main(async () => {})
  })

  it('is no deadlock by itself without tracking: the section in the way belongs to somebody who can end it', async () => {
    const world = new GraphWorld()
    const disk = await world.memory('disk')
    const section = await drained(disk)
    expect(await world.main(async () => 'token')).toBe('token')
    section.end()
  })
})

describe('a waiting drain that is aborted', () => {
  it('rejects with ECANCELED, undoes itself and leaves no listener or timer', async () => {
    const world = new GraphWorld()
    const disk = await world.disk('disk')
    const backend = await world.backend(disk)
    const write = backend.write(0, sector())
    const abort = new AbortController()
    const drain = drainedNodes([disk], { signal: abort.signal })
    const held = backend.write(512, sector())
    expect(await stateOfPromise(drain)).toBe('pending')
    abort.abort()
    await expect(drain).rejects.toMatchObject({ code: 'ECANCELED' })
    expect([disk.state.quiesceCounter, world.clock.pendingTimers, world.graph.environment.drainWaiters.size]).toEqual([
      0, 0, 0,
    ])
    world.controller.open = true
    world.controller.releaseAll()
    await Promise.allSettled([write, held])
    expect(world.unrest()).toEqual([])
  })

  it('a signal that is aborted already ends it as soon as it would wait', async () => {
    const world = new GraphWorld()
    const disk = await world.disk('disk')
    const backend = await world.backend(disk)
    const write = backend.write(0, sector())
    await expect(drainedNodes([disk], { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'ECANCELED' })
    world.controller.releaseAll()
    await write
    expect(world.unrest()).toEqual([])
  })

  it('a held request that is aborted leaves the queue at once', async () => {
    const world = new GraphWorld()
    const disk = await world.memory('disk')
    const backend = await world.backend(disk)
    const section = await drained(disk)
    const abort = new AbortController()
    const write = backend.write(0, sector(), { signal: abort.signal })
    const next = backend.write(512, sector())
    await world.settle()
    expect(backend.root.held.size).toBe(2)
    abort.abort()
    await expect(write).rejects.toMatchObject({ code: 'ECANCELED' })
    expect(backend.root.held.size).toBe(1)
    section.end()
    await next
    expect(disk.state.writeGeneration).toBe(1)
  })
})

describe('the token', () => {
  it('ends a section only when every call it began is over, and rejects then', async () => {
    const world = new GraphWorld()
    await world.disk('disk')
    const backend = await world.backend(world.graph.node('disk'))
    const write = backend.write(0, sector())
    let left: Promise<void> | undefined
    const section = world.main(async (main) => {
      left = backend.remove(main)
      left.catch(() => {})
    }, 'careless')
    expect(await stateOfPromise(section)).toBe('pending')
    const next = world.main(async () => 'next')
    expect(await stateOfPromise(next)).toBe('pending')
    world.controller.releaseAll()
    await write
    await expect(section).rejects.toThrow(/careless: the section ended while BlockBackend.remove was still running/)
    expect(await next).toBe('next')
    expect(world.unrest()).toEqual([])
  })

  it('is dead after its section', async () => {
    const world = new GraphWorld()
    let kept: MainLoop | undefined
    await world.main(async (main) => {
      kept = main
      expect(main.live).toBe(true)
    })
    const main = kept
    if (main === undefined) throw new Error('no token')
    expect(main.live).toBe(false)
    expect(() => openNode(main, world.graph, { driver: 'memory' })).toThrow(
      /openNode: the main-loop section of this token has ended/,
    )
    expect(world.graph.nodes.size).toBe(0)
  })

  it('is dead after a section that failed', async () => {
    const world = new GraphWorld()
    let kept: MainLoop | undefined
    await expect(
      world.main(async (main) => {
        kept = main
        throw new Error('no')
      }),
    ).rejects.toThrow('no')
    expect(kept?.live).toBe(false)
    expect(await world.main(async () => 'next')).toBe('next')
  })

  it('of another graph is refused', async () => {
    const [one, two] = [new GraphWorld(), new GraphWorld()]
    const node = await two.open({ driver: 'overlay', 'node-name': 'disk', size: 512 })
    await one.main(async (main) => {
      expect(() => openNode(main, two.graph, { driver: 'memory' })).toThrow(/belongs to another graph/)
      expect(() => closeNode(main, node)).toThrow(/belongs to another graph/)
      const quiet = await drained(node)
      expect(() => setBacking(main, quiet, node, undefined)).toThrow(/belongs to another graph/)
      quiet.end()
    })
    expect([...two.graph.nodes.keys()]).toEqual(['disk'])
  })

  it('serves sections first come first served, one at a time', async () => {
    const world = new GraphWorld()
    const order: string[] = []
    let running = 0
    const sections = ['a', 'b', 'c', 'd'].map((name) =>
      world.main(async () => {
        expect(++running).toBe(1)
        order.push(name)
        await world.settle()
        running--
        if (name === 'b') throw new Error('b fails')
      }, name),
    )
    expect((await Promise.allSettled(sections)).map((result) => result.status)).toEqual([
      'fulfilled',
      'rejected',
      'fulfilled',
      'fulfilled',
    ])
    expect(order).toEqual(['a', 'b', 'c', 'd'])
    expect(MainLoop.name).toBe('MainLoop')
  })
})
