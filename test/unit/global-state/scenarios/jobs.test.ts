// Scenarios of the threat list that concern jobs, as far as edges and drains go. A job is a client with an edge of its own that
// stays at its node and says when it is at work.

import { describe, expect, it } from 'vitest'
import { BLK_PERM_CONSISTENT_READ } from '../../../../src/common/permissions.js'
import {
  chainOf,
  findBase,
  freezeBackingChain,
  unfreezeBackingChain,
} from '../../../../src/global-state/backing-chain.js'
import { createDirtyBitmap } from '../../../../src/global-state/bitmaps/bitmaps.js'
import { drainAll } from '../../../../src/global-state/drain-all.js'
import { dropFilter, insertNode, replaceNode, setBacking } from '../../../../src/global-state/edit/graph-edit.js'
import { closeNode } from '../../../../src/global-state/life/close.js'
import { reopenReadOnly } from '../../../../src/global-state/life/reopen.js'
import { dirtyAreas, resetDirtyRange } from '../../../../src/io/dirty-bitmap.js'
import { drained, drainedNodes } from '../../../../src/io/drained.js'
import { ClientRoot } from '../../../../src/testing/client-root.js'
import { GraphWorld, stateOfPromise } from '../../../support/graph-world.js'

const sector = (fill: number) => new Uint8Array(512).fill(fill)

/** base <- mid <- top, all at once done. */
async function chain(world: GraphWorld) {
  const base = await world.memory('base')
  const mid = await world.open({ driver: 'overlay', 'node-name': 'mid', backing: 'base' })
  const top = await world.open({ driver: 'overlay', 'node-name': 'top', backing: 'mid' })
  return { base, mid, top }
}

describe('G11: an intermediate node is dropped, which awaits, while a job ends and its node goes', () => {
  it('the nodes concerned are drained for the whole change', async () => {
    const world = new GraphWorld()
    const { base, mid, top } = await chain(world)
    const backend = await world.backend(top)
    const job = new ClientRoot(world.graph, 'job', {}, true)
    const edge = await world.main((main) => job.attach(main, mid))
    let write: Promise<void> | undefined
    const dropped = world.main(async (main) => {
      const quiet = await drainedNodes(chainOf(top))
      try {
        write = backend.write(0, sector(1))
        // What stands for the new name written into the image: other sections cannot come between.
        await world.settle()
        await setBacking(main, quiet, top, base)
        expect(top.state.inFlight).toBe(0)
      } finally {
        quiet.end()
      }
    })
    const ended = world.main(async (main) => {
      await job.detach(main, edge)
      await closeNode(main, mid)
    })
    await Promise.allSettled([dropped, ended, write])
    expect(await stateOfPromise(dropped)).toBe('fulfilled')
    expect(await stateOfPromise(ended)).toBe('fulfilled')
    expect(mid.closed).toBe(true)
    expect([...base.parents].map((parent) => parent.parent.describe())).toEqual(["node 'top'"])
    expect(world.unrest()).toEqual([])
  })
})

describe('G16: two jobs on one chain finish while one reopens', () => {
  it('the reopen holds all parents drained', async () => {
    const world = new GraphWorld()
    const { mid, top } = await chain(world)
    const backend = await world.backend(top)
    const jobs = ['one', 'two'].map((name) => new ClientRoot(world.graph, name, {}, true))
    const ends = jobs.map((job) => job.begin())
    await world.main(async (main) => {
      for (const job of jobs) await job.attach(main, mid)
    })
    let inside: string[] = []
    const reopened = world.main(async (main) => {
      const quiet = await drained(mid)
      inside = [backend.root.quiesced, ...jobs.map((job) => job.begins - job.ends)].map(String)
      await reopenReadOnly(main, quiet, mid, true)
      quiet.end()
    })
    expect(await stateOfPromise(reopened)).toBe('pending')
    ends[0]?.()
    expect(await stateOfPromise(reopened)).toBe('pending')
    ends[1]?.()
    await reopened
    const detached = world.main(async (main) => {
      for (const job of jobs) for (const edge of [...job.edges]) await job.detach(main, edge)
    })
    await detached
    expect(inside).toEqual(['1', '1', '1'])
    expect(mid.readOnly).toBe(true)
    expect(world.unrest()).toEqual([])
  })
})

describe('G17: a stream job cuts its chain', () => {
  it('drains first, then looks, then changes: what others do comes before or after', async () => {
    const world = new GraphWorld()
    const { base, mid, top } = await chain(world)
    const extra = await world.open({ driver: 'overlay', 'node-name': 'extra', size: 65536 })
    const change = world.main(async (main) => {
      const quiet = await drained(mid, base, extra)
      await setBacking(main, quiet, mid, extra)
      quiet.end()
    })
    const cut = world.main(async (main) => {
      const quiet = await drainedNodes(chainOf(top))
      try {
        await setBacking(main, quiet, top, findBase(top))
      } finally {
        quiet.end()
      }
    })
    await change
    await cut
    expect(top.backing?.node).toBe(extra)
    expect([...chainOf(top)].map((node) => node.nodeName)).toEqual(['top', 'extra'])
    expect(world.unrest()).toEqual([])
  })

  it('a frozen chain keeps others away until the job is done', async () => {
    const world = new GraphWorld()
    const { base, mid, top } = await chain(world)
    const extra = await world.memory('extra')
    await world.main(async (main) => freezeBackingChain(main, top, base))
    const meddle = () =>
      world.main(async (main) => {
        const quiet = await drained(mid, base, extra)
        try {
          await setBacking(main, quiet, mid, extra)
        } finally {
          quiet.end()
        }
      })
    await expect(meddle()).rejects.toMatchObject({ code: 'EPERM' })
    await world.main(async (main) => {
      expect(() => freezeBackingChain(main, mid, base)).toThrow(/frozen/)
      unfreezeBackingChain(main, top, base)
    })
    await meddle()
    expect(mid.backing?.node).toBe(extra)
  })
})

