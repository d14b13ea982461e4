import { describe, expect, test } from 'vitest'
import { type LuksCreateValues, readCreation } from '../../../../src/drivers/luks/options.js'
import { nodeCrypto } from '../../../../src/platform/crypto.js'

const NOTHING: LuksCreateValues = {
  'key-secret': undefined,
  'cipher-alg': undefined,
  'cipher-mode': undefined,
  'ivgen-alg': undefined,
  'ivgen-hash-alg': undefined,
  'hash-alg': undefined,
  'iter-time': undefined,
}

const read = (values: Partial<LuksCreateValues>) => readCreation(nodeCrypto, { ...NOTHING, ...values })

describe('creation options', () => {
  test.each<[Partial<LuksCreateValues>, ReturnType<typeof read>]>([
    [{}, { spec: { mode: 'xts', ivGenerator: 'plain64', ivHash: undefined, keyBytes: 64 }, hash: 'sha256' }],
    [
      { 'cipher-alg': 'aes-128', 'hash-alg': 'sha512' },
      { spec: { mode: 'xts', ivGenerator: 'plain64', ivHash: undefined, keyBytes: 32 }, hash: 'sha512' },
    ],
    [
      { 'cipher-alg': 'aes-192', 'cipher-mode': 'cbc', 'ivgen-alg': 'essiv' },
      { spec: { mode: 'cbc', ivGenerator: 'essiv', ivHash: 'sha256', keyBytes: 24 }, hash: 'sha256' },
    ],
    [
      { 'cipher-mode': 'cbc', 'ivgen-alg': 'plain', 'hash-alg': 'sha1' },
      { spec: { mode: 'cbc', ivGenerator: 'plain', ivHash: undefined, keyBytes: 32 }, hash: 'sha1' },
    ],
    [
      { 'cipher-mode': 'ecb' },
      { spec: { mode: 'ecb', ivGenerator: undefined, ivHash: undefined, keyBytes: 32 }, hash: 'sha256' },
    ],
  ])('%j', (values, expected) => {
    expect(read(values)).toEqual(expected)
  })

  test.each<[Partial<LuksCreateValues>, string, string]>([
    [{ 'cipher-alg': 'foo' }, 'EINVAL', "Parameter 'cipher-alg' does not accept value 'foo'"],
    [{ 'cipher-alg': 'serpent-256' }, 'ENOTSUP', "Algorithm 'serpent-256' is not supported"],
    [{ 'cipher-alg': 'aes-192' }, 'ENOTSUP', "Algorithm 'aes-192' with mode 'xts' is not supported"],
    [{ 'cipher-mode': 'foo' }, 'EINVAL', "Parameter 'cipher-mode' does not accept value 'foo'"],
    [{ 'cipher-mode': 'ctr' }, 'ENOTSUP', "Algorithm 'ctr' is not supported"],
    [{ 'ivgen-alg': 'foo' }, 'EINVAL', "Parameter 'ivgen-alg' does not accept value 'foo'"],
    [{ 'hash-alg': 'foo' }, 'EINVAL', "Parameter 'hash-alg' does not accept value 'foo'"],
    [
      { 'ivgen-alg': 'essiv', 'ivgen-hash-alg': 'foo' },
      'EINVAL',
      "Parameter 'ivgen-hash-alg' does not accept value 'foo'",
    ],
    [{ 'ivgen-alg': 'essiv', 'ivgen-hash-alg': 'sha1' }, 'ENOTSUP', 'No AES cipher with key size 20 available'],
  ])('%j is refused', (values, code, message) => {
    expect(() => read(values)).toThrow(expect.objectContaining({ code, message }))
  })
})
