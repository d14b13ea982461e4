import { describe, expect, test } from 'vitest'
import { BLK_PERM_ALL, BLK_PERM_CONSISTENT_READ, BLK_PERM_WRITE } from '../../../src/common/permissions.js'
import { createBackend } from '../../../src/global-state/backend.js'
import type { NodeState } from '../../../src/global-state/node-state.js'
import { blockOp } from '../../../src/global-state/op-blockers.js'
import { isAllocated } from '../../../src/io/block-status.js'
import { type CommitOptions, commitImage } from '../../../src/jobs/commit-image.js'
import { GraphWorld, READ_WRITE } from '../../support/graph-world.js'

const KiB = 1024

interface Chain {
  world: GraphWorld
  base: NodeState
  middle: NodeState
  top: NodeState
}

/** base (64 KiB, all 1) <- middle (8 KiB of 2 at 8 KiB) <- top (80 KiB; 4 KiB of 3 at 4 KiB, zeroes at 8 KiB, 4 at 72 KiB) */
async function makeChain(): Promise<Chain> {
  const world = new GraphWorld()
  const base = await world.open({ driver: 'memory', 'node-name': 'base', size: 64 * KiB })
  const middle = await world.open({ driver: 'overlay', 'node-name': 'middle', backing: 'base' })
  const top = await world.open({
    driver: 'overlay',
    'node-name': 'top',
    backing: 'middle',
    size: 80 * KiB,
    discard: 'unmap',
  })
  await world.fill(base, 0, 64 * KiB, 1)
  await world.fill(middle, 8 * KiB, 8 * KiB, 2)
  await world.fill(top, 4 * KiB, 4 * KiB, 3)
  await world.fill(top, 72 * KiB, 4 * KiB, 4)
  await world.main(async (main) => {
    const root = await createBackend(main, world.graph, { node: top, perm: READ_WRITE })
    await root.discard(8 * KiB, 4 * KiB)
    await root.close(main)
  })
  return { world, base, middle, top }
}

function commit({ world, top }: Chain, options: CommitOptions = {}): Promise<void> {
  return world.main((main) => commitImage(main, top, options))
}

function links(node: NodeState): string[] {
  return node.children.map((edge) => `${edge.name}:${edge.node.nodeName}`)
}

describe('what goes where', () => {
  test('into the next layer, which grows, and the top is empty', async () => {
    const chain = await makeChain()
    const { world, base, middle, top } = chain
    const before = await world.content(top)
    const beforeBase = await world.content(base)
    await commit(chain)
    expect(await world.content(middle)).toEqual(before)
    expect(await world.content(top)).toEqual(before)
    expect(await world.content(base)).toEqual(beforeBase)
    expect(await isAllocated(top, 0, 80 * KiB)).toMatchObject({ allocated: false, bytes: 80 * KiB })
    expect([links(top), links(middle)]).toEqual([['backing:middle'], ['backing:base']])
    expect([...world.graph.nodes.keys()].sort()).toEqual(['base', 'middle', 'top'])
  })

  test('through several layers, and the top stays as it is', async () => {
    const chain = await makeChain()
    const { world, base, top } = chain
    const before = await world.content(top)
    await commit(chain, { base })
    expect(await world.content(base)).toEqual(before)
    expect(await isAllocated(top, 4 * KiB, 4 * KiB)).toMatchObject({ allocated: true })
  })

  test('the top keeps what it has where that is asked for', async () => {
    const chain = await makeChain()
    await commit(chain, { empty: false })
    expect(await isAllocated(chain.top, 4 * KiB, 4 * KiB)).toMatchObject({ allocated: true })
  })

  test('tells how far it is, and asks before each piece', async () => {
    const chain = await makeChain()
    const told: [number, number][] = []
    let admitted = 0
    await commit(chain, {
      progress: (done, total) => told.push([done, total]),
      admit: async (bytes) => {
        admitted += bytes
      },
    })
    expect(told[0]).toEqual([0, 80 * KiB])
    expect(told.at(-1)).toEqual([80 * KiB, 80 * KiB])
    // Data at two places, and zeroes.
    expect(admitted).toBe(12 * KiB)
  })

  test('a base that was opened read-only is so again', async () => {
    const world = new GraphWorld()
    const base = await world.open({ driver: 'memory', 'node-name': 'base', size: 64 * KiB, 'read-only': true })
    const top = await world.open({ driver: 'overlay', 'node-name': 'top', backing: 'base' })
    await world.fill(top, 0, 4 * KiB, 7)
    await world.main((main) => commitImage(main, top))
    expect(base.readOnly).toBe(true)
    expect((await world.content(base)).subarray(0, 4 * KiB)).toEqual(new Uint8Array(4 * KiB).fill(7))
  })
})

/** The graph; in which order a node has its parents is of no interest. */
function picture({ world }: Chain): unknown {
  return JSON.parse(world.serialise(), (key, value: unknown) =>
    key === 'parents' && Array.isArray(value) ? value.map((parent) => JSON.stringify(parent)).sort() : value,
  )
}

describe('what is refused leaves everything as it was', () => {
  async function refused(chain: Chain, code: string, options: CommitOptions = {}): Promise<void> {
    const before = picture(chain)
    await expect(commit(chain, options)).rejects.toMatchObject({ code })
    expect(picture(chain)).toEqual(before)
  }

  test('a base that is not below', async () => {
    const chain = await makeChain()
    const other = await chain.world.open({ driver: 'memory', 'node-name': 'other', size: 64 * KiB })
    await refused(chain, 'EINVAL', { base: other })
    await refused(chain, 'EINVAL', { base: chain.top })
    await refused({ ...chain, top: chain.base }, 'EINVAL')
  })

  test('a base that others do not allow to be written', async () => {
    const chain = await makeChain()
    const { world, middle } = chain
    await world.main((main) =>
      createBackend(main, world.graph, {
        node: middle,
        perm: BLK_PERM_CONSISTENT_READ,
        shared: BLK_PERM_ALL & ~BLK_PERM_WRITE,
      }),
    )
    await refused(chain, 'EPERM')
  })

  test('a layer between that others look at', async () => {
    const chain = await makeChain()
    const { world, middle, base } = chain
    await world.main((main) => createBackend(main, world.graph, { node: middle }))
    await refused(chain, 'EBUSY', { base })
  })

  test('an operation that is blocked', async () => {
    const chain = await makeChain()
    await chain.world.main(async (main) => blockOp(main, chain.middle, 'commit-target', { message: 'not now' }))
    await refused(chain, 'EBUSY')
  })
})

test('a guest that does not share its disk waits, and goes on with the same disk', async () => {
  const chain = await makeChain()
  const { world, top, middle } = chain
  const guest = await world.main((main) =>
    createBackend(main, world.graph, { node: top, perm: READ_WRITE, shared: BLK_PERM_CONSISTENT_READ | 4 }),
  )
  let written = false
  const committing = commit(chain, {
    progress: (done) => {
      if (done === 0) {
        guest.write(0, new Uint8Array(512).fill(9)).then(() => {
          written = true
        })
      } else expect(written).toBe(false)
    },
  })
  await committing
  await guest.flush()
  expect(written).toBe(true)
  const disk = await world.content(top)
  expect(disk.subarray(0, 512)).toEqual(new Uint8Array(512).fill(9))
  expect((await world.content(middle)).subarray(0, 512)).toEqual(new Uint8Array(512).fill(1))
})
