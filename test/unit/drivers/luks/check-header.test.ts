import { describe, expect, test } from 'vitest'
import { checkKeySlot, checkLuksHeader, MOST_ROUNDS } from '../../../../src/drivers/luks/check-header.js'
import type { LuksHeader, LuksKeySlot } from '../../../../src/drivers/luks/header.js'

const AREA = 2068480

/** A sound header with slots 0 and 1 active, changed by `change`. */
function header(change: (header: LuksHeader, slots: [LuksKeySlot, LuksKeySlot]) => void = () => {}): LuksHeader {
  const slot = (index: number): LuksKeySlot => ({
    active: index < 2,
    iterations: index < 2 ? 1000 : 0,
    salt: new Uint8Array(32),
    keyMaterialOffset: 4096 + index * 258048,
    stripes: 4000,
  })
  const made: LuksHeader = {
    cipherName: 'aes',
    cipherMode: 'xts-plain64',
    hashSpec: 'sha256',
    payloadOffset: AREA,
    keyBytes: 64,
    mkDigest: new Uint8Array(20),
    mkDigestSalt: new Uint8Array(32),
    mkDigestIterations: 1000,
    uuid: '',
    keySlots: Array.from({ length: 8 }, (_, index) => slot(index)),
  }
  change(made, made.keySlots as unknown as [LuksKeySlot, LuksKeySlot])
  return made
}

describe('a header', () => {
  test('that is sound passes, whatever an idle slot says', () => {
    checkLuksHeader(header(), 'sha256', AREA)
    const odd = header(({ keySlots }) => Object.assign(keySlots[5] ?? {}, { stripes: 0, keyMaterialOffset: 2 ** 40 }))
    checkLuksHeader(odd, 'sha256', AREA)
  })

  test('without a payload of its own ends with its area', () => {
    checkLuksHeader(
      header((made) => {
        made.payloadOffset = 0
      }),
      'sha256',
      AREA,
    )
  })

  test.each<[string, (header: LuksHeader, slots: [LuksKeySlot, LuksKeySlot]) => void, string, string]>([
    [
      'a payload over the header',
      (made) => {
        made.payloadOffset = 512
      },
      'EIO',
      'LUKS payload is overlapping with the header',
    ],
    [
      'no rounds for the digest',
      (made) => {
        made.mkDigestIterations = 0
      },
      'EIO',
      'LUKS key digest iteration count is zero',
    ],
    [
      'no rounds for a slot',
      (_, slots) => {
        slots[1].iterations = 0
      },
      'EIO',
      'Keyslot 1 iteration count is zero',
    ],
    [
      'other stripes',
      (_, slots) => {
        slots[0].stripes = 0xffffffff
      },
      'EIO',
      'Keyslot 0 is corrupted (stripes 4294967295 != 4000)',
    ],
    [
      'a slot over the header',
      (_, slots) => {
        slots[0].keyMaterialOffset = 512
      },
      'EIO',
      'Keyslot 0 is overlapping with the LUKS header',
    ],
    [
      'slots over each other',
      (_, slots) => {
        slots[1].keyMaterialOffset = slots[0].keyMaterialOffset + 255488
      },
      'EIO',
      'Keyslots 0 and 1 are overlapping in the header',
    ],
    [
      'a slot in the payload',
      (_, slots) => {
        slots[1].keyMaterialOffset = AREA - 512
      },
      'EIO',
      'Keyslot 1 is overlapping with the payload, or ends behind the volume',
    ],
    [
      'a slot far away',
      (_, slots) => {
        slots[1].keyMaterialOffset = 0xffffffff * 512
      },
      'EIO',
      'Keyslot 1 is overlapping with the payload, or ends behind the volume',
    ],
    [
      'endless rounds of a slot',
      (_, slots) => {
        slots[1].iterations = 0xffffffff
      },
      'ENOTSUP',
      'the LUKS header asks for more iterations than this library is ready to do',
    ],
    [
      'endless rounds of the digest',
      (made) => {
        made.mkDigestIterations = 0xffffffff
      },
      'ENOTSUP',
      'the LUKS header asks for more iterations than this library is ready to do',
    ],
    [
      'too many rounds of all slots together',
      (_, slots) => {
        slots[0].iterations = MOST_ROUNDS / 4
        slots[1].iterations = MOST_ROUNDS / 4
      },
      'ENOTSUP',
      'the LUKS header asks for more iterations than this library is ready to do',
    ],
  ])('with %s is refused', (_name, change, code, message) => {
    expect(() => checkLuksHeader(header(change), 'sha256', AREA)).toThrow(expect.objectContaining({ code, message }))
  })

  test('longer than what is there is refused', () => {
    expect(() => checkLuksHeader(header(), 'sha256', 300_000)).toThrow(/Keyslot 1 .* ends behind the volume/)
  })

  test('is judged anew for an idle slot that is to be written', () => {
    checkKeySlot(header(), 7, AREA)
    const odd = header(({ keySlots }) => Object.assign(keySlots[7] ?? {}, { keyMaterialOffset: AREA - 4096 }))
    expect(() => checkKeySlot(odd, 7, AREA)).toThrow(expect.objectContaining({ code: 'EIO' }))
    const over = header(({ keySlots }) => Object.assign(keySlots[7] ?? {}, { keyMaterialOffset: 4096 }))
    expect(() => checkKeySlot(over, 7, AREA)).toThrow('Keyslots 7 and 0 are overlapping in the header')
  })
})
