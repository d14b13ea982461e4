import { createCipheriv } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { AesMode } from '../../../src/common/host-services.js'
import { nodeCrypto } from '../../../src/platform/crypto.js'

const bytes = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex.replaceAll(' ', ''), 'hex'))
const hex = (data: Uint8Array): string => Buffer.from(data).toString('hex')
const text = (said: string): Uint8Array => new TextEncoder().encode(said)

/** What OpenSSL makes of one sector at a time. */
function bySector(mode: AesMode, key: Uint8Array, data: Uint8Array, ivs: Uint8Array, sectorBytes: number): Buffer {
  const bits = mode === 'xts' ? key.length * 4 : key.length * 8
  const parts: Buffer[] = []
  for (let at = 0; at < data.length; at += sectorBytes) {
    const first = (at / sectorBytes) * 16
    const iv = mode === 'ecb' ? null : ivs.subarray(first, first + 16)
    const cipher = createCipheriv(`aes-${bits}-${mode}`, key, iv).setAutoPadding(false)
    parts.push(cipher.update(data.subarray(at, at + sectorBytes)), cipher.final())
  }
  return Buffer.concat(parts)
}

describe('AES', () => {
  // IEEE 1619-2007, annex B: vectors 1 and 2. NIST SP 800-38A: F.1.1 and F.2.1, first blocks.
  test.each([
    {
      mode: 'xts' as const,
      key: '00'.repeat(32),
      iv: '00'.repeat(16),
      plain: '00'.repeat(32),
      sealed: '917cf69ebd68b2ec9b9fe9a3eadda692cd43d2f59598ed858c02c2652fbf922e',
    },
    {
      mode: 'xts' as const,
      key: `${'11'.repeat(16)}${'22'.repeat(16)}`,
      iv: `3333333333${'00'.repeat(11)}`,
      plain: '44'.repeat(32),
      sealed: 'c454185e6a16936e39334038acef838bfb186fff7480adc4289382ecd6d394f0',
    },
    {
      mode: 'ecb' as const,
      key: '2b7e151628aed2a6abf7158809cf4f3c',
      iv: '',
      plain: '6bc1bee22e409f96e93d7e117393172a',
      sealed: '3ad77bb40d7a3660a89ecaf32466ef97',
    },
    {
      mode: 'cbc' as const,
      key: '2b7e151628aed2a6abf7158809cf4f3c',
      iv: '000102030405060708090a0b0c0d0e0f',
      plain: '6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51',
      sealed: '7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2',
    },
  ])('$mode makes what the standard says', ({ mode, key, iv, plain, sealed }) => {
    const aes = nodeCrypto.aes(mode, bytes(key))
    const data = bytes(plain)
    aes.encrypt(data, bytes(iv), data.length)
    expect(hex(data)).toBe(sealed)
    aes.decrypt(data, bytes(iv), data.length)
    expect(hex(data)).toBe(plain)
  })

  const keyBytes = { ecb: [16, 24, 32], cbc: [16, 24, 32], xts: [32, 64] }
  const call = fc.constantFrom<AesMode>('ecb', 'cbc', 'xts').chain((mode) =>
    fc.record({
      mode: fc.constant(mode),
      keyBytes: fc.constantFrom(...keyBytes[mode]),
      sectorBytes: fc.constantFrom(16, 48, 512, 4096, 32768),
      calls: fc.array(fc.record({ sectors: fc.nat(70), shift: fc.nat(5) }), { minLength: 1, maxLength: 3 }),
      seed: fc.nat(),
    }),
  )

  test('over many sectors, in place, wherever the buffer is, is the same as sector by sector', () => {
    fc.assert(
      fc.property(call, ({ mode, keyBytes, sectorBytes, calls, seed }) => {
        const random = (count: number): Uint8Array =>
          Uint8Array.from({ length: count }, (_, index) => Math.imul(index + seed, 2654435761) >>> 24)
        const key = random(keyBytes)
        const aes = nodeCrypto.aes(mode, key)
        for (const { sectors: wanted, shift } of calls) {
          const sectors = sectorBytes > 4096 ? wanted % 4 : wanted
          const plain = random(sectors * sectorBytes)
          const ivs = random(sectors * 16 + shift).subarray(shift)
          const room = seed % 2 === 0 ? new Uint8Array(plain.length + shift) : Buffer.alloc(plain.length + shift)
          const data = room.subarray(shift)
          data.set(plain)
          aes.encrypt(data, ivs, sectorBytes)
          expect(Buffer.compare(data, bySector(mode, key, plain, ivs, sectorBytes))).toBe(0)
          aes.decrypt(data, ivs, sectorBytes)
          expect(Buffer.compare(data, plain)).toBe(0)
        }
      }),
      { numRuns: 60 },
    )
  })

  test('asks for keys of its sizes and whole sectors', () => {
    for (const [mode, size] of [
      ['xts', 16],
      ['xts', 48],
      ['cbc', 20],
      ['ecb', 64],
    ] as const) {
      expect(() => nodeCrypto.aes(mode, new Uint8Array(size))).toThrow(/key/)
    }
    const xts = nodeCrypto.aes('xts', new Uint8Array(32))
    expect(() => xts.encrypt(new Uint8Array(500), new Uint8Array(16), 512)).toThrow(/whole blocks/)
    expect(() => xts.encrypt(new Uint8Array(30), new Uint8Array(16), 30)).toThrow(/whole blocks/)
  })
})

