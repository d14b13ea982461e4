import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BDRV_O_NO_IO } from '../../../../../src/common/open-flags.js'
import { BLK_PERM_CONSISTENT_READ } from '../../../../../src/common/permissions.js'
import {
  amendEncryption,
  QCOW2_ENCRYPTION_AMEND_OPTIONS,
} from '../../../../../src/drivers/qcow2/encryption/amend-encryption.js'
import { encryptionInfo } from '../../../../../src/drivers/qcow2/encryption/encryption.js'
import { CRYPT_AES, CRYPT_LUKS, CRYPT_NONE } from '../../../../../src/drivers/qcow2/format/header.js'
import { qcow2Driver } from '../../../../../src/drivers/qcow2/index.js'
import type { Qcow2State } from '../../../../../src/drivers/qcow2/state.js'
import { hasZeroInit } from '../../../../../src/global-state/image.js'
import { reopenNodes } from '../../../../../src/global-state/life/reopen.js'
import { stateOf } from '../../../../../src/global-state/state-of.js'
import { withDrained } from '../../../../../src/io/drained.js'
import { nodeServices } from '../../../../../src/platform/services.js'
import { contentOf, storageDriver, storageOf } from '../../../../../src/testing/storage/memory-storage.js'
import { openRig, type RigOptions } from '../../../../support/driver-rig.js'
import { CRYPTO_OFFSET, encryptedQcow2, OLD_AES, SMALL_LUKS } from '../../../../support/encrypted-qcow2.js'
import { password } from '../../../../support/luks-volume.js'

const SIZE = 1024 * 1024
const SECRETS = { s0: password('open sesame'), s1: password('open barley') }
const OPEN = { driver: 'qcow2', 'encrypt.key-secret': 's0', file: { driver: 'storage' } }

function stored(image: Uint8Array): { store: ReturnType<typeof storageOf>; rig: RigOptions } {
  const store = storageOf(image)
  return { store, rig: { drivers: [storageDriver(store)], services: nodeServices, secrets: SECRETS } }
}

/** One image of each method, made once. */
const images = new Map<string, Promise<Uint8Array>>()
function imageOf(method: string): Promise<Uint8Array> {
  const known = images.get(method)
  if (known !== undefined) return known
  const made = encryptedQcow2('open sesame', SIZE, method === 'luks' ? SMALL_LUKS : OLD_AES)
  images.set(method, made)
  return made
}

const METHODS = [
  ['luks', {}],
  ['aes', { 'encrypt.format': 'aes' }],
] as const

