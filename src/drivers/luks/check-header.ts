// What a header may claim. Everything it says comes from the image: before a key is derived, each active slot must lie
// between the header and the payload, apart from the others, and the work of trying all of them must be bounded.

import { assert } from '../../common/assert.js'
import { BlockError } from '../../common/error.js'
import type { HashName } from '../../common/host-services.js'
import { DIGEST_BYTES } from './cipher-spec.js'
import {
  LUKS_DIGEST_BYTES,
  LUKS_HEADER_BYTES,
  LUKS_SECTOR_BYTES,
  LUKS_STRIPES,
  type LuksHeader,
  type LuksKeySlot,
} from './header.js'

/** Rounds of a hash that one opening may cost: some four minutes, where writers aim at two seconds a slot on their host. */
export const MOST_ROUNDS = 2 ** 29

/** Bytes of a slot's key material on disk. */
export function keyMaterialBytes(keyBytes: number): number {
  return Math.ceil((keyBytes * LUKS_STRIPES) / LUKS_SECTOR_BYTES) * LUKS_SECTOR_BYTES
}

/** Judges a header whose cipher and hash are known; `areaBytes` are there before the payload. EIO for what cannot be. */
export function checkLuksHeader(header: LuksHeader, hash: HashName, areaBytes: number): void {
  if (header.payloadOffset !== 0 && header.payloadOffset < LUKS_HEADER_BYTES) {
    throw damaged('LUKS payload is overlapping with the header')
  }
  if (header.mkDigestIterations === 0) throw damaged('LUKS key digest iteration count is zero')
  for (const [index, slot] of header.keySlots.entries()) {
    if (!slot.active) continue
    if (slot.iterations === 0) throw damaged(`Keyslot ${index} iteration count is zero`)
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
  if (slot.stripes !== LUKS_STRIPES) {
    throw damaged(`Keyslot ${index} is corrupted (stripes ${slot.stripes} != ${LUKS_STRIPES})`)
  }
  const range = rangeOf(header, slot)
  const end = header.payloadOffset === 0 ? areaBytes : Math.min(header.payloadOffset, areaBytes)
  if (range.from < LUKS_HEADER_BYTES) throw damaged(`Keyslot ${index} is overlapping with the LUKS header`)
  if (range.to > end) throw damaged(`Keyslot ${index} is overlapping with the payload, or ends behind the volume`)
  const overlap = header.keySlots.findIndex((other, at) => {
    if (at === index || !other.active) return false
    const { from, to } = rangeOf(header, other)
    return range.from < to && from < range.to
  })
  if (overlap >= 0) throw damaged(`Keyslots ${index} and ${overlap} are overlapping in the header`)
}

function rangeOf(header: LuksHeader, slot: LuksKeySlot): { from: number; to: number } {
  const from = slot.keyMaterialOffset
  return { from, to: from + keyMaterialBytes(header.keyBytes) }
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
  return new BlockError('EIO', what, { op: 'open' })
}
