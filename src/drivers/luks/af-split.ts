// The anti-forensic splitter (LUKS1 specification, 2.4): a key is spread over many stripes, each of which is needed to have
// it back, so that wiping any one of them on the disk destroys the key.

import type { HashName, HostCrypto } from '../../common/host-services.js'
import { DIGEST_BYTES } from './cipher-spec.js'

/** Spreads `key` over `stripes` times its length. */
export function afSplit(crypto: HostCrypto, hash: HashName, key: Uint8Array, stripes: number): Uint8Array {
  const bytes = key.length
  const split = new Uint8Array(bytes * stripes)
  split.set(crypto.randomBytes(bytes * (stripes - 1)))
  const mixed = mixStripes(crypto, hash, split, bytes, stripes)
  const last = split.subarray(bytes * (stripes - 1))
  for (let index = 0; index < bytes; index += 1) last[index] = (mixed[index] ?? 0) ^ (key[index] ?? 0)
  return split
}

/** The key of `bytes` bytes that was spread over `split`. */
export function afMerge(crypto: HostCrypto, hash: HashName, split: Uint8Array, bytes: number): Uint8Array {
  const stripes = split.length / bytes
  const key = mixStripes(crypto, hash, split, bytes, stripes)
  const last = split.subarray(bytes * (stripes - 1))
  for (let index = 0; index < bytes; index += 1) key[index] = (key[index] ?? 0) ^ (last[index] ?? 0)
  return key
}

/** All stripes but the last: each is added to the sum, and the sum diffused. */
function mixStripes(crypto: HostCrypto, hash: HashName, split: Uint8Array, bytes: number, stripes: number): Uint8Array {
  const sum = new Uint8Array(bytes)
  for (let stripe = 0; stripe < stripes - 1; stripe += 1) {
    const start = stripe * bytes
    for (let index = 0; index < bytes; index += 1) sum[index] = (sum[index] ?? 0) ^ (split[start + index] ?? 0)
    diffuse(crypto, hash, sum)
  }
  return sum
}

/** Replaces each part as long as a digest by the hash of its number and itself; the last part may be shorter. */
function diffuse(crypto: HostCrypto, hash: HashName, sum: Uint8Array): void {
  const digestBytes = DIGEST_BYTES[hash]
  for (let part = 0, start = 0; start < sum.length; part += 1, start += digestBytes) {
    const piece = sum.subarray(start, Math.min(start + digestBytes, sum.length))
    const message = new Uint8Array(4 + piece.length)
    message[3] = part
    message.set(piece, 4)
    piece.set(crypto.hash(hash, message).subarray(0, piece.length))
  }
}
