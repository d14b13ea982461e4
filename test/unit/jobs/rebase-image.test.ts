import { describe, expect, test } from 'vitest'
import { createBackend } from '../../../src/global-state/backend.js'
import { defineDriver } from '../../../src/global-state/driver.js'
import type { NodeState } from '../../../src/global-state/node-state.js'
import { isAllocated } from '../../../src/io/block-status.js'
import { type NewBacking, rebaseImage } from '../../../src/jobs/rebase-image.js'
import { overlayDriver } from '../../../src/testing/overlay-driver.js'
import { GraphWorld } from '../../support/graph-world.js'

const KiB = 1024

interface Chain {
  world: GraphWorld
  old: NodeState
  top: NodeState
  /** What the image was told of its backing file. */
  told: unknown[]
}

/** old (64 KiB, 1; 2 from 32 KiB on) <- top (96 KiB; 3 from 8 to 12 KiB) */
async function makeChain(): Promise<Chain> {
  const told: unknown[] = []
  const named = defineDriver({
    ...overlayDriver,
    name: 'named-overlay',
    changeBackingFile(_state, filename, format) {
      told.push([filename, format])
    },
  })
  const world = new GraphWorld({ drivers: [named] })
  const old = await world.open({ driver: 'memory', 'node-name': 'old', size: 64 * KiB })
  const top = await world.open({ driver: 'named-overlay', 'node-name': 'top', backing: 'old', size: 96 * KiB })
  await world.fill(old, 0, 32 * KiB, 1)
  await world.fill(old, 32 * KiB, 32 * KiB, 2)
  await world.fill(top, 8 * KiB, 4 * KiB, 3)
  return { world, old, top, told }
}

async function allocated({ top }: Chain): Promise<number[]> {
  const found: number[] = []
  for (let at = 0; at < top.state.length; at += 4 * KiB) {
    if ((await isAllocated(top, at, 4 * KiB)).allocated) found.push(at / KiB)
  }
  return found
}

function rebase({ world, top }: Chain, backing: NewBacking): Promise<void> {
  return world.main((main) => rebaseImage(main, top, backing))
}

describe('the disk stays the same', () => {
  test('over a longer file: what differs is copied, and nothing else', async () => {
    const chain = await makeChain()
    const { world, top, told } = chain
    const node = await world.open({ driver: 'memory', 'node-name': 'new', size: 96 * KiB })
    await world.fill(node, 0, 32 * KiB, 1)
    await world.fill(node, 32 * KiB, 28 * KiB, 2)
    await world.fill(node, 80 * KiB, 512, 5)
    const before = await world.content(top)
    await rebase(chain, { node, filename: 'new.img', format: 'raw' })
    expect(await world.content(top)).toEqual(before)
    expect(top.backing?.node).toBe(node)
    expect(told).toEqual([['new.img', 'raw']])
    expect(await allocated(chain)).toEqual([8, 60, 80])
  })

  test('over nothing', async () => {
    const chain = await makeChain()
    const { world, top, told } = chain
    const before = await world.content(top)
    await rebase(chain, { node: undefined, filename: undefined, format: undefined })
    expect(await world.content(top)).toEqual(before)
    expect(top.backing).toBeUndefined()
    expect(told).toEqual([[undefined, undefined]])
    expect(await allocated(chain)).toEqual(Array.from({ length: 16 }, (_, index) => index * 4))
  })

  test('over a file of its own chain: only what stands between is looked at', async () => {
    const chain = await makeChain()
    const { world, top, old } = chain
    const above = await world.open({ driver: 'named-overlay', 'node-name': 'above', backing: 'top' })
    await world.fill(above, 0, 4 * KiB, 9)
    const before = await world.content(above)
    await world.main((main) => rebaseImage(main, above, { node: old, filename: 'old.img', format: 'raw' }))
    expect(await world.content(above)).toEqual(before)
    expect(above.backing?.node).toBe(old)
    expect(await allocated({ ...chain, top: above })).toEqual([0, 8])
    expect(top.parents.size).toBe(0)
  })
})

describe('what is refused changes nothing', () => {
  test('a format without a name, a name without a format, a driver without backing files', async () => {
    const chain = await makeChain()
    const { world, old, top } = chain
    const node = await world.open({ driver: 'memory', 'node-name': 'new', size: 96 * KiB })
    await expect(rebase(chain, { node, filename: 'x', format: undefined })).rejects.toMatchObject({ code: 'EINVAL' })
    await expect(rebase(chain, { node, filename: undefined, format: 'raw' })).rejects.toMatchObject({ code: 'EINVAL' })
    const named = { node, filename: 'x', format: 'raw' }
    await expect(rebase({ ...chain, top: old }, named)).rejects.toMatchObject({ code: 'ENOTSUP' })
    expect(top.backing?.node).toBe(old)
    expect(chain.told).toEqual([])
  })

  test('an image that somebody else does not let be written', async () => {
    const chain = await makeChain()
    const { world, top, old } = chain
    await world.main((main) => createBackend(main, world.graph, { node: top, shared: 1 }))
    await expect(rebase(chain, { node: undefined, filename: undefined, format: undefined })).rejects.toMatchObject({
      code: 'EPERM',
    })
    expect(top.backing?.node).toBe(old)
    expect(await allocated(chain)).toEqual([8])
  })
})
