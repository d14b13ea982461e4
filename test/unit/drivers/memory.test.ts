import { describe, expect, it } from 'vitest'
import { CHUNK_BYTES, type MemoryState, memoryDriver } from '../../../src/drivers/memory.js'
import { codeOf, openIn, openRig } from '../../support/driver-rig.js'

const data = Uint8Array.from({ length: 200_000 }, (_, i) => (i % 251) + 1)

describe('memory', () => {
  it('completes before it returns and counts what it holds', async () => {
    const { node, close } = await openRig({ driver: 'memory', size: '1M' })
    expect(node.io.write?.(0, data, 0)).toBeUndefined()
    expect(node.io.allocatedSize?.()).toBe(4 * CHUNK_BYTES)
    expect(node.io.discard?.(0, 2 * CHUNK_BYTES)).toBeUndefined()
    expect(node.io.allocatedSize?.()).toBe(2 * CHUNK_BYTES)
    await close()
  })

  it('frees everything when its node is closed', async () => {
    const { node, close } = await openRig({ driver: 'memory', size: '1M' })
    const { store } = node.driverState as MemoryState
    store.write(0, data)
    await close()
    expect(store.allocatedBytes).toBe(0)
  })

  it('refuses preallocation', async () => {
    const { backend, node, close } = await openRig({ driver: 'memory', size: 512 })
    expect(await codeOf(() => backend.truncate(1024, { truncate: { preallocation: 'full' } }))).toBe('ENOTSUP')
    expect(node.state.length).toBe(512)
    await close()
  })

  it('copies within one node, also where the ranges overlap, and between nodes', async () => {
    const from = await openRig({ driver: 'memory', 'node-name': 'from', size: '1M' })
    const to = await openIn(from.graph, { driver: 'memory', 'node-name': 'to', size: '1M' })
    await from.backend.write(0, data)
    const copy = (rig: typeof from, sourceOffset: number, offset: number, bytes: number) =>
      rig.node.io.copyRangeTo?.({ node: from.node }, sourceOffset, offset, bytes, 0)
    const read = async (rig: typeof from, offset: number, bytes: number) => {
      const into = new Uint8Array(bytes)
      await rig.backend.read(offset, into)
      return Buffer.from(into)
    }
    await copy(to, 0, 1000, 300_000)
    expect((await read(to, 1000, 200_000)).equals(data)).toBe(true)
    expect((await read(to, 201_000, 100_000)).equals(Buffer.alloc(100_000))).toBe(true)
    await copy(from, 0, 70_000, 200_000)
    expect((await read(from, 70_000, 200_000)).equals(data)).toBe(true)
    await copy(from, 70_000, 3, 200_000)
    expect((await read(from, 3, 200_000)).equals(data)).toBe(true)
    await to.close()
    expect(await from.close()).toBe(0)
  })

  it('refuses to copy from what is not in memory', async () => {
    const { node, graph, close } = await openRig({ driver: 'memory', size: 4096 })
    const other = await openIn(graph, { driver: 'null-co', size: 4096 })
    expect(await codeOf(() => node.io.copyRangeTo?.({ node: other.node }, 0, 0, 512, 0))).toBe('ENOTSUP')
    await other.close()
    await close()
  })

  it('is a protocol without a file name', () => {
    expect(memoryDriver.kind).toBe('protocol')
    expect(memoryDriver.needsFilename).toBeUndefined()
  })
})