describe('G18: a mirror completes while the guest writes', () => {
  it('the source is drained from the last look at the bitmap to the switch, so the target equals what the guest wrote', async () => {
    const world = new GraphWorld()
    const [source, target] = [await world.memory('source'), await world.memory('target')]
    const guest = await world.backend(source)
    const copier = await world.backend(target, { holdWhileDrained: false })
    const reader = await world.backend(source, { perm: BLK_PERM_CONSISTENT_READ, holdWhileDrained: false })
    const bitmap = await world.main((main) => createDirtyBitmap(main, source, { granularity: 512 }))
    for (let index = 0; index < 8; index++) await guest.write(index * 512, sector(index + 1))
    const copy = async () => {
      for (const { offset, bytes } of [...dirtyAreas(bitmap)]) {
        const data = new Uint8Array(bytes)
        resetDirtyRange(bitmap, offset, bytes)
        await reader.read(offset, data)
        await copier.write(offset, data)
      }
    }
    await copy()
    const writes: Promise<void>[] = []
    await world.main(async (main) => {
      writes.push(guest.write(0, sector(100)))
      const quiet = await drained(source, target)
      writes.push(guest.write(512, sector(101)))
      await copy()
      await reader.close(main)
      await copier.close(main)
      await replaceNode(main, quiet, source, target)
      quiet.end()
    })
    await Promise.allSettled(writes)
    const into = new Uint8Array(8 * 512)
    await guest.read(0, into)
    expect(guest.node).toBe(target)
    expect([...Array(8).keys()].map((index) => into[index * 512])).toEqual([100, 101, 3, 4, 5, 6, 7, 8])
  })
})

describe('G20: a sequence of steps that belongs together', () => {
  const run = async (whole: boolean) => {
    const world = new GraphWorld()
    const [a, b] = [await world.memory('a'), await world.memory('b')]
    const devices = [await world.backend(a), await world.backend(b)]
    let running = true
    const loops = devices.map(async (device) => {
      while (running) {
        await device.write(0, sector(1))
        await new Promise((resolve) => world.clock.nextTurn(() => resolve(undefined)))
      }
    })
    const generations = () => [a.state.writeGeneration, b.state.writeGeneration].join()
    const seen = await world.main(async (main) => {
      const section = whole ? await drainAll(main, world.graph) : undefined
      const looks: string[] = []
      for (let step = 0; step < 3; step++) {
        const single = whole ? undefined : await drained(a, b)
        looks.push(generations())
        single?.end()
        await world.settle()
        await world.settle()
      }
      section?.end()
      return looks
    })
    running = false
    await Promise.allSettled(loops)
    return new Set(seen).size
  }
  it('nothing slips in between when one section holds them all', async () => {
    expect(await run(true)).toBe(1)
  })
  it('single drains would let requests in', async () => {
    expect(await run(false)).toBeGreaterThan(1)
  })
})

describe('G29: a job with a filter is cancelled', () => {
  it.each(['idle', 'at work', 'drained'])('while %s: its filter goes, its edges go, counters are 0', async (state) => {
    const world = new GraphWorld()
    const base = await world.memory('base')
    const backend = await world.backend(base)
    const job = new ClientRoot(world.graph, 'job', {}, true)
    const filter = await world.main(async (main) => {
      const quiet = await drained(base)
      const inserted = await insertNode(main, quiet, base, {
        driver: 'throttle',
        'node-name': 'job-filter',
      })
      await job.attach(main, base)
      quiet.end()
      return inserted
    })
    expect(backend.node).toBe(filter)
    const rest = state === 'at work' ? job.begin() : undefined
    const section = state === 'drained' ? await drained(base) : undefined
    const cancelled = world.main(async (main) => {
      const quiet = await drained(filter, base)
      await dropFilter(main, quiet, filter)
      for (const edge of [...job.edges]) await job.detach(main, edge, quiet)
      quiet.end()
    })
    if (rest !== undefined) {
      expect(await stateOfPromise(cancelled)).toBe('pending')
      rest()
    }
    await cancelled
    section?.end()
    expect([backend.node, filter.closed, base.parents.size]).toEqual([base, true, 1])
    expect(job.begins).toBe(job.ends)
    expect(world.unrest()).toEqual([])
  })

  it('a job that stays at its node keeps a filter from being dropped under it', async () => {
    const world = new GraphWorld()
    const base = await world.memory('base')
    const filter = await world.open({ driver: 'throttle', 'node-name': 'filter', file: 'base' })
    const job = new ClientRoot(world.graph, 'job', {}, true)
    await world.main((main) => job.attach(main, filter))
    const before = world.serialise()
    await world.main(async (main) => {
      const quiet = await drained(filter, base)
      await expect(dropFilter(main, quiet, filter)).rejects.toMatchObject({ code: 'EBUSY' })
      quiet.end()
    })
    expect(world.serialise()).toBe(before)
  })
})
