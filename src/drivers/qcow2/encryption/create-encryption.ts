// The encryption of a new image: its options judged before anything is made, its header written when clusters for it are there.

import { BlockError, quoteOutside } from '../../../common/error.js'
import type { HostCrypto } from '../../../common/host-services.js'
import type { CreateContext } from '../../../global-state/driver.js'
import { flagOption, type OptionField, stringOption } from '../../../global-state/options/option-schema.js'
import { createVolume, newPayloadOffset } from '../../luks/create.js'
import { DEFAULT_ITER_TIME_MS, LUKS_CREATE_OPTIONS, type LuksCreateValues, readCreation } from '../../luks/options.js'
import { cryptoOf, type LuksArea, passwordOf } from '../../luks/volume.js'
import { CRYPT_AES, CRYPT_LUKS } from '../format/header.js'
import { ENCRYPT_PREFIX, fromEncryptOptions, toEncryptOptions } from './encrypt-options.js'

/** Creation options of encryption: which method it is to be, and those of LUKS behind `encrypt.`. */
export const QCOW2_ENCRYPTION_OPTIONS: Readonly<Record<string, OptionField<unknown>>> = {
  encryption: flagOption({
    description: "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)",
  }),
  'encrypt.format': stringOption({ description: "Encrypt the image, format choices: 'aes', 'luks'" }),
  ...toEncryptOptions(LUKS_CREATE_OPTIONS),
  'encrypt.key-secret': stringOption({ description: 'ID of secret providing qcow AES key or LUKS passphrase' }),
}

/** The encryption that a new image is to have. */
export interface EncryptionPlan {
  /** For the header of the image. */
  readonly cryptMethod: number
  /** Bytes of clusters to be allocated for the header of LUKS and named by its extension; 0 for AES, which has none. */
  readonly headerBytes: number
  /** Writes the header to `area`, which reads as zeroes and has `headerBytes`. Called once, not for AES. */
  write(area: LuksArea): Promise<void>
}

/**
 * What creation options ask for, undefined for an image in the clear; `values` are as read by
 * {@link QCOW2_ENCRYPTION_OPTIONS}. EINVAL and ENOTSUP as the options deserve.
 */
export function planEncryption(
  context: Pick<CreateContext, 'environment' | 'secret'>,
  values: Readonly<Record<string, unknown>>,
): EncryptionPlan | undefined {
  const format = formatOf(values)
  if (format === undefined) return undefined
  const crypto = cryptoOf(context.environment.services)
  const given = fromEncryptOptions(LUKS_CREATE_OPTIONS, values) as LuksCreateValues
  const secretId = given['key-secret']
  if (secretId === undefined) throw refusal("Parameter 'encrypt.key-secret' is required for cipher")
  const password = passwordOf(secretId, context.secret(secretId))
  return format === 'aes' ? planAes(given, password) : planLuks(context, crypto, given, password)
}

function formatOf(values: Readonly<Record<string, unknown>>): 'aes' | 'luks' | undefined {
  const format = values['encrypt.format']
  if (values.encryption === true) {
    if (format === undefined) return 'aes'
    throw refusal("'encrypt.format' and its alias 'encryption' can't be used at the same time")
  }
  if (format === 'aes' || format === 'luks') return format
  if (format !== undefined) throw refusal(`Parameter 'format' does not accept value ${quoteOutside(String(format))}`)
  const given = Object.keys(values).some((name) => name.startsWith(ENCRYPT_PREFIX) && values[name] !== undefined)
  if (given) throw refusal("Parameter 'encrypt.format' is missing")
  return undefined
}

/** The password is the key: nothing of it is kept in the image. */
function planAes(given: LuksCreateValues, password: Uint8Array): EncryptionPlan {
  password.fill(0)
  const other = Object.keys(given).find(
    (name) => name !== 'key-secret' && given[name as keyof LuksCreateValues] !== undefined,
  )
  if (other !== undefined) throw refusal(`Parameter '${ENCRYPT_PREFIX}${other}' is unexpected`)
  return { cryptMethod: CRYPT_AES, headerBytes: 0, write: async () => {} }
}

function planLuks(
  { environment }: Pick<CreateContext, 'environment'>,
  crypto: HostCrypto,
  given: LuksCreateValues,
  password: Uint8Array,
): EncryptionPlan {
  const { spec, hash } = readCreation(crypto, given)
  const creation = {
    crypto,
    clock: environment.clock,
    spec,
    hash,
    iterTimeMs: given['iter-time'] ?? DEFAULT_ITER_TIME_MS,
  }
  return {
    cryptMethod: CRYPT_LUKS,
    headerBytes: newPayloadOffset(spec.keyBytes),
    async write(area) {
      await createVolume(creation, area, password)
    },
  }
}

function refusal(message: string): BlockError {
  return new BlockError('EINVAL', message, { op: 'create' })
}
