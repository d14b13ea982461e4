import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  decodeLuksHeader,
  encodeLuksHeader,
  isLuks,
  LUKS_HEADER_BYTES,
  type LuksHeader,
} from '../../../../src/drivers/luks/header.js'

/** A header as the reference tool wrote it: its first 208 bytes, two slots, and where the other slots lie. */
const FIELDS = [
  '4c554b53babe000161657300000000000000000000000000000000000000000000000000000000007874732d706c6169',
  '6e3634000000000000000000000000000000000000000000736861323536000000000000000000000000000000000000',
  '000000000000000000000fc800000040181b863d44db76888029877c76af51aeeb6729436bf405e5c3d6f578e2d221aa',
  '8d6dd213c6e7d8ba21a9db1cccb7ed334c0096dd00002b3a62386133393531632d656162312d346261662d396638382d',
  '62613539346238303230313700000000',
].join('')
const ACTIVE = '00ac71f30000acf935ff80ef214291a17386206a98b26320798e093b9bf8ed8d142d80c1b3718c6700000008'
const SLOT_SECTORS = [8, 512, 1016, 1520, 2024, 2528, 3032, 3536]
const STRIPES = '00000fa0'

function sample(): Uint8Array {
  const idle = (sector: number): string => `0000dead${'00'.repeat(36)}${sector.toString(16).padStart(8, '0')}${STRIPES}`
  const slots = SLOT_SECTORS.map((sector, index) => (index === 0 ? `${ACTIVE}${STRIPES}` : idle(sector)))
  return new Uint8Array(Buffer.from(`${FIELDS}${slots.join('')}`, 'hex'))
}

describe('a LUKS header', () => {
  test('of the reference tool is read field by field', () => {
    const header = decodeLuksHeader(sample())
    expect(header).toMatchObject({
      cipherName: 'aes',
      cipherMode: 'xts-plain64',
      hashSpec: 'sha256',
      payloadOffset: 2068480,
      keyBytes: 64,
      mkDigestIterations: 11066,
      uuid: 'b8a3951c-eab1-4baf-9f88-ba594b802017',
    })
    expect(Buffer.from(header.mkDigest).toString('hex')).toBe('181b863d44db76888029877c76af51aeeb672943')
    expect(header.mkDigestSalt[0]).toBe(0x6b)
    expect(header.mkDigestSalt[31]).toBe(0xdd)
    expect(header.keySlots).toHaveLength(8)
    expect(header.keySlots[0]).toMatchObject({
      active: true,
      iterations: 44281,
      keyMaterialOffset: 4096,
      stripes: 4000,
    })
    expect(header.keySlots[0]?.salt[31]).toBe(0x67)
    expect(header.keySlots[7]).toMatchObject({
      active: false,
      iterations: 0,
      keyMaterialOffset: 1810432,
      stripes: 4000,
    })
    expect(encodeLuksHeader(header)).toEqual(sample())
  })

  test('keeps no view of the bytes it was read from', () => {
    const bytes = Buffer.from(sample())
    const header = decodeLuksHeader(bytes)
    bytes.fill(0xff)
    expect(encodeLuksHeader(header)).toEqual(sample())
  })

  test.each([
    ['another magic number', 0, 0x4d, 'EINVAL', 'Volume is not in LUKS format'],
    ['version 2', 7, 2, 'ENOTSUP', 'LUKS version 2 is not supported'],
    ['a slot in no state', 208 + 48 + 3, 0, 'EIO', 'Keyslot 1 state (active/disable) is corrupted'],
  ])('with %s is refused', (_name, at, byte, code, message) => {
    const bytes = sample()
    bytes[at] = byte
    expect(() => decodeLuksHeader(bytes)).toThrow(expect.objectContaining({ code, message }))
  })

  test('that is cut off is refused', () => {
    expect(() => decodeLuksHeader(sample().subarray(0, 591))).toThrow(expect.objectContaining({ code: 'EIO' }))
    expect(isLuks(sample().subarray(0, 6))).toBe(true)
    expect(isLuks(sample().subarray(0, 5))).toBe(false)
  })

  test('has no room for longer texts', () => {
    const header = { ...decodeLuksHeader(sample()), cipherMode: 'x'.repeat(33) }
    expect(() => encodeLuksHeader(header)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
    expect(decodeLuksHeader(encodeLuksHeader({ ...header, cipherMode: 'x'.repeat(32) })).cipherMode).toHaveLength(32)
  })

  const text = (max: number) => fc.stringMatching(new RegExp(`^[ -~]{0,${max}}$`))
  const u32 = fc.nat(2 ** 31 - 1).map((low) => low * 2 + 1)
  const offset = u32.map((sector) => sector * 512)
  const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })
  const anyHeader: fc.Arbitrary<LuksHeader> = fc.record({
    cipherName: text(32),
    cipherMode: text(32),
    hashSpec: text(32),
    payloadOffset: offset,
    keyBytes: u32,
    mkDigest: bytes(20),
    mkDigestSalt: bytes(32),
    mkDigestIterations: u32,
    uuid: text(40),
    keySlots: fc.array(
      fc.record({ active: fc.boolean(), iterations: u32, salt: bytes(32), keyMaterialOffset: offset, stripes: u32 }),
      { minLength: 8, maxLength: 8 },
    ),
  })

  test('comes back as it was written', () => {
    fc.assert(
      fc.property(anyHeader, (header) => {
        const encoded = encodeLuksHeader(header)
        expect(encoded).toHaveLength(LUKS_HEADER_BYTES)
        expect(decodeLuksHeader(encoded)).toEqual(header)
      }),
      { numRuns: 100 },
    )
  })
})