describe.each(METHODS)('an image encrypted by %s', (method, more) => {
  test('agrees with a flat buffer, and holds none of it in the clear', async () => {
    const request = fc.record({ at: fc.nat(SIZE - 1), bytes: fc.integer({ min: 1, max: 150_000 }), fill: fc.nat(255) })
    const kind = fc.constantFrom('write' as const, 'write' as const, 'zero' as const, 'read' as const)
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(kind, request), { minLength: 1, maxLength: 12 }), async (requests) => {
        const { store, rig } = stored(await imageOf(method))
        const flat = new Uint8Array(SIZE)
        const { backend, close } = await openRig({ ...OPEN, ...more }, rig)
        for (const [what, { at, bytes: wanted, fill }] of requests) {
          const bytes = Math.min(wanted, SIZE - at)
          if (what === 'write') {
            // Buffers of the host, whose slices are views: the write must not show in them.
            const data = Buffer.alloc(bytes, fill)
            await backend.write(at, data)
            expect(data.every((byte) => byte === fill)).toBe(true)
            flat.fill(fill, at, at + bytes)
          } else if (what === 'zero') {
            await backend.writeZeroes(at, bytes)
            flat.fill(0, at, at + bytes)
          } else {
            const into = new Uint8Array(bytes)
            await backend.read(at, into)
            expect(Buffer.compare(into, flat.subarray(at, at + bytes))).toBe(0)
          }
        }
        const marked = Buffer.alloc(65536, 'plain as day')
        await backend.write(0, marked)
        flat.set(marked)
        expect(await close()).toBe(0)
        expect(Buffer.from(contentOf(store)).includes('plain as day')).toBe(false)
        const again = await openRig({ ...OPEN, ...more, 'read-only': true }, { ...rig, perm: BLK_PERM_CONSISTENT_READ })
        const all = new Uint8Array(SIZE)
        await again.backend.read(0, all)
        await again.close()
        expect(Buffer.compare(all, flat)).toBe(0)
      }),
      { numRuns: 8 },
    )
  })

  test('reads as zeroes as long as it has no clusters', async () => {
    const { rig } = stored(await imageOf(method))
    const { node, backend, close } = await openRig({ ...OPEN, ...more }, rig)
    expect(hasZeroInit(node)).toBe(true)
    await backend.write(0, new Uint8Array(512))
    expect(hasZeroInit(node)).toBe(false)
    await close()
  })

  test('takes no compressed clusters', async () => {
    const { rig } = stored(await imageOf(method))
    const { node, close } = await openRig({ ...OPEN, ...more }, rig)
    expect(node.io.writeCompressed).toBeUndefined()
    expect(node.state.limits.requestAlignment).toBe(512)
    await close()
  })

  test('is not opened without its secret', async () => {
    const { rig } = stored(await imageOf(method))
    const { 'encrypt.key-secret': _none, ...bare } = OPEN
    await expect(openRig({ ...bare, ...more }, rig)).rejects.toMatchObject({
      code: 'EINVAL',
      message: expect.stringContaining("Parameter 'encrypt.key-secret' is required for cipher"),
    })
    await expect(openRig({ ...OPEN, ...more, 'encrypt.key-secret': 's9' }, rig)).rejects.toMatchObject({
      message: expect.stringContaining("No secret with id 's9'"),
    })
    await expect(openRig({ ...OPEN, ...more }, { ...rig, services: {} })).rejects.toMatchObject({ code: 'ENOTSUP' })
  })

  test('tells of itself without a key, and gives no data then', async () => {
    const { rig } = stored(await imageOf(method))
    const { 'encrypt.key-secret': _none, ...bare } = OPEN
    const { node, backend, close } = await openRig(
      { ...bare, 'read-only': true },
      { ...rig, perm: BLK_PERM_CONSISTENT_READ, settings: { flags: BDRV_O_NO_IO } },
    )
    expect(encryptionInfo(stateOf(node, qcow2Driver) as Qcow2State)).toMatchObject({ format: method })
    // An unallocated cluster is zero whoever asks; one with data is not read.
    await backend.read(0, new Uint8Array(512))
    await close()
  })
})

