// The cipher of 512-byte sectors that a volume's payload and its key material are under: AES, and a vector for each
// sector made of its number (plain: 32 bits, plain64: 64 bits, essiv: 64 bits encrypted with a hash of the key).

import { assert } from '../../common/assert.js'
import type { AesCipher, HostCrypto } from '../../common/host-services.js'
import type { CipherSpec } from './cipher-spec.js'
import { LUKS_SECTOR_BYTES } from './header.js'

const IV_BYTES = 16

/** Sectors whose vectors are made at once. */
const MOST_SECTORS = 128

/** Encrypts and decrypts sectors in place. */
export class SectorCipher {
  readonly #spec: CipherSpec
  readonly #data: AesCipher
  readonly #essiv: AesCipher | undefined
  readonly #ivs = new Uint8Array(MOST_SECTORS * IV_BYTES)
  readonly #view = new DataView(this.#ivs.buffer)

  /** `key` has the length that `spec` says. */
  constructor(crypto: HostCrypto, spec: CipherSpec, key: Uint8Array) {
    assert(key.length === spec.keyBytes, 'a key as long as its cipher wants')
    this.#spec = spec
    this.#data = crypto.aes(spec.mode, key)
    this.#essiv = spec.ivHash === undefined ? undefined : crypto.aes('ecb', crypto.hash(spec.ivHash, key))
  }

  /** Encrypts whole sectors, of which the first is number `sector`. */
  encrypt(sector: number, data: Uint8Array): void {
    for (let done = 0; done < data.length; done += MOST_SECTORS * LUKS_SECTOR_BYTES) {
      const part = data.subarray(done, done + MOST_SECTORS * LUKS_SECTOR_BYTES)
      this.#data.encrypt(part, this.#ivsOf(sector + done / LUKS_SECTOR_BYTES, part.length), LUKS_SECTOR_BYTES)
    }
  }

  /** Decrypts, as `encrypt`. */
  decrypt(sector: number, data: Uint8Array): void {
    for (let done = 0; done < data.length; done += MOST_SECTORS * LUKS_SECTOR_BYTES) {
      const part = data.subarray(done, done + MOST_SECTORS * LUKS_SECTOR_BYTES)
      this.#data.decrypt(part, this.#ivsOf(sector + done / LUKS_SECTOR_BYTES, part.length), LUKS_SECTOR_BYTES)
    }
  }

  /** The vectors of the sectors from number `first` on. */
  #ivsOf(first: number, bytes: number): Uint8Array {
    assert(bytes % LUKS_SECTOR_BYTES === 0, 'whole sectors')
    const length = (bytes / LUKS_SECTOR_BYTES) * IV_BYTES
    const ivs = this.#ivs.subarray(0, length)
    ivs.fill(0)
    const isShort = this.#spec.ivGenerator === 'plain'
    for (let at = 0, sector = first; at < length; at += IV_BYTES, sector += 1) {
      this.#view.setUint32(at, sector, true)
      if (!isShort) this.#view.setUint32(at + 4, sector / 2 ** 32, true)
    }
    this.#essiv?.encrypt(ivs, ivs, IV_BYTES)
    return ivs
  }
}
