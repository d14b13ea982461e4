// Bitmaps, thresholds and descriptions on a real graph: what requests do to them.

import { describe, expect, it } from 'vitest'
import {
  BLK_PERM_ALL,
  BLK_PERM_CONSISTENT_READ,
  BLK_PERM_RESIZE,
  BLK_PERM_WRITE,
} from '../../../src/common/permissions.js'
import { MiB } from '../../../src/common/units.js'
import { memoryDriver } from '../../../src/drivers/memory.js'
import { rawDriver } from '../../../src/drivers/raw.js'
import { createBackend } from '../../../src/global-state/backend.js'
import { abdicateBitmap, createBitmapSuccessor } from '../../../src/global-state/bitmaps/bitmap-successor.js'
import { createDirtyBitmap, disableDirtyBitmap, setBitmapReadonly } from '../../../src/global-state/bitmaps/bitmaps.js'
import { describeGraph } from '../../../src/global-state/describe-graph.js'
import { BlockGraph } from '../../../src/global-state/graph.js'
import { graphToDot } from '../../../src/global-state/graph-picture.js'
import { openNode } from '../../../src/global-state/life/open.js'
import { setWriteThreshold } from '../../../src/global-state/write-threshold.js'
import { dirtyAreas, dirtyBytes } from '../../../src/io/dirty-bitmap.js'
import { withDrained } from '../../../src/io/drained.js'

async function world() {
  const graph = new BlockGraph({ drivers: [memoryDriver, rawDriver] })
  const perm = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE | BLK_PERM_RESIZE
  const { node, backend } = await graph.mainLoop(async (main) => {
    const node = await openNode(main, graph, {
      driver: 'raw',
      'node-name': 'top',
      discard: 'unmap',
      file: { driver: 'memory', size: MiB, 'node-name': 'mem', discard: 'unmap' },
    })
    return { node, backend: await createBackend(main, graph, { name: 'disk', perm, shared: BLK_PERM_ALL, node }) }
  })
  return { graph, node, backend }
}

describe('a bitmap of a node in a graph', () => {
  it('sees writes, zero writes and discards, and follows the length', async () => {
    const { graph, node, backend } = await world()
    const bitmap = await graph.mainLoop((main) => createDirtyBitmap(main, node, { name: 'b', granularity: 4096 }))
    await backend.write(5000, new Uint8Array(10))
    await backend.writeZeroes(16384, 4096)
    await backend.discard(32768, 4096)
    await backend.read(65536, new Uint8Array(4096))
    expect([...dirtyAreas(bitmap)]).toEqual([
      { offset: 4096, bytes: 4096 },
      { offset: 16384, bytes: 4096 },
      { offset: 32768, bytes: 4096 },
    ])
    await backend.truncate(20480)
    expect([bitmap.bits.length, dirtyBytes(bitmap)]).toEqual([20480, 8192])
    await backend.truncate(MiB)
    expect([bitmap.bits.length, dirtyBytes(bitmap)]).toEqual([MiB, 8192])
    await graph.mainLoop(async (main) => disableDirtyBitmap(main, node, bitmap))
    await backend.write(0, new Uint8Array(512))
    expect(dirtyBytes(bitmap)).toBe(8192)
  })

  it('loses no write while a successor records', async () => {
    const { graph, node, backend } = await world()
    const bitmap = await graph.mainLoop((main) => createDirtyBitmap(main, node, { name: 'b', granularity: 4096 }))
    await backend.write(0, new Uint8Array(512))
    await graph.mainLoop(async (main) => createBitmapSuccessor(main, node, bitmap))
    await backend.write(8192, new Uint8Array(512))
    const next = await graph.mainLoop(async (main) => abdicateBitmap(main, node, bitmap))
    await backend.write(16384, new Uint8Array(512))
    expect([...dirtyAreas(next)].map(({ offset }) => offset)).toEqual([8192, 16384])
  })

  it('that is read-only forbids writes and discards, and lets reads pass', async () => {
    const { graph, node, backend } = await world()
    await graph.mainLoop(async (main) => {
      const bitmap = await createDirtyBitmap(main, node, { name: 'b' })
      setBitmapReadonly(main, node, bitmap, true)
    })
    const refused = expect.objectContaining({ code: 'EPERM' })
    await expect(backend.write(0, new Uint8Array(512))).rejects.toEqual(refused)
    await expect(backend.writeZeroes(0, 512)).rejects.toEqual(refused)
    await expect(backend.discard(0, 512)).rejects.toEqual(refused)
    await backend.read(0, new Uint8Array(512))
  })
})

describe('a write threshold', () => {
  it('tells once of the first write that passes it', async () => {
    const { graph, node, backend } = await world()
    const heard: unknown[] = []
    graph.trace.listen((name, event) => name === 'write-threshold' && heard.push(event))
    await graph.mainLoop(async (main) => setWriteThreshold(main, node, 4096))
    await backend.write(0, new Uint8Array(4096))
    expect(heard).toEqual([])
    await backend.write(4096, new Uint8Array(512))
    await backend.write(8192, new Uint8Array(512))
    await Promise.resolve()
    expect(heard).toEqual([{ node: 'top', threshold: 4096, exceededBy: 512 }])
    expect(node.state.writeThreshold).toBe(0)
  })
})

describe('describeGraph of a real graph', () => {
  it('shows nodes, the backend and what is drained', async () => {
    const { graph, node } = await world()
    await withDrained([node], async () => {
      const described = describeGraph(graph)
      expect(described.nodes.map(({ name, driver, quiesceCounter }) => [name, driver, quiesceCounter])).toEqual(
        expect.arrayContaining([
          ['top', 'raw', 1],
          ['mem', 'memory', 0],
        ]),
      )
      expect(described.edges).toEqual(
        expect.arrayContaining([
          expect.objectContaining({
            from: 'backend:disk',
            to: 'node:top',
            perm: ['consistent-read', 'write', 'resize'],
            quiesced: true,
          }),
          expect.objectContaining({ from: 'node:top', to: 'node:mem', name: 'file', quiesced: false }),
        ]),
      )
      expect(graphToDot(described)).toContain('drained 1x')
    })
    expect(describeGraph(graph).nodes.every(({ quiesceCounter }) => quiesceCounter === 0)).toBe(true)
  })
})
