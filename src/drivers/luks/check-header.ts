// What a header may claim. Everything it says comes from the image: before a key is derived, each active slot must lie
// between the header and the payload, apart from the others, and the work of trying all of them must be bounded.

import { assert } from '../../common/assert.js'
import { BlockError } from '../../common/error.js'
import type { HashName } from '../../common/host-services.js'
import { DIGEST_BYTES } from './cipher-spec.js'
import { LUKS_DIGEST_BYTES, LUKS_HEADER_BYTES, LUKS_SECTOR_BYTES, type LuksHeader, type LuksKeySlot } from './header.js'

/** Stripes of a key slot: writers use 4000. */
export const MOST_STRIPES = 16_000

/** Rounds of a hash that one opening may cost: some four minutes, where writers aim at two seconds a slot on their host. */
export const MOST_ROUNDS = 2 ** 29

/** Bytes of a slot's key material on disk. */
export function keyMaterialBytes(keyBytes: number, stripes: number): number {
  return Math.ceil((keyBytes * stripes) / LUKS_SECTOR_BYTES) * LUKS_SECTOR_BYTES
}

/** Judges a header whose cipher and hash are known; `areaBytes` are there before the payload. EIO for what cannot be. */
export function checkLuksHeader(header: LuksHeader, hash: HashName, areaBytes: number): void {
  if (header.mkDigestIterations === 0) throw damaged('the digest of the master key has no iterations')
  for (const [index, slot] of header.keySlots.entries()) {
    if (!slot.active) continue
    if (slot.iterations === 0) throw damaged(`key slot ${index} has no iterations`)
    checkKeySlot(header, index, areaBytes)
  }
  if (roundsOf(header, hash) > MOST_ROUNDS) {
    throw new BlockError('ENOTSUP', 'the LUKS header asks for more iterations than this library is ready to do', {
      op: 'open',
    })
  }
}

/** Judges where slot `index` lies, active or about to be: behind the header, before the payload, apart from active ones. EIO. */
export function checkKeySlot(header: LuksHeader, index: number, areaBytes: number): void {
  const slot = header.keySlots[index]
  assert(slot !== undefined, `a key slot ${index}`)
  if (slot.stripes === 0 || slot.stripes > MOST_STRIPES) throw damaged(`key slot ${index} has ${slot.stripes} stripes`)
  const range = rangeOf(header, slot)
  const end = header.payloadOffset === 0 ? areaBytes : Math.min(header.payloadOffset, areaBytes)
  if (range.from < LUKS_HEADER_BYTES) throw damaged(`key slot ${index} overlaps the header`)
  if (range.to > end) throw damaged(`key slot ${index} reaches into the payload, or over the end`)
  const overlap = header.keySlots.findIndex((other, at) => {
    if (at === index || !other.active) return false
    const { from, to } = rangeOf(header, other)
    return range.from < to && from < range.to
  })
  if (overlap >= 0) throw damaged(`key slots ${overlap} and ${index} overlap`)
}

function rangeOf(header: LuksHeader, slot: LuksKeySlot): { from: number; to: number } {
  const from = slot.keyMaterialOffset
  return { from, to: from + keyMaterialBytes(header.keyBytes, slot.stripes) }
}

/** Rounds that trying every active slot costs. */
function roundsOf(header: LuksHeader, hash: HashName): number {
  const rounds = (iterations: number, bytes: number): number => iterations * Math.ceil(bytes / DIGEST_BYTES[hash])
  let sum = 0
  for (const slot of header.keySlots) {
    if (!slot.active) continue
    sum += rounds(slot.iterations, header.keyBytes) + rounds(header.mkDigestIterations, LUKS_DIGEST_BYTES)
  }
  return sum
}

function damaged(what: string): BlockError {
  return new BlockError('EIO', `the LUKS header is damaged: ${what}`, { op: 'open' })
}
