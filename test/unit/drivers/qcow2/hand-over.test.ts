// An image that goes to another owner and comes back.

import { expect, it } from 'vitest'
import { BLK_PERM_ALL, BLK_PERM_CONSISTENT_READ } from '../../../../src/common/permissions.js'
import { builtinDrivers } from '../../../../src/drivers/index.js'
import { createBackend } from '../../../../src/global-state/backend.js'
import { BlockGraph } from '../../../../src/global-state/graph.js'
import { activateAll, inactivateAll } from '../../../../src/global-state/life/activation.js'
import { closeNode } from '../../../../src/global-state/life/close.js'
import { openNode } from '../../../../src/global-state/life/open.js'
import { storageDriver, storageOf } from '../../../../src/testing/storage/memory-storage.js'
import { emptyImage } from '../../../support/qcow2-image.js'

const SIZE = 64 * 1024

it('shows what the other owner has written', async () => {
  const store = storageOf(emptyImage(SIZE))
  const graph = new BlockGraph({ drivers: [...builtinDrivers, storageDriver(store)] })
  const options = { driver: 'qcow2', 'node-name': 'image', file: { driver: 'storage' } }
  const reader = await graph.mainLoop(async (main) => {
    const node = await openNode(main, graph, options)
    return createBackend(main, graph, { node, perm: BLK_PERM_CONSISTENT_READ, shared: BLK_PERM_ALL })
  })
  const seen = new Uint8Array(512)
  await reader.read(4096, seen)
  expect(seen[0]).toBe(0)
  await graph.mainLoop((main) => inactivateAll(main, graph))

  const other = new BlockGraph({ drivers: [...builtinDrivers, storageDriver(store)] })
  await other.mainLoop(async (main) => {
    const node = await openNode(main, other, options)
    const backend = await createBackend(main, other, { node, perm: BLK_PERM_ALL, shared: BLK_PERM_ALL })
    await backend.write(4096, new Uint8Array(512).fill(7))
    await backend.close(main)
    await closeNode(main, node)
  })

  await graph.mainLoop((main) => activateAll(main, graph))
  await reader.read(4096, seen)
  expect(seen.every((byte) => byte === 7)).toBe(true)
  await graph.mainLoop(async (main) => {
    await reader.close(main)
    await closeNode(main, graph.node('image'))
  })
})
