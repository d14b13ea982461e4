import { describe, expect, it } from 'vitest'
import { BDRV_CHILD_DATA, BDRV_CHILD_FILTERED, BDRV_CHILD_PRIMARY } from '../../../src/common/child-role.js'
import { BLK_PERM_CONSISTENT_READ, BLK_PERM_RESIZE, BLK_PERM_WRITE } from '../../../src/common/permissions.js'
import type { ChunkStore } from '../../../src/drivers/memory.js'
import { defineDriver } from '../../../src/global-state/driver.js'
import { Controller, controlledDriver } from '../../../src/testing/storage/controlled.js'
import { contentOf, storageDriver, storageOf } from '../../../src/testing/storage/memory-storage.js'
import { codeOf, openRig } from '../../support/driver-rig.js'

const bytes = (length: number, seed = 1) => Uint8Array.from({ length }, (_, i) => ((i * seed) % 251) + 1)

const openRaw = (store: ChunkStore, options: Record<string, unknown> = {}, more: Parameters<typeof openRig>[1] = {}) =>
  openRig(
    { driver: 'raw', file: { driver: 'storage' }, ...options },
    { ...more, drivers: [storageDriver(store), ...(more.drivers ?? [])] },
  )

describe('raw', () => {
  it('shows its whole file as a filtered child', async () => {
    const store = storageOf(bytes(8192))
    const { node, backend, close } = await openRaw(store)
    expect(node.file?.role).toBe(BDRV_CHILD_FILTERED | BDRV_CHILD_PRIMARY)
    const into = new Uint8Array(8192)
    await backend.read(0, into)
    expect(into).toEqual(bytes(8192))
    await backend.truncate(10_240)
    expect(store.length).toBe(10_240)
    expect(await close()).toBe(0)
  })

  it('shows a window: requests are shifted, nothing outside changes', async () => {
    const store = storageOf(bytes(16_384))
    const { node, backend, close } = await openRaw(store, { offset: 1024, size: 8192 })
    expect(node.file?.role).toBe(BDRV_CHILD_DATA | BDRV_CHILD_PRIMARY)
    expect(node.state.length).toBe(8192)
    await backend.write(0, new Uint8Array(512).fill(0xaa))
    await backend.writeZeroes(7680, 512)
    expect(await codeOf(() => backend.read(8192, new Uint8Array(512)))).toBeDefined()
    const expected = bytes(16_384)
    expected.fill(0xaa, 1024, 1536).fill(0, 8704, 9216)
    await close()
    expect(contentOf(store)).toEqual(expected)
  })

  it.each([
    [{ offset: 20_000 }],
    [{ size: 100 }],
    [{ offset: 8192, size: 16_384 }],
    [{ offset: -1 }],
    [{ size: 2 ** 53 }],
    [{ colour: 'red' }],
  ])('refuses %j with EINVAL and leaves nothing open', async (options) => {
    const store = storageOf(bytes(16_384))
    expect(await codeOf(() => openRaw(store, options))).toBe('EINVAL')
  })

  it('resizes a window without fixed size, and no other', async () => {
    const store = storageOf(bytes(8192))
    const open = await openRaw(store, { offset: 4096 })
    await open.backend.truncate(8192)
    expect(store.length).toBe(12_288)
    await open.close()
    const fixed = await openRaw(store, { size: 4096 })
    expect(await codeOf(() => fixed.backend.truncate(8192))).toBe('ENOTSUP')
    expect(store.length).toBe(12_288)
    await fixed.close()
  })

  it('asks its file for no more than it is asked for', async () => {
    const store = storageOf(bytes(8192))
    const perm = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE
    const { node, close } = await openRaw(store, { offset: 512 }, { perm })
    expect((node.file?.perm ?? 0) & BLK_PERM_RESIZE).toBe(0)
    expect((node.file?.perm ?? 0) & BLK_PERM_WRITE).toBe(BLK_PERM_WRITE)
    await close()
  })
})

describe('a guessed raw image', () => {
  const magic = Uint8Array.of(0x51, 0x46, 0x49, 0xfb)
  // A format whose images are recognised and never opened here.
  const foreign = defineDriver({
    name: 'foreign',
    kind: 'format',
    options: {},
    probe: (header) => (magic.every((byte, index) => header[index] === byte) ? 100 : 0),
    open() {
      throw new Error('not opened in these tests')
    },
  })
  const sector = () => {
    const data = bytes(4096)
    data.set(magic)
    return data
  }
  const openGuessed = (store: ChunkStore) =>
    openRig({ file: { driver: 'storage' } }, { drivers: [storageDriver(store), foreign], settings: { probe: true } })

  it('refuses the header of another format in its first sector', async () => {
    const store = storageOf(new Uint8Array(8192))
    const { node, backend, close } = await openGuessed(store)
    expect(node.driver.name).toBe('raw')
    expect(await codeOf(() => backend.write(0, sector()))).toBe('EPERM')
    expect(await codeOf(() => backend.write(0, magic))).toBe('EPERM')
    // In two parts, each harmless by itself.
    await backend.write(0, magic.subarray(0, 2))
    expect(await codeOf(() => backend.write(2, magic.subarray(2)))).toBe('EPERM')
    await backend.write(512, sector())
    await backend.write(0, bytes(4096))
    await backend.writeZeroes(0, 512)
    await close()
    expect(
      contentOf(store)
        .subarray(0, 512)
        .every((byte) => byte === 0),
    ).toBe(true)
  })

  it('writes what it judged: a buffer that changes meanwhile gains nothing', async () => {
    const store = storageOf(new Uint8Array(8192))
    const controller = new Controller()
    controller.open = true
    const { backend, close } = await openRig(
      { file: { driver: 'controlled' } },
      { drivers: [controlledDriver(controller, 'controlled', store), foreign], settings: { probe: true } },
    )
    controller.open = false
    const data = new Uint8Array(4096)
    const request = backend.write(0, data)
    await controller.waitFor(1)
    data.set(magic)
    controller.releaseAll()
    await request
    controller.open = true
    await close()
    expect(contentOf(store).subarray(0, 4)).toEqual(new Uint8Array(4))
  })

  it('takes such a header where the format was named', async () => {
    const store = storageOf(new Uint8Array(8192))
    const { backend, close } = await openRaw(store, {}, { drivers: [foreign] })
    await backend.write(0, sector())
    await close()
    expect(contentOf(store).subarray(0, 4)).toEqual(magic)
  })
})
