// What a host gives besides time: compression, cryptography, chance, the date. Types only; handed in, so that tests own them.
// Whatever is missing here is an operation that its user refuses with ENOTSUP, when it opens or creates an image.

import type { MaybePromise } from './maybe-promise.js'

/** One compression method, for blocks of known length. Calls do not depend on each other and may overlap. */
export interface Compressor {
  /**
   * Compresses `data`; undefined where the result would take more than `most` bytes. `data` is not to change until the
   * result is there, and is never kept after.
   */
  compress(data: Uint8Array, most: number): MaybePromise<Uint8Array | undefined>
  /**
   * The first `bytes` bytes of what `data` was made of. Whatever follows the stream in `data` is ignored. EIO where
   * the stream is damaged, ends before or goes on behind. Never holds more than `bytes` bytes of output, plus constants.
   */
  decompress(data: Uint8Array, bytes: number): MaybePromise<Uint8Array>
}

/** Hash functions of a {@link HostCrypto}. */
export type HashName = 'sha1' | 'sha224' | 'sha256' | 'sha384' | 'sha512' | 'ripemd160' | 'md5'

/** How AES is run over a sector. */
export type AesMode = 'ecb' | 'cbc' | 'xts'

/** AES with a key, for any number of sectors. Sectors are independent of each other. */
export interface AesCipher {
  /**
   * Encrypts the sectors in `data`, in place. Its length is a multiple of `sectorBytes`, itself a multiple of 16; `ivs` holds
   * 16 bytes for each sector (the tweak of xts), none for ecb.
   */
  encrypt(data: Uint8Array, ivs: Uint8Array, sectorBytes: number): void
  /** Decrypts, as `encrypt`. */
  decrypt(data: Uint8Array, ivs: Uint8Array, sectorBytes: number): void
}

/** Cryptography of the host. Synchronous but for what is slow on purpose. */
export interface HostCrypto {
  /** Whether the host knows this hash function; the others throw ENOTSUP where it does not. */
  hasHash(name: HashName): boolean
  hash(name: HashName, data: Uint8Array): Uint8Array
  hmac(name: HashName, key: Uint8Array, data: Uint8Array): Uint8Array
  /** PBKDF2 with HMAC: `bytes` bytes. Runs off the thread where the host can. */
  pbkdf2(name: HashName, password: Uint8Array, salt: Uint8Array, iterations: number, bytes: number): Promise<Uint8Array>
  /**
   * AES with a key of 16, 24 or 32 bytes, or of 32 or 64 for xts: two keys, the second for the tweak. `key` may be
   * overwritten when this returns.
   */
  aes(mode: AesMode, key: Uint8Array): AesCipher
  /** Bytes nobody can guess. */
  randomBytes(count: number): Uint8Array
  /** Whether two values are equal, in time that depends on their length alone. */
  timingSafeEqual(a: Uint8Array, b: Uint8Array): boolean
}

/** A date: seconds since 1970 and the part of a second. */
export interface WallTime {
  readonly seconds: number
  readonly nanoseconds: number
}

/** What a host gives. Each is optional: universal code runs without. */
export interface HostServices {
  /** Raw deflate; what it makes can be read with a window of 4 KiB, what it reads may need the largest. */
  readonly deflate?: Compressor | undefined
  /** Zstandard, one frame for a block. */
  readonly zstd?: Compressor | undefined
  readonly crypto?: HostCrypto | undefined
  /** Bytes of chance for names and identifiers, not for secrets. */
  randomBytes?(count: number): Uint8Array
  wallClock?(): WallTime
}
