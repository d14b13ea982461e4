import { describe, expect, test } from 'vitest'
import {
  planEncryption,
  QCOW2_ENCRYPTION_OPTIONS,
} from '../../../../../src/drivers/qcow2/encryption/create-encryption.js'
import { CRYPT_AES, CRYPT_LUKS } from '../../../../../src/drivers/qcow2/format/header.js'
import { createEnvironment } from '../../../../../src/io/environment.js'
import { creationContext, OLD_AES, SMALL_LUKS } from '../../../../support/encrypted-qcow2.js'

const plan = (values: Record<string, unknown>) => planEncryption(creationContext('open sesame'), values)
const LUKS = { 'encrypt.format': 'luks', 'encrypt.key-secret': 's0' }

describe('the encryption of a new image', () => {
  test('is none where nobody asks for it', () => {
    expect(plan({})).toBeUndefined()
    expect(plan({ encryption: false, size: 5 })).toBeUndefined()
  })

  test('is what the options say', () => {
    expect(plan(LUKS)).toMatchObject({ cryptMethod: CRYPT_LUKS, headerBytes: 2068480 })
    expect(plan({ ...LUKS, 'encrypt.cipher-alg': 'aes-128' })).toMatchObject({ headerBytes: 1052672 })
    expect(plan(SMALL_LUKS)).toMatchObject({ headerBytes: 528384 })
    expect(plan(OLD_AES)).toMatchObject({ cryptMethod: CRYPT_AES, headerBytes: 0 })
    expect(plan({ encryption: true, 'encrypt.key-secret': 's0' })).toMatchObject({ cryptMethod: CRYPT_AES })
  })

  test.each<[Record<string, unknown>, string]>([
    [{ 'encrypt.format': 'luks' }, "Parameter 'encrypt.key-secret' is required for cipher"],
    [{ 'encrypt.format': 'aes' }, "Parameter 'encrypt.key-secret' is required for cipher"],
    [{ ...LUKS, 'encrypt.format': 'foo' }, "Parameter 'format' does not accept value 'foo'"],
    [{ 'encrypt.key-secret': 's0' }, "Parameter 'encrypt.format' is missing"],
    [{ 'encrypt.iter-time': 10 }, "Parameter 'encrypt.format' is missing"],
    [{ ...LUKS, encryption: true }, "'encrypt.format' and its alias 'encryption' can't be used at the same time"],
    [{ ...OLD_AES, 'encrypt.cipher-alg': 'aes-256' }, "Parameter 'encrypt.cipher-alg' is unexpected"],
    [{ ...LUKS, 'encrypt.cipher-alg': 'foo' }, "Parameter 'cipher-alg' does not accept value 'foo'"],
  ])('%j is refused', (values, message) => {
    expect(() => plan(values)).toThrow(expect.objectContaining({ code: 'EINVAL', message }))
  })

  test('needs the host', () => {
    const context = { ...creationContext('x'), environment: createEnvironment() }
    expect(() => planEncryption(context, LUKS)).toThrow(expect.objectContaining({ code: 'ENOTSUP' }))
  })

  test('has its options in the order of the tools', () => {
    expect(Object.keys(QCOW2_ENCRYPTION_OPTIONS)).toEqual([
      'encryption',
      'encrypt.format',
      'encrypt.key-secret',
      'encrypt.cipher-alg',
      'encrypt.cipher-mode',
      'encrypt.ivgen-alg',
      'encrypt.ivgen-hash-alg',
      'encrypt.hash-alg',
      'encrypt.iter-time',
    ])
  })
})