describe('LUKS in an image', () => {
  test('is not opened by another password', async () => {
    const { rig } = stored(await imageOf('luks'))
    await expect(openRig({ ...OPEN, 'encrypt.key-secret': 's1' }, rig)).rejects.toMatchObject({ code: 'EACCES' })
  })

  test('takes and loses passwords', async () => {
    const { rig } = stored(await imageOf('luks'))
    const first = await openRig(OPEN, rig)
    const state = stateOf(first.node, qcow2Driver) as Qcow2State
    const secret = (id: string) => password(id === 's1' ? 'open barley' : 'open sesame')
    const amend = (values: Record<string, unknown>) => amendEncryption(state, { secret, force: false }, values)
    await amend({ compat: 'v3' })
    await amend({ 'encrypt.state': 'active', 'encrypt.new-secret': 's1', 'encrypt.iter-time': 0 })
    await amend({ 'encrypt.state': 'inactive', 'encrypt.keyslot': 0 })
    await first.close()
    await expect(openRig(OPEN, rig)).rejects.toMatchObject({ code: 'EACCES' })
    const again = await openRig({ ...OPEN, 'encrypt.key-secret': 's1' }, rig)
    await again.close()
    expect(Object.keys(QCOW2_ENCRYPTION_AMEND_OPTIONS)).toContain('encrypt.keyslot')
  })

  test.each([
    ['another method than the extension', CRYPT_AES, {}, /CRYPTO header extension only expected with LUKS/],
    ['no method, beside the extension', CRYPT_NONE, {}, /CRYPTO header extension only expected with LUKS/],
    ['a method that was not asked for', CRYPT_LUKS, { 'encrypt.format': 'aes' }, /Header reported 'luks' encryption/],
  ])('with %s is refused, also for those who only ask', async (_name, cryptMethod, options, message) => {
    const image = (await imageOf('luks')).slice()
    new DataView(image.buffer).setUint32(32, cryptMethod)
    const { rig } = stored(image)
    const asking = { ...rig, perm: BLK_PERM_CONSISTENT_READ, settings: { flags: BDRV_O_NO_IO } }
    for (const how of [rig, asking]) {
      const readOnly = how === asking ? { 'read-only': true } : {}
      await expect(openRig({ ...OPEN, ...options, ...readOnly }, how)).rejects.toMatchObject({
        code: 'EINVAL',
        message: expect.stringMatching(message),
      })
    }
  })

  test.each([
    ['without its extension', 112, 0, 'EINVAL', /Missing CRYPTO header/],
    ['with its header between clusters', 126, 2, 'EINVAL', /is not a multiple of cluster size/],
    ['with a header of nothing', CRYPTO_OFFSET, 0, 'EINVAL', /not in LUKS format/],
    ['with a header of version 2', CRYPTO_OFFSET + 7, 2, 'ENOTSUP', /LUKS version 2/],
    ['with 2^32 - 1 iterations', CRYPTO_OFFSET + 212, 0xff, 'ENOTSUP', /more iterations/],
    ['with a slot far behind its clusters', CRYPTO_OFFSET + 248, 0xff, 'EIO', /Keyslot 0 is overlapping/],
  ])('%s is refused, also for those who only ask', async (_name, at, byte, code, message) => {
    const image = (await imageOf('luks')).slice()
    image[at] = byte
    if (at === 112) image.fill(0, 112, 136)
    if (code === 'ENOTSUP' && byte === 0xff) image.fill(0xff, at, at + 4)
    const { rig } = stored(image)
    const asking = { ...rig, perm: BLK_PERM_CONSISTENT_READ, settings: { flags: BDRV_O_NO_IO } }
    for (const how of [rig, asking]) {
      const readOnly = how === asking ? { 'read-only': true } : {}
      await expect(openRig({ ...OPEN, ...readOnly }, how)).rejects.toMatchObject({
        code,
        message: expect.stringMatching(message),
      })
    }
  })
})

describe('the old method', () => {
  test('is opened read-only where nobody names it', async () => {
    const { rig } = stored(await imageOf('aes'))
    await expect(openRig(OPEN, rig)).rejects.toMatchObject({ code: 'EACCES' })
    const perm = BLK_PERM_CONSISTENT_READ
    const { graph, node, close } = await openRig({ ...OPEN, 'auto-read-only': true }, { ...rig, perm })
    expect(node.readOnly).toBe(true)
    const change = { node, options: { ...OPEN, 'read-only': false } }
    const reopened = graph.mainLoop((main) => withDrained([node], (quiet) => reopenNodes(main, quiet, [change])))
    await expect(reopened).rejects.toMatchObject({ code: 'EACCES' })
    await close()
  })

  test('has no passwords to change', async () => {
    const { rig } = stored(await imageOf('aes'))
    const { node, close } = await openRig({ ...OPEN, 'encrypt.format': 'aes' }, rig)
    const state = stateOf(node, qcow2Driver) as Qcow2State
    await expect(
      amendEncryption(state, { secret: password, force: false }, { 'encrypt.state': 'active' }),
    ).rejects.toMatchObject({ code: 'EINVAL', message: expect.stringContaining('Only LUKS encryption options') })
    await close()
  })
})

describe('an image in the clear', () => {
  test('is not taken for an encrypted one', async () => {
    const { rig } = stored(await encryptedQcow2('', SIZE, {}))
    const { 'encrypt.key-secret': _none, ...bare } = OPEN
    await expect(openRig({ ...bare, 'encrypt.format': 'luks' }, rig)).rejects.toMatchObject({
      code: 'EINVAL',
      message: expect.stringContaining("No encryption in image header, but options specified format 'luks'"),
    })
    const { node, close } = await openRig(bare, rig)
    const state = stateOf(node, qcow2Driver) as Qcow2State
    expect(encryptionInfo(state)).toBeUndefined()
    await expect(
      amendEncryption(state, { secret: password, force: false }, { 'encrypt.state': 'active' }),
    ).rejects.toMatchObject({ message: expect.stringContaining('encryption not present') })
    await close()
  })
})
