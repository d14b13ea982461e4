// AES over many sectors by Node's OpenSSL. A cipher object costs more than a sector of work, so there is one of them for each
// direction and key, and what differs from sector to sector (tweaks, chaining) is put on and taken off here:
// XTS (IEEE 1619) and CBC decryption are ECB of whole buffers between two XORs; CBC encryption goes on in one endless chain.

import type { Cipher } from 'node:crypto'
import { endianness } from 'node:os'
import { assert } from '../common/assert.js'
import type { AesCipher, AesMode } from '../common/host-services.js'
import { openssl } from './openssl.js'

const BLOCK = 16

/** Bytes that are worked on at once: they stay in the cache between the passes. */
const MOST_AT_ONCE = 16384

const IS_BIG_ENDIAN = endianness() === 'BE'

/** The name OpenSSL has for the cipher of `mode` with one key of `keyBytes`. */
function nameOf(mode: 'ecb' | 'cbc', keyBytes: number): string {
  assert(keyBytes === 16 || keyBytes === 24 || keyBytes === 32, `an AES key of ${keyBytes} bytes`)
  return `aes-${keyBytes * 8}-${mode}`
}

/** AES in `mode` with `key`, of 16, 24 or 32 bytes, or of 32 or 64 for xts. */
export function nodeAes(mode: AesMode, key: Uint8Array): AesCipher {
  if (mode === 'ecb') return ecbCipher(key)
  if (mode === 'cbc') return cbcCipher(key)
  assert(key.length === 32 || key.length === 64, `an XTS key of ${key.length} bytes`)
  return xtsCipher(key.subarray(0, key.length / 2), key.subarray(key.length / 2))
}

function ecb(key: Uint8Array, direction: 'encrypt' | 'decrypt'): Cipher {
  const create = direction === 'encrypt' ? openssl().createCipheriv : openssl().createDecipheriv
  return create(nameOf('ecb', key.length), key, null).setAutoPadding(false)
}

function ecbCipher(key: Uint8Array): AesCipher {
  const encryptor = ecb(key, 'encrypt')
  const decryptor = ecb(key, 'decrypt')
  return {
    encrypt: (data) => data.set(encryptor.update(data)),
    decrypt: (data) => data.set(decryptor.update(data)),
  }
}

function cbcCipher(key: Uint8Array): AesCipher {
  const chain = openssl().createCipheriv(nameOf('cbc', key.length), key, new Uint8Array(BLOCK)).setAutoPadding(false)
  const decryptor = ecb(key, 'decrypt')
  /** The last block that came out of the chain: what the next one is mixed with. */
  let last: Uint8Array = new Uint8Array(BLOCK)
  return {
    encrypt(data, ivs, sectorBytes) {
      for (let at = 0, iv = 0; at < data.length; at += sectorBytes, iv += BLOCK) {
        const sector = data.subarray(at, at + sectorBytes)
        for (let index = 0; index < BLOCK; index += 1) {
          sector[index] = (sector[index] ?? 0) ^ (ivs[iv + index] ?? 0) ^ (last[index] ?? 0)
        }
        const out = chain.update(sector)
        last = out.subarray(out.length - BLOCK)
        sector.set(out)
      }
    },
    decrypt(data, ivs, sectorBytes) {
      eachPart(data, sectorBytes, (part, firstSector) => {
        const plain = decryptor.update(part)
        const words = wordsOf(plain)
        const first = wordsOf(
          ivs.subarray(firstSector * BLOCK, firstSector * BLOCK + (part.length / sectorBytes) * BLOCK),
        )
        unchain(words, wordsOf(part), first, sectorBytes / 4)
        part.set(bytesOf(words))
      })
    },
  }
}

