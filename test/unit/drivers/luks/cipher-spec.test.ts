import { describe, expect, test } from 'vitest'
import {
  type CipherSpec,
  cipherAlgText,
  cipherModeText,
  readCipherSpec,
  readHashName,
} from '../../../../src/drivers/luks/cipher-spec.js'
import { nodeCrypto } from '../../../../src/platform/crypto.js'

const read = (cipherMode: string, keyBytes: number, cipherName = 'aes'): CipherSpec =>
  readCipherSpec(nodeCrypto, { cipherName, cipherMode, keyBytes })

describe('the cipher of a header', () => {
  test.each([
    ['xts-plain64', 64, { mode: 'xts', ivGenerator: 'plain64', ivHash: undefined }, 'aes-256', 'xts-plain64'],
    ['xts-plain64', 32, { mode: 'xts', ivGenerator: 'plain64', ivHash: undefined }, 'aes-128', 'xts-plain64'],
    ['cbc-plain', 24, { mode: 'cbc', ivGenerator: 'plain', ivHash: undefined }, 'aes-192', 'cbc-plain'],
    ['cbc-essiv:sha256', 16, { mode: 'cbc', ivGenerator: 'essiv', ivHash: 'sha256' }, 'aes-128', 'cbc-essiv:sha256'],
    ['xts-essiv:sha256', 64, { mode: 'xts', ivGenerator: 'essiv', ivHash: 'sha256' }, 'aes-256', 'xts-essiv:sha256'],
    ['ecb', 32, { mode: 'ecb', ivGenerator: undefined, ivHash: undefined }, 'aes-256', 'ecb-plain64'],
    ['ecb-plain64', 32, { mode: 'ecb', ivGenerator: undefined, ivHash: undefined }, 'aes-256', 'ecb-plain64'],
  ])('%s with %i bytes of key', (mode, keyBytes, expected, algorithm, text) => {
    const spec = read(mode, keyBytes)
    expect(spec).toEqual({ ...expected, keyBytes })
    expect(cipherAlgText(spec)).toBe(algorithm)
    expect(cipherModeText(spec)).toBe(text)
  })

  test.each([
    ['xts-plain64', 48, 'aes', 'ENOTSUP', "Algorithm 'aes' with key size 48 bytes not supported"],
    ['cbc-plain64', 64, 'aes', 'ENOTSUP', "Algorithm 'aes' with key size 64 bytes not supported"],
    ['cbc-plain64', 0xffffffff, 'aes', 'ENOTSUP', "Algorithm 'aes' with key size 4294967295 bytes not supported"],
    ['xts-plain64', 64, 'serpent', 'ENOTSUP', "Algorithm 'serpent' with key size 64 bytes not supported"],
    ['ctr-plain64', 32, 'aes', 'ENOTSUP', "Cipher mode 'ctr-plain64' not supported"],
    ['xts', 64, 'aes', 'ENOTSUP', "Cipher mode 'xts' not supported"],
    ['xts-plain64:sha256', 64, 'aes', 'ENOTSUP', "Cipher mode 'xts-plain64:sha256' not supported"],
    ['xts-benbi', 64, 'aes', 'ENOTSUP', "Cipher mode 'xts-benbi' not supported"],
    ['\u0000\u001b[2J', 64, 'aes', 'ENOTSUP', "Cipher mode '\\x00\\x1b[2J' not supported"],
    ['cbc-essiv', 32, 'aes', 'EIO', 'the LUKS header names no hash for essiv'],
    ['cbc-essiv:sha1', 32, 'aes', 'ENOTSUP', 'No AES cipher with key size 20 available'],
    ['cbc-essiv:sha512', 32, 'aes', 'ENOTSUP', 'No AES cipher with key size 64 available'],
    ['cbc-essiv:crc32', 32, 'aes', 'ENOTSUP', "Hash algorithm 'crc32' not supported"],
  ])('%j with %i bytes of key of %s is refused', (mode, keyBytes, name, code, message) => {
    expect(() => read(mode, keyBytes, name)).toThrow(expect.objectContaining({ code, message }))
  })

  test('takes hashes that the host has', () => {
    expect(readHashName(nodeCrypto, 'SHA256')).toBe('sha256')
    const bare = { ...nodeCrypto, hasHash: () => false }
    expect(() => readHashName(bare, 'sha256')).toThrow(expect.objectContaining({ code: 'ENOTSUP' }))
  })
})
