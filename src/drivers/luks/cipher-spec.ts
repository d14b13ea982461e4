// Which cipher a LUKS volume has: the texts of its header ("aes", "xts-plain64", "cbc-essiv:sha256") and the words of options
// ("aes-256", "xts", "plain64") as one value. Only AES: the host gives nothing else.

import { BlockError, quoteOutside } from '../../common/error.js'
import type { AesMode, HashName, HostCrypto } from '../../common/host-services.js'

/** How the initial vector of a sector is made of its number. */
export type IvGenerator = 'plain' | 'plain64' | 'essiv'

/** A cipher of sectors, of a length of key. */
export interface CipherSpec {
  readonly mode: AesMode
  /** Undefined where the mode has no vectors. */
  readonly ivGenerator: IvGenerator | undefined
  /** The hash of essiv. */
  readonly ivHash: HashName | undefined
  /** Of the master key: twice the key of AES in xts. */
  readonly keyBytes: number
}

const HASHES: readonly HashName[] = ['sha1', 'sha224', 'sha256', 'sha384', 'sha512', 'ripemd160', 'md5']

/** Bytes of a hash function's output. */
export const DIGEST_BYTES: Readonly<Record<HashName, number>> = {
  sha1: 20,
  sha224: 28,
  sha256: 32,
  sha384: 48,
  sha512: 64,
  ripemd160: 20,
  md5: 16,
}

/** The hash function called `name`. ENOTSUP where it is not known, or the host has it not. */
export function readHashName(crypto: HostCrypto, name: string): HashName {
  const hash = HASHES.find((known) => known === name.toLowerCase())
  if (hash !== undefined && crypto.hasHash(hash)) return hash
  throw new BlockError('ENOTSUP', `Hash algorithm ${quoteOutside(name)} not supported`, { op: 'open' })
}

/** The cipher that a header names. ENOTSUP for what is not AES in xts, cbc or ecb, or has no such key; EIO for essiv without a hash. */
export function readCipherSpec(
  crypto: HostCrypto,
  header: { cipherName: string; cipherMode: string; keyBytes: number },
): CipherSpec {
  const { cipherName, cipherMode, keyBytes } = header
  const unknown = (): BlockError =>
    unsupported(`Algorithm ${quoteOutside(cipherName)} with key size ${keyBytes} bytes not supported`)
  const match = /^(xts|cbc|ecb)(?:-(plain64|plain|essiv)(?::(.*))?)?$/.exec(cipherMode)
  if (cipherName !== 'aes') throw unknown()
  if (match === null) throw unsupported(`Cipher mode ${quoteOutside(cipherMode)} not supported`)
  const [, mode, generator, hash] = match as unknown as [string, AesMode, IvGenerator | undefined, string | undefined]
  if ((generator === undefined && mode !== 'ecb') || (hash !== undefined && generator !== 'essiv')) {
    throw unsupported(`Cipher mode ${quoteOutside(cipherMode)} not supported`)
  }
  const spec: CipherSpec = {
    mode,
    ivGenerator: mode === 'ecb' ? undefined : generator,
    ivHash: mode !== 'ecb' && generator === 'essiv' ? readIvHash(crypto, hash) : undefined,
    keyBytes,
  }
  if (!hasKeySize(spec)) throw unknown()
  return spec
}

/** The hash of essiv makes a key of AES. */
function readIvHash(crypto: HostCrypto, name: string | undefined): HashName {
  if (name === undefined) throw new BlockError('EIO', 'the LUKS header names no hash for essiv', { op: 'open' })
  const hash = readHashName(crypto, name)
  if (![16, 24, 32].includes(DIGEST_BYTES[hash])) {
    const bytes = DIGEST_BYTES[hash]
    throw new BlockError('ENOTSUP', `No AES cipher with key size ${bytes} available`, { op: 'open' })
  }
  return hash
}

function unsupported(message: string): BlockError {
  return new BlockError('ENOTSUP', message, { op: 'open' })
}

function hasKeySize({ mode, keyBytes }: CipherSpec): boolean {
  return (mode === 'xts' ? [32, 64] : [16, 24, 32]).includes(keyBytes)
}

/** The header's text for a cipher: "xts-plain64". Readers want a generator of vectors also where the mode has none. */
export function cipherModeText({ mode, ivGenerator = 'plain64', ivHash }: CipherSpec): string {
  return `${mode}-${ivGenerator}${ivHash === undefined ? '' : `:${ivHash}`}`
}

/** The option's word for a cipher: "aes-256". */
export function cipherAlgText({ mode, keyBytes }: CipherSpec): string {
  return `aes-${(mode === 'xts' ? keyBytes / 2 : keyBytes) * 8}`
}
