// Calls of one section that overlap, as under Promise.all: what one commits while another waits for its drivers is looked at again.

import { expect, it } from 'vitest'
import { BLK_PERM_CONSISTENT_READ } from '../../../src/common/permissions.js'
import { createBackend } from '../../../src/global-state/backend.js'
import { setBacking } from '../../../src/global-state/edit/graph-edit.js'
import { closeNode } from '../../../src/global-state/life/close.js'
import { openNode } from '../../../src/global-state/life/open.js'
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
