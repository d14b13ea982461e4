// A backing chain of 1,000 nodes, and a definition nested as deep: nothing in the library counts on the stack being deep enough.

import { expect, it } from 'vitest'
import {
  chainDepth,
  findBase,
  freezeBackingChain,
  unfreezeBackingChain,
} from '../../../src/global-state/backing-chain.js'
import { describeGraph } from '../../../src/global-state/describe-graph.js'
import { drainAll } from '../../../src/global-state/drain-all.js'
import { openNode } from '../../../src/global-state/life/open.js'
import { drained } from '../../../src/io/drained.js'
import { GraphWorld } from '../../support/graph-world.js'

const LENGTH = 1000

async function bottomUp(world: GraphWorld, driver: 'overlay' | 'throttle' | 'raw') {
  const key = driver === 'overlay' ? 'backing' : 'file'
  return world.main(async (main) => {
    let top = await openNode(main, world.graph, { driver: 'memory', 'node-name': 'n0', size: 65536 })
    for (let index = 1; index < LENGTH; index++) {
      const below = top
      top = await openNode(main, world.graph, { driver, 'node-name': `n${index}`, [key]: below.nodeName })
      // The chain alone keeps what is below.
      below.holds = 0
    }
    return top
  })
}

it.each(['overlay', 'throttle', 'raw'] as const)(
  'a chain of 1,000 %s nodes opens, drains, reads, writes and closes',
  async (driver) => {
    const world = new GraphWorld()
    const top = await bottomUp(world, driver)
    const base = world.graph.node('n0')
    const backend = await world.backend(top)
    await backend.write(0, new Uint8Array(512).fill(1))
    const section = await drained(base)
    expect([top.state.quiesceCounter, backend.root.quiesced]).toEqual([1, 1])
    const held = backend.write(4096, new Uint8Array(512).fill(2))
    section.end()
    await held
    const into = new Uint8Array(512)
    await backend.read(4096, into)
    expect(into[0]).toBe(2)
    await backend.read(32768, into)
    expect(into[0]).toBe(0)
    await backend.flush()
    expect((await backend.blockStatus(32768, 512)).bytes).toBeGreaterThan(0)
    const all = await world.main((main) => drainAll(main, world.graph))
    all.end()
    expect(world.unrest()).toEqual([])
    expect(describeGraph(world.graph).nodes).toHaveLength(LENGTH)
    if (driver === 'overlay') {
      expect([findBase(top), chainDepth(top)]).toEqual([base, LENGTH])
      await world.main(async (main) => {
        freezeBackingChain(main, top)
        unfreezeBackingChain(main, top)
      })
    }
    await world.main((main) => backend.close(main))
    await world.close(top)
    expect(world.graph.nodes.size).toBe(0)
  },
  30_000,
)

it('a definition nested 300 levels deep opens and closes', async () => {
  const world = new GraphWorld()
  let options: Record<string, unknown> = { driver: 'memory', size: 512 }
  for (let level = 1; level < 300; level++) options = { driver: 'throttle', file: options }
  const top = await world.open(options)
  expect([world.graph.nodes.size, top.state.length]).toEqual([300, 512])
  await world.close(top)
  expect(world.graph.nodes.size).toBe(0)
})
