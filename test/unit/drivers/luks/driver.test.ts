import { describe, expect, test } from 'vitest'
import { MAX_LENGTH } from '../../../../src/common/limits.js'
import { BDRV_O_NO_IO } from '../../../../src/common/open-flags.js'
import { BLK_PERM_CONSISTENT_READ } from '../../../../src/common/permissions.js'
import { luksDriver } from '../../../../src/drivers/luks/index.js'
import type { LuksState } from '../../../../src/drivers/luks/payload.js'
import { stateOf } from '../../../../src/global-state/state-of.js'
import { nodeSpecificInfo } from '../../../../src/io/node-info.js'
import { nodeServices } from '../../../../src/platform/services.js'
import { contentOf, storageDriver, storageOf } from '../../../../src/testing/storage/memory-storage.js'
import { openRig, type RigOptions } from '../../../support/driver-rig.js'
import { newVolume, password } from '../../../support/luks-volume.js'

const OPTIONS = { driver: 'luks', 'key-secret': 's0', file: { driver: 'storage' } }

/** A volume of `sectors` sectors, and a rig that opens it. */
async function volume(sectors = 64) {
  const { area, cipher } = await newVolume('open sesame')
  const store = storageOf(area.content)
  store.resize(area.bytes + sectors * 512)
  const rig: RigOptions = {
    drivers: [storageDriver(store)],
    services: nodeServices,
    secrets: { s0: password('open sesame'), s1: password('open barley'), s2: Uint8Array.of(0xff, 0xfe) },
  }
  return { store, cipher, start: area.bytes, rig }
}

describe('a volume', () => {
  test('holds on disk what its cipher makes, at the place of the sector', async () => {
    const { store, cipher, start, rig } = await volume()
    const { backend, close } = await openRig(OPTIONS, rig)
    const data = Uint8Array.from({ length: 1024 }, (_, index) => index)
    await backend.write(3 * 512, data)
    await backend.flush()
    expect(await close()).toBe(0)
    const sealed = contentOf(store).slice(start + 3 * 512, start + 5 * 512)
    expect(sealed).not.toEqual(data)
    cipher.decrypt(3, sealed)
    expect(sealed).toEqual(data)
  })

  test('leaves the buffers of its users alone', async () => {
    const { rig } = await volume()
    const { backend, close } = await openRig(OPTIONS, rig)
    const data = Buffer.alloc(1536, 7)
    await backend.write(100, data)
    expect(data.every((byte) => byte === 7)).toBe(true)
    const into = new Uint8Array(1536)
    await backend.read(100, into)
    expect(into).toEqual(new Uint8Array(1536).fill(7))
    await close()
  })

  test('grows with its file, and shows whole sectors', async () => {
    const { store, start, rig } = await volume(2)
    store.resize(start + 1000)
    const { node, backend, close } = await openRig(OPTIONS, rig)
    expect(node.state.length).toBe(512)
    await backend.truncate(4096)
    expect(node.state.length).toBe(4096)
    expect(store.length).toBe(start + 4096)
    await close()
  })

  test('tells of itself without a key, and gives no data then', async () => {
    const { rig } = await volume()
    const options = { driver: 'luks', file: { driver: 'storage' }, 'read-only': true }
    const { node, backend, close } = await openRig(options, {
      ...rig,
      perm: BLK_PERM_CONSISTENT_READ,
      settings: { flags: BDRV_O_NO_IO },
    })
    expect(await nodeSpecificInfo(node)).toMatchObject({ type: 'luks', data: { 'cipher-alg': 'aes-256' } })
    await expect(backend.read(0, new Uint8Array(512))).rejects.toMatchObject({ code: 'EACCES' })
    await close()
  })

  test.each<[Record<string, unknown>, string, RegExp]>([
    [{ 'key-secret': undefined }, 'EINVAL', /Parameter 'key-secret' is required for cipher/],
    [{ 'key-secret': 's9' }, 'EINVAL', /No secret with id 's9'/],
    [{ 'key-secret': 's1' }, 'EACCES', /Invalid password, cannot unlock any keyslot/],
    [{ 'key-secret': 's2' }, 'EINVAL', /Data from secret s2 is not valid UTF-8/],
  ])('is not opened with %j', async (change, code, message) => {
    const { rig } = await volume()
    const options = Object.fromEntries(
      Object.entries({ ...OPTIONS, ...change }).filter(([, value]) => value !== undefined),
    )
    await expect(openRig(options, rig)).rejects.toMatchObject({ code, message: expect.stringMatching(message) })
  })

  test('needs cryptography of the host', async () => {
    const { rig } = await volume()
    await expect(openRig(OPTIONS, { ...rig, services: {} })).rejects.toMatchObject({ code: 'ENOTSUP' })
  })

  test('takes and loses passwords, and says how long it would be', async () => {
    const { rig } = await volume()
    const { node, close } = await openRig(OPTIONS, rig)
    const state = stateOf(node, luksDriver) as LuksState
    const secret = (id: string) => password(id === 's1' ? 'open barley' : 'open sesame')
    const context = { force: false, secret, progress: () => {}, signal: undefined }
    await luksDriver.amend?.(state, context, { state: 'active', 'new-secret': 's1', 'iter-time': 0 })
    await luksDriver.amend?.(state, context, { state: 'inactive', 'old-secret': 's0' })
    await expect(luksDriver.amend?.({ ...state, secretId: undefined }, context, {})).rejects.toMatchObject({
      code: 'EACCES',
    })
    await close()
    await expect(openRig(OPTIONS, rig)).rejects.toMatchObject({ code: 'EACCES' })
    const again = await openRig({ ...OPTIONS, 'key-secret': 's1' }, rig)
    await again.close()
    const { environment } = again.graph
    const options = { size: 1000, 'key-secret': 's0', 'cipher-alg': 'aes-128' }
    expect(await luksDriver.measure?.({ environment, secret, source: undefined, bitmaps: undefined }, options)).toEqual(
      {
        required: 1052672 + 1024,
        fullyAllocated: 1052672 + 1024,
      },
    )
    expect(() =>
      luksDriver.measure?.({ environment, secret, source: undefined, bitmaps: undefined }, { size: 2 ** 53 }),
    ).toThrow(expect.objectContaining({ code: 'EINVAL' }))
    expect(() =>
      luksDriver.measure?.(
        { environment, secret, source: undefined, bitmaps: undefined },
        { ...options, size: MAX_LENGTH },
      ),
    ).toThrow(expect.objectContaining({ code: 'EFBIG' }))
  })

  test('is known by its first bytes', () => {
    const header = new Uint8Array(512)
    header.set([0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe, 0, 1])
    expect(luksDriver.probe?.(header, '')).toBe(100)
    header[7] = 2
    expect(luksDriver.probe?.(header, '')).toBe(0)
    expect(luksDriver.probe?.(new Uint8Array(4), '')).toBe(0)
  })
})
