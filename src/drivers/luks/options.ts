// Options of LUKS volumes, as users of the format know them: those of creation and what they come to.

import { BlockError, quoteOutside } from '../../common/error.js'
import type { AesMode, HashName, HostCrypto } from '../../common/host-services.js'
import { integerOption, type OptionValues, stringOption } from '../../global-state/options/option-schema.js'
import { type CipherSpec, DIGEST_BYTES, type IvGenerator, readHashName } from './cipher-spec.js'

/** Creation options. qcow2 has them with `encrypt.` before their names. */
export const LUKS_CREATE_OPTIONS = {
  'key-secret': stringOption({ description: 'ID of the secret that provides the keyslot passphrase' }),
  'cipher-alg': stringOption({ description: 'Name of encryption cipher algorithm' }),
  'cipher-mode': stringOption({ description: 'Name of encryption cipher mode' }),
  'ivgen-alg': stringOption({ description: 'Name of IV generator algorithm' }),
  'ivgen-hash-alg': stringOption({ description: 'Name of IV generator hash algorithm' }),
  'hash-alg': stringOption({ description: 'Name of encryption hash algorithm' }),
  'iter-time': integerOption({ description: 'Time to spend in PBKDF in milliseconds' }),
}

/** Milliseconds that a guess at a password is to take where nobody says otherwise. */
export const DEFAULT_ITER_TIME_MS = 2000

/** The options as given. */
export type LuksCreateValues = OptionValues<typeof LUKS_CREATE_OPTIONS>

/** Words that are known and that this library does not do. */
const OTHER_CIPHERS = [
  'des',
  '3des',
  'cast5-128',
  'serpent-128',
  'serpent-192',
  'serpent-256',
  'twofish-128',
  'twofish-192',
  'twofish-256',
]

/** The cipher and the hash that options ask for. EINVAL for words that mean nothing, ENOTSUP for what is not done here. */
export function readCreation(crypto: HostCrypto, values: LuksCreateValues): { spec: CipherSpec; hash: HashName } {
  const algorithm = values['cipher-alg'] ?? 'aes-256'
  const bits = /^aes-(128|192|256)$/.exec(algorithm)?.[1]
  if (bits === undefined) throw refusal('cipher-alg', algorithm, OTHER_CIPHERS)
  const mode = word<AesMode>('cipher-mode', values['cipher-mode'] ?? 'xts', ['xts', 'cbc', 'ecb'], ['ctr'])
  const generator = word<IvGenerator>('ivgen-alg', values['ivgen-alg'] ?? 'plain64', ['plain', 'plain64', 'essiv'])
  const keyBytes = (Number(bits) / 8) * (mode === 'xts' ? 2 : 1)
  if (mode === 'xts' && bits === '192') {
    throw new BlockError('ENOTSUP', `Algorithm '${algorithm}' with mode 'xts' is not supported`, { op: 'create' })
  }
  const hash = hashOption(crypto, 'hash-alg', values['hash-alg'] ?? 'sha256')
  if (mode === 'ecb') return { spec: { mode, ivGenerator: undefined, ivHash: undefined, keyBytes }, hash }
  const ivHash =
    generator === 'essiv' ? hashOption(crypto, 'ivgen-hash-alg', values['ivgen-hash-alg'] ?? 'sha256') : undefined
  if (ivHash !== undefined && ![16, 24, 32].includes(DIGEST_BYTES[ivHash])) {
    throw new BlockError('ENOTSUP', `No AES cipher with key size ${DIGEST_BYTES[ivHash]} available`, { op: 'create' })
  }
  return { spec: { mode, ivGenerator: generator, ivHash, keyBytes }, hash }
}

const HASH_WORDS = ['md5', 'sha1', 'sha224', 'sha256', 'sha384', 'sha512', 'ripemd160']

function hashOption(crypto: HostCrypto, name: string, value: string): HashName {
  if (!HASH_WORDS.includes(value)) throw refusal(name, value, [])
  return readHashName(crypto, value)
}

function word<T extends string>(name: string, value: string, known: readonly T[], others: readonly string[] = []): T {
  const found = known.find((one) => one === value)
  if (found === undefined) throw refusal(name, value, others)
  return found
}

function refusal(name: string, value: string, known: readonly string[]): BlockError {
  return known.includes(value)
    ? new BlockError('ENOTSUP', `Algorithm ${quoteOutside(value)} is not supported`, { op: 'create' })
    : new BlockError('EINVAL', `Parameter '${name}' does not accept value ${quoteOutside(value)}`, { op: 'create' })
}