describe('hashes', () => {
  test('are those of the standards', async () => {
    expect(hex(nodeCrypto.hash('sha1', text('abc')))).toBe('a9993e364706816aba3e25717850c26c9cd0d89d')
    expect(hex(nodeCrypto.hash('sha256', text('abc')))).toBe(
      'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
    )
    // RFC 2202, case 2; RFC 6070, cases 2 and 3.
    expect(hex(nodeCrypto.hmac('sha1', text('Jefe'), text('what do ya want for nothing?')))).toBe(
      'effcdf6ae5eb2fa2d27416d5f184df9c259a7c79',
    )
    expect(hex(await nodeCrypto.pbkdf2('sha1', text('password'), text('salt'), 2, 20))).toBe(
      'ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957',
    )
    expect(hex(await nodeCrypto.pbkdf2('sha1', text('password'), text('salt'), 4096, 20))).toBe(
      '4b007901b765489abead49d926f721d065a429c1',
    )
  })

  test('that the host does not give are ENOTSUP', async () => {
    const strange = 'whirlpool-but-not-quite' as 'sha1'
    expect(nodeCrypto.hasHash('sha256')).toBe(true)
    expect(nodeCrypto.hasHash(strange)).toBe(false)
    const refused = expect.objectContaining({ name: 'BlockError', code: 'ENOTSUP' })
    expect(() => nodeCrypto.hash(strange, text(''))).toThrow(refused)
    expect(() => nodeCrypto.hmac(strange, text(''), text(''))).toThrow(refused)
    await expect(nodeCrypto.pbkdf2(strange, text(''), text(''), 1, 1)).rejects.toMatchObject({ code: 'ENOTSUP' })
  })
})

describe('comparing and guessing', () => {
  test('equal is equal in length and bytes', () => {
    expect(nodeCrypto.timingSafeEqual(bytes('0102'), bytes('0102'))).toBe(true)
    expect(nodeCrypto.timingSafeEqual(bytes('0102'), bytes('0103'))).toBe(false)
    expect(nodeCrypto.timingSafeEqual(bytes('0102'), bytes('01'))).toBe(false)
  })

  test('random bytes differ', () => {
    expect(nodeCrypto.randomBytes(70000)).toHaveLength(70000)
    expect(nodeCrypto.randomBytes(16)).not.toEqual(nodeCrypto.randomBytes(16))
  })
})
