import { describe, expect, it } from 'vitest'
import { BLK_PERM_WRITE_UNCHANGED } from '../../../../src/common/permissions.js'
import { BDRV_REQ_PREFETCH } from '../../../../src/common/request.js'
import { isAllocated } from '../../../../src/io/block-status.js'
import { overlayDriver } from '../../../../src/testing/overlay-driver.js'
import { storageDriver, storageOf } from '../../../../src/testing/storage/memory-storage.js'
import { codeOf, openRig } from '../../../support/driver-rig.js'

const content = Uint8Array.from({ length: 262_144 }, (_, i) => (i % 251) + 1)

const openChain = (options: Record<string, unknown> = {}) =>
  openRig(
    {
      driver: 'copy-on-read',
      ...options,
      file: {
        driver: 'overlay',
        'node-name': 'top',
        'cluster-size': 65_536,
        backing: {
          driver: 'overlay',
          'node-name': 'middle',
          'cluster-size': 65_536,
          backing: { driver: 'storage', 'node-name': 'base' },
        },
      },
    },
    { drivers: [overlayDriver, storageDriver(storageOf(content))] },
  )

describe('copy-on-read', () => {
  it('keeps in the node below what was read through it', async () => {
    const { graph, backend, close } = await openChain()
    const top = graph.node('top')
    expect((await isAllocated(top, 65_536, 65_536)).allocated).toBe(false)
    const into = new Uint8Array(1000)
    await backend.read(70_000, into)
    expect(into).toEqual(content.subarray(70_000, 71_000))
    expect((await isAllocated(top, 65_536, 65_536)).allocated).toBe(true)
    expect((await isAllocated(top, 0, 65_536)).allocated).toBe(false)
    expect(await close()).toBe(0)
  })

  it('only keeps, and leaves the buffer alone, for a prefetch', async () => {
    const { graph, backend, close } = await openChain()
    const into = new Uint8Array(1000)
    await backend.read(70_000, into, { flags: BDRV_REQ_PREFETCH })
    expect(into.every((byte) => byte === 0)).toBe(true)
    expect((await isAllocated(graph.node('top'), 65_536, 65_536)).allocated).toBe(true)
    await close()
  })

  it('reads without keeping what lies below the bottom', async () => {
    const { graph, backend, close } = await openChain({ bottom: 'middle' })
    const [top, middle] = [graph.node('top'), graph.node('middle')]
    const into = new Uint8Array(262_144)
    await backend.read(0, into)
    expect(Buffer.compare(into, content)).toBe(0)
    expect((await isAllocated(top, 0, 262_144)).allocated).toBe(false)
    expect((await isAllocated(middle, 0, 262_144)).allocated).toBe(false)
    await close()
  })

  it('asks for the permission to write what does not change', async () => {
    const { node, close } = await openChain()
    expect((node.file?.perm ?? 0) & BLK_PERM_WRITE_UNCHANGED).toBe(BLK_PERM_WRITE_UNCHANGED)
    await close()
  })

  it('refuses a bottom that is not in its chain', async () => {
    expect(await codeOf(() => openChain({ bottom: 'elsewhere' }))).toBe('EINVAL')
  })

  it('passes writes, zeroes and discards on', async () => {
    const { backend, close } = await openChain()
    const data = new Uint8Array(4096).fill(3)
    await backend.write(0, data)
    await backend.writeZeroes(8192, 4096)
    const into = new Uint8Array(16_384)
    await backend.read(0, into)
    const expected = content.slice(0, 16_384)
    expected.set(data)
    expected.fill(0, 8192, 12_288)
    expect(Buffer.compare(into, expected)).toBe(0)
    await close()
  })
})
