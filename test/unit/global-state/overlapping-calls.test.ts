// Calls of one section that overlap, as under Promise.all: what one commits while another waits for its drivers is looked at again.

import { expect, it } from 'vitest'
import { BlockError } from '../../../src/common/error.js'
import { BLK_PERM_CONSISTENT_READ } from '../../../src/common/permissions.js'
import { createBackend } from '../../../src/global-state/backend.js'
import { freezeBackingChain } from '../../../src/global-state/backing-chain.js'
import { type BlockDriver, defineDriver } from '../../../src/global-state/driver.js'
import { replaceNode, setBacking } from '../../../src/global-state/edit/graph-edit.js'
import { closeNode } from '../../../src/global-state/life/close.js'
import { openNode } from '../../../src/global-state/life/open.js'
import type { NodeState } from '../../../src/global-state/node-state.js'
import { drained } from '../../../src/io/drained.js'
import { GraphWorld, READ_WRITE } from '../../support/graph-world.js'

const codes = (results: PromiseSettledResult<unknown>[]) =>
  results.map((result) => (result.status === 'rejected' ? (result.reason as { code: string }).code : 'done'))

it('of two exclusive writers one comes in', async () => {
  const world = new GraphWorld()
  const node = await world.memory('disk')
  const options = { node, perm: READ_WRITE, shared: BLK_PERM_CONSISTENT_READ }
  const results = await world.main((main) =>
    Promise.allSettled([1, 2, 3].map(() => createBackend(main, world.graph, options))),
  )
  expect(codes(results).sort()).toEqual(['EPERM', 'EPERM', 'done'])
  expect([node.parents.size, world.graph.backends.size]).toEqual([1, 1])
})

it('of two edits of one link the second is refused', async () => {
  const world = new GraphWorld()
  const [a, b, c] = [await world.memory('a'), await world.memory('b'), await world.memory('c')]
  const top = await world.open({ driver: 'overlay', 'node-name': 'top', backing: 'a' })
  const results = await world.main(async (main) => {
    const quiet = await drained(top, a, b, c)
    const settled = await Promise.allSettled([b, c].map((backing) => setBacking(main, quiet, top, backing)))
    quiet.end()
    return settled
  })
  expect(codes(results)).toEqual(['done', 'EBUSY'])
  expect([top.backing?.node, a.parents.size, b.parents.size, c.parents.size]).toEqual([b, 0, 1, 0])
  expect(world.unrest()).toEqual([])
})

it('of two backing files for a node that has none, one is set', async () => {
  const world = new GraphWorld()
  const [a, b] = [await world.memory('a'), await world.memory('b')]
  const top = await world.open({ driver: 'overlay', 'node-name': 'top', size: 4096 })
  const results = await world.main(async (main) => {
    const quiet = await drained(top, a, b)
    const settled = await Promise.allSettled([a, b].map((backing) => setBacking(main, quiet, top, backing)))
    quiet.end()
    return settled
  })
  expect(codes(results)).toEqual(['done', 'EBUSY'])
  expect(top.children).toHaveLength(1)
})

it('opens that do not touch each other all succeed', async () => {
  const world = new GraphWorld()
  await world.memory('base')
  const nodes = await world.main((main) =>
    Promise.all(
      [...Array(8).keys()].map((index) =>
        openNode(main, world.graph, { driver: 'raw', 'node-name': `n${index}`, file: 'base' }),
      ),
    ),
  )
  expect(nodes.map((node) => node.file?.node.nodeName)).toEqual(Array(8).fill('base'))
})

it('a node that is being closed takes no new users', async () => {
  const world = new GraphWorld()
  const disk = await world.memory('disk')
  const results = await world.main((main) =>
    Promise.allSettled([openNode(main, world.graph, { driver: 'raw', file: 'disk' }), closeNode(main, disk)]),
  )
  expect(codes(results)).toEqual(['ENODEV', 'done'])
  expect([world.graph.nodes.size, disk.parents.size]).toEqual([0, 0])
})

