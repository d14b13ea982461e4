import { createCipheriv, createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { CipherSpec, IvGenerator } from '../../../../src/drivers/luks/cipher-spec.js'
import { SectorCipher } from '../../../../src/drivers/luks/sector-cipher.js'
import { nodeCrypto } from '../../../../src/platform/crypto.js'

/** The vector of a sector, as its definition has it. */
function vectorOf(generator: IvGenerator, sector: number, key: Uint8Array): Buffer {
  const iv = Buffer.alloc(16)
  if (generator === 'plain') iv.writeUInt32LE(sector % 2 ** 32)
  else iv.writeBigUInt64LE(BigInt(sector))
  if (generator !== 'essiv') return iv
  const cipher = createCipheriv('aes-256-ecb', createHash('sha256').update(key).digest(), null).setAutoPadding(false)
  return cipher.update(iv)
}

function expected(name: string, key: Uint8Array, generator: IvGenerator, first: number, plain: Uint8Array): Buffer {
  const sectors: Buffer[] = []
  for (let at = 0; at < plain.length; at += 512) {
    const cipher = createCipheriv(name, key, vectorOf(generator, first + at / 512, key)).setAutoPadding(false)
    sectors.push(cipher.update(plain.subarray(at, at + 512)))
  }
  return Buffer.concat(sectors)
}

describe('the cipher of sectors', () => {
  const cases: [string, CipherSpec['mode'], number, IvGenerator][] = [
    ['aes-256-xts', 'xts', 64, 'plain64'],
    ['aes-128-xts', 'xts', 32, 'essiv'],
    ['aes-256-cbc', 'cbc', 32, 'essiv'],
    ['aes-192-cbc', 'cbc', 24, 'plain64'],
    ['aes-128-cbc', 'cbc', 16, 'plain'],
  ]

  test.each(cases)('%s in mode %s, key of %i bytes, vectors %s', (name, mode, keyBytes, ivGenerator) => {
    const key = Uint8Array.from({ length: keyBytes }, (_, index) => index * 5 + 1)
    const spec: CipherSpec = { mode, ivGenerator, ivHash: ivGenerator === 'essiv' ? 'sha256' : undefined, keyBytes }
    const cipher = new SectorCipher(nodeCrypto, spec, key.slice())
    for (const [first, sectors] of [
      [0, 1],
      [2 ** 32 - 2, 4],
      [2 ** 43 + 1, 130],
      [7, 256],
    ] as const) {
      const plain = Uint8Array.from({ length: sectors * 512 }, (_, index) => index >> 3)
      const data = plain.slice()
      cipher.encrypt(first, data)
      expect(Buffer.compare(data, expected(name, key, ivGenerator, first, plain))).toBe(0)
      cipher.decrypt(first, data)
      expect(Buffer.compare(data, plain)).toBe(0)
    }
  })

  test('without vectors gives equal sectors an equal look', () => {
    const spec: CipherSpec = { mode: 'ecb', ivGenerator: undefined, ivHash: undefined, keyBytes: 32 }
    const cipher = new SectorCipher(nodeCrypto, spec, new Uint8Array(32))
    const data = new Uint8Array(1024)
    cipher.encrypt(5, data)
    expect(data.subarray(0, 512)).toEqual(data.subarray(512))
    cipher.decrypt(9, data)
    expect(data).toEqual(new Uint8Array(1024))
  })

  test('wants a key of its length and whole sectors', () => {
    const spec: CipherSpec = { mode: 'cbc', ivGenerator: 'plain64', ivHash: undefined, keyBytes: 32 }
    expect(() => new SectorCipher(nodeCrypto, spec, new Uint8Array(16))).toThrow(/as long as/)
    const cipher = new SectorCipher(nodeCrypto, spec, new Uint8Array(32))
    expect(() => cipher.encrypt(0, new Uint8Array(100))).toThrow(/whole sectors/)
  })
})