function xtsCipher(dataKey: Uint8Array, tweakKey: Uint8Array): AesCipher {
  const encryptor = ecb(dataKey, 'encrypt')
  const decryptor = ecb(dataKey, 'decrypt')
  const tweaker = ecb(tweakKey, 'encrypt')
  const scratch = new Int32Array(MOST_AT_ONCE / 4)
  const run = (cipher: Cipher, data: Uint8Array, ivs: Uint8Array, sectorBytes: number): void => {
    eachPart(data, sectorBytes, (part, firstSector) => {
      const sectors = part.length / sectorBytes
      const first = tweaker.update(ivs.subarray(firstSector * BLOCK, (firstSector + sectors) * BLOCK))
      const tweaks = part.length / 4 <= scratch.length ? scratch : new Int32Array(part.length / 4)
      fillTweaks(tweaks, wordsOf(first), sectorBytes / BLOCK)
      const words = wordsOf(part)
      mix(words, tweaks)
      const out = wordsOf(cipher.update(bytesOf(words)))
      mix(out, tweaks)
      part.set(bytesOf(out))
    })
  }
  return {
    encrypt: (data, ivs, sectorBytes) => run(encryptor, data, ivs, sectorBytes),
    decrypt: (data, ivs, sectorBytes) => run(decryptor, data, ivs, sectorBytes),
  }
}

/** Takes the block before each block off it, or its sector's vector. */
function unchain(words: Int32Array, sealed: Int32Array, ivs: Int32Array, sectorWords: number): void {
  for (let at = 0, iv = 0; at < words.length; at += sectorWords, iv += 4) {
    for (let index = 0; index < 4; index += 1) {
      words[at + index] = (words[at + index] as number) ^ (ivs[iv + index] as number)
    }
    for (let index = 4; index < sectorWords; index += 1) {
      words[at + index] = (words[at + index] as number) ^ (sealed[at + index - 4] as number)
    }
  }
}

function mix(words: Int32Array, mask: Int32Array): void {
  for (let index = 0; index < words.length; index += 1)
    words[index] = (words[index] as number) ^ (mask[index] as number)
}

/** A view of `data` where its place in memory allows one, else a copy. */
function wordsOf(data: Uint8Array): Int32Array {
  if (data.byteOffset % 4 === 0) return new Int32Array(data.buffer, data.byteOffset, data.length / 4)
  return new Int32Array(Uint8Array.from(data).buffer)
}

function bytesOf(words: Int32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength)
}

/** Calls `act` for parts of whole sectors. */
function eachPart(data: Uint8Array, sectorBytes: number, act: (part: Uint8Array, firstSector: number) => void): void {
  assert(sectorBytes > 0 && sectorBytes % BLOCK === 0 && data.length % sectorBytes === 0, 'sectors of whole blocks')
  const sectors = Math.max(1, Math.floor(MOST_AT_ONCE / sectorBytes))
  for (let first = 0; first * sectorBytes < data.length; first += sectors) {
    act(data.subarray(first * sectorBytes, (first + sectors) * sectorBytes), first)
  }
}

/** The tweak of each block: that of a sector's first is given, each next one is the last times alpha in GF(2^128). */
function fillTweaks(tweaks: Int32Array, first: Int32Array, blocks: number): void {
  if (IS_BIG_ENDIAN) swapWords(first)
  let at = 0
  for (let sector = 0; sector < first.length; sector += 4) {
    let w0 = first[sector] ?? 0
    let w1 = first[sector + 1] ?? 0
    let w2 = first[sector + 2] ?? 0
    let w3 = first[sector + 3] ?? 0
    for (let block = 0; block < blocks; block += 1) {
      tweaks[at] = w0
      tweaks[at + 1] = w1
      tweaks[at + 2] = w2
      tweaks[at + 3] = w3
      at += 4
      const carry = (w3 >> 31) & 0x87
      w3 = (w3 << 1) | (w2 >>> 31)
      w2 = (w2 << 1) | (w1 >>> 31)
      w1 = (w1 << 1) | (w0 >>> 31)
      w0 = (w0 << 1) ^ carry
    }
  }
  if (IS_BIG_ENDIAN) swapWords(tweaks)
}

function swapWords(words: Int32Array): void {
  Buffer.from(words.buffer, words.byteOffset, words.byteLength).swap32()
}