/** A protocol whose veto on permissions takes a while, and during it whatever the test wants. */
function slowDriver(during: () => void | Promise<void>, after: string[] = []): BlockDriver {
  return defineDriver({
    name: 'slow',
    kind: 'protocol',
    options: {},
    open: () => ({ io: { length: () => 65536, read: () => {}, write: () => {} }, state: undefined }),
    permissions: {
      check: () => during(),
      set: () => void after.push('set'),
      abort: () => void after.push('abort'),
    },
  }) as BlockDriver
}

it('a link frozen while drivers prepare is refused with nothing changed', async () => {
  let during = () => {}
  const world = new GraphWorld({ drivers: [slowDriver(() => during())] })
  await world.memory('old')
  const slow = await world.open({ driver: 'slow', 'node-name': 'new' })
  const top = await world.open({ driver: 'overlay', 'node-name': 'top', backing: 'old' })
  await world.main(async (main) => {
    const quiet = await drained(top, slow, world.graph.node('old'))
    during = () => {
      if (top.backing?.frozen === false) freezeBackingChain(main, top)
    }
    await expect(setBacking(main, quiet, top, slow)).rejects.toMatchObject({ code: 'EBUSY' })
    quiet.end()
  })
  expect([top.backing?.node.nodeName, slow.parents.size]).toEqual(['old', 0])
})

it('of two media put into one backend at once, one comes in', async () => {
  const world = new GraphWorld()
  const [a, b] = [await world.memory('a'), await world.memory('b')]
  const backend = await world.backend(undefined)
  const results = await world.main((main) => Promise.allSettled([a, b].map((node) => backend.insert(main, node))))
  expect(codes(results)).toEqual(['done', 'EBUSY'])
  expect([a.parents.size, b.parents.size]).toEqual([1, 0])
})

it('a backend closed while a medium is put in keeps none', async () => {
  const world = new GraphWorld()
  const node = await world.memory('disk')
  const backend = await world.backend(undefined)
  const results = await world.main((main) => Promise.allSettled([backend.insert(main, node), backend.close(main)]))
  expect(codes(results)).toEqual(['ENODEV', 'done'])
  expect([node.parents.size, world.graph.backends.size]).toEqual([0, 0])
})

it('a driver that throws at commit is reported, and the others hear theirs', async () => {
  const heard: string[] = []
  const rude = defineDriver({
    ...slowDriver(() => {}),
    name: 'rude',
    permissions: {
      check: () => {},
      set: () => {
        throw new Error('rude')
      },
      abort: () => {},
    },
  }) as BlockDriver
  const world = new GraphWorld({ drivers: [slowDriver(() => {}, heard), rude] })
  const top = await world.open({
    driver: 'overlay',
    size: 4096,
    backing: { driver: 'blkdebug', image: { driver: 'slow', 'node-name': 'slow' } },
  })
  const other = await world.open({ driver: 'rude' })
  heard.length = 0
  await world.main(async (main) => {
    const quiet = await drained(top, other, world.graph.node('slow'))
    await setBacking(main, quiet, top, other)
    quiet.end()
  })
  expect(top.backing?.node).toBe(other)
  expect(world.eventsOf('background-error').length).toBeGreaterThan(0)
  expect(heard).toContain('set')
})

it('a node whose new child cannot tell its length is replaced all the same', async () => {
  let broken = false
  const moody = defineDriver({
    name: 'moody',
    kind: 'protocol',
    options: {},
    open: () => ({
      io: {
        length: () => {
          if (broken) throw new BlockError('EIO', 'no length')
          return 32768
        },
        read: () => {},
      },
      state: undefined,
    }),
  }) as BlockDriver
  const world = new GraphWorld({ drivers: [moody] })
  const [old, next] = [await world.memory('old'), await world.open({ driver: 'moody' })]
  const filter = await world.open({ driver: 'blkdebug', file: 'old' })
  const raw = await world.open({ driver: 'raw', file: 'old' })
  const swap = (from: NodeState, to: NodeState) =>
    world.main(async (main) => {
      const quiet = await drained(from, to)
      await replaceNode(main, quiet, from, to)
      quiet.end()
    })
  await swap(old, next)
  expect([filter.state.length, raw.state.length]).toEqual([32768, 32768])
  await swap(next, old)
  broken = true
  await swap(old, next)
  expect(filter.file?.node).toBe(next)
})
