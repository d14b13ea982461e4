import { describe, expect, test } from 'vitest'
import { decodeLuksHeader, LUKS_HEADER_BYTES } from '../../../../src/drivers/luks/header.js'
import { luksInfo } from '../../../../src/drivers/luks/info.js'
import { eraseKeySlot, fillKeySlot, unlock } from '../../../../src/drivers/luks/key-slots.js'
import { openPayload, readLuksHeader } from '../../../../src/drivers/luks/open.js'
import { nodeCrypto } from '../../../../src/platform/crypto.js'
import { memoryArea, newVolume, password } from '../../../support/luks-volume.js'

const onDisk = (content: Uint8Array) => decodeLuksHeader(content.subarray(0, LUKS_HEADER_BYTES))

describe('a new volume', () => {
  test('opens by its password, and to the same payload', async () => {
    const { area, cipher } = await newVolume('open sesame')
    const sealed = new Uint8Array(4096).fill(7)
    cipher.encrypt(1000, sealed)
    const slots = await readLuksHeader(nodeCrypto, area)
    const given = password('open sesame')
    const again = await openPayload(slots, given)
    again.decrypt(1000, sealed)
    expect(sealed).toEqual(new Uint8Array(4096).fill(7))
    expect(given).toEqual(new Uint8Array(given.length))
  })

  test('opens by no other password', async () => {
    const { area } = await newVolume('open sesame')
    const slots = await readLuksHeader(nodeCrypto, area)
    for (const wrong of ['open barley', '', 'open sesame ']) {
      await expect(openPayload(slots, password(wrong))).rejects.toMatchObject({
        code: 'EACCES',
        message: 'Invalid password, cannot unlock any keyslot',
      })
    }
    await expect(openPayload(slots, password('open sesame'), AbortSignal.abort())).rejects.toMatchObject({
      code: 'ECANCELED',
    })
  })

  test('is laid out as writers of the format do', async () => {
    const { slots, area } = await newVolume('x')
    expect(luksInfo(slots)).toMatchObject({
      'ivgen-alg': 'plain64',
      'hash-alg': 'sha256',
      'cipher-alg': 'aes-256',
      uuid: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/),
      'cipher-mode': 'xts',
      'payload-offset': 2068480,
      'master-key-iters': 1000,
    })
    const [first, second, ...others] = luksInfo(slots).slots
    expect(first).toEqual({ active: true, iters: 1000, 'key-offset': 4096, stripes: 4000 })
    expect(second).toEqual({ active: false, 'key-offset': 262144 })
    expect(others.at(-1)).toEqual({ active: false, 'key-offset': 1810432 })
    expect(onDisk(area.content)).toEqual(slots.header)
  })

  test('never has the same key, salt or digest', async () => {
    const [one, two] = [await newVolume('x'), await newVolume('x')]
    expect(one.slots.header.mkDigest).not.toEqual(two.slots.header.mkDigest)
    expect(one.slots.header.keySlots[0]?.salt).not.toEqual(two.slots.header.keySlots[0]?.salt)
    expect(one.slots.header.uuid).not.toBe(two.slots.header.uuid)
  })
})

describe('key slots', () => {
  test('are filled material first, and hold the same key', async () => {
    const { area, slots } = await newVolume('first')
    const { masterKey } = await unlock(slots, password('first'))
    area.writes.length = 0
    await fillKeySlot(slots, 3, masterKey, password('second'), 1500)
    expect(area.writes).toEqual([
      { offset: 778240, bytes: 256000 },
      { offset: 0, bytes: LUKS_HEADER_BYTES },
    ])
    expect(area.flushes).toBeGreaterThanOrEqual(2)
    const again = await readLuksHeader(nodeCrypto, area)
    expect(await unlock(again, password('second'))).toEqual({ slot: 3, masterKey })
    expect(await unlock(again, password('first'))).toEqual({ slot: 0, masterKey })
  })

  test('are erased header first, and leave nothing of the key', async () => {
    const { area, slots } = await newVolume('first')
    const { masterKey } = await unlock(slots, password('first'))
    await fillKeySlot(slots, 1, masterKey, password('second'), 1000)
    const before = area.content.slice(4096, 4096 + 256000)
    area.writes.length = 0
    await eraseKeySlot(slots, 0)
    expect(area.writes.map(({ offset }) => offset)).toEqual([0, 4096])
    const after = area.content.subarray(4096, 4096 + 256000)
    const same = after.reduce((count, byte, index) => count + (byte === before[index] ? 1 : 0), 0)
    expect(same).toBeLessThan(2000)
    const again = await readLuksHeader(nodeCrypto, area)
    await expect(unlock(again, password('first'))).rejects.toMatchObject({ code: 'EACCES' })
    expect(await unlock(again, password('second'))).toEqual({ slot: 1, masterKey })
  })

  test('that would lie in the payload are not written', async () => {
    const { area, slots } = await newVolume('first')
    Object.assign(slots.header.keySlots[2] ?? {}, { keyMaterialOffset: area.bytes - 512 })
    area.writes.length = 0
    await expect(fillKeySlot(slots, 2, new Uint8Array(64), password('x'), 1000)).rejects.toMatchObject({ code: 'EIO' })
    await expect(eraseKeySlot(slots, 2)).rejects.toMatchObject({ code: 'EIO' })
    expect(area.writes).toEqual([])
  })
})

describe('what is no volume', () => {
  test.each([
    ['nothing', new Uint8Array(0), 'EIO'],
    ['zeroes', new Uint8Array(4096), 'EINVAL'],
  ])('%s is refused', async (_name, content, code) => {
    await expect(readLuksHeader(nodeCrypto, memoryArea(content))).rejects.toMatchObject({ code })
  })

  test('one byte changed anywhere in the header ends in a volume or an error of the world', async () => {
    const { area } = await newVolume('x')
    for (let at = 0; at < LUKS_HEADER_BYTES; at += 1) {
      const content = area.content.slice()
      content[at] = (content[at] ?? 0) ^ 0x81
      try {
        await readLuksHeader(nodeCrypto, memoryArea(content))
      } catch (thrown) {
        expect(thrown).toMatchObject({ name: 'BlockError', op: 'open' })
      }
    }
  })
})
