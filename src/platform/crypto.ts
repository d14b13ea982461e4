// Cryptography by Node's OpenSSL.

import { BlockError } from '../common/error.js'
import type { HashName, HostCrypto } from '../common/host-services.js'
import { nodeAes } from './aes.js'
import { openssl } from './openssl.js'
import { plainBytes } from './plain-bytes.js'

/** OpenSSL behind the interface of the library. */
export const nodeCrypto: HostCrypto = {
  hasHash: (name) => openssl().getHashes().includes(name),
  hash: (name, data) => plainBytes(withHash(name, () => openssl().hash(name, data, 'buffer'))),
  hmac: (name, key, data) => plainBytes(withHash(name, () => openssl().createHmac(name, key).update(data).digest())),
  pbkdf2: (name, password, salt, iterations, bytes) =>
    new Promise((resolve, reject) => {
      const done = (error: Error | null, key: Uint8Array): void => {
        if (error === null) resolve(plainBytes(key))
        else reject(noHash(name, error))
      }
      withHash(name, () => openssl().pbkdf2(password, salt, iterations, bytes, name, done))
    }),
  aes: nodeAes,
  randomBytes: (count) => plainBytes(openssl().randomBytes(count)),
  timingSafeEqual: (a, b) => a.length === b.length && openssl().timingSafeEqual(a, b),
}

function withHash<T>(name: HashName, act: () => T): T {
  try {
    return act()
  } catch (cause) {
    throw noHash(name, cause)
  }
}

function noHash(name: HashName, cause: unknown): BlockError {
  return new BlockError('ENOTSUP', `the host's cryptography does not give ${name}`, { cause })
}
