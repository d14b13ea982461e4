// Key slots: eight ways to the master key, each by a password of its own. A slot holds the key split into stripes and encrypted
// with what PBKDF2 makes of the password (LUKS1 specification, 4.1 to 4.4).

import { BlockError } from '../../common/error.js'
import type { HashName, HostCrypto } from '../../common/host-services.js'
import { afMerge, afSplit } from './af-split.js'
import { checkKeySlot, keyMaterialBytes } from './check-header.js'
import type { CipherSpec } from './cipher-spec.js'
import { encodeLuksHeader, LUKS_DIGEST_BYTES, LUKS_SALT_BYTES, type LuksHeader, type LuksKeySlot } from './header.js'
import { SectorCipher } from './sector-cipher.js'
import type { LuksArea } from './volume.js'

/** What the functions below work on. */
export interface KeySlots {
  readonly crypto: HostCrypto
  readonly area: LuksArea
  /** Checked already. */
  readonly header: LuksHeader
  readonly spec: CipherSpec
  readonly hash: HashName
}

/** A way to the master key that was found. */
export interface Unlocked {
  slot: number
  masterKey: Uint8Array
}

/** Tries `password` on the active slots in turn. EACCES where it opens none; `signal` ends it between two slots. */
export async function unlock(slots: KeySlots, password: Uint8Array, signal?: AbortSignal): Promise<Unlocked> {
  for (const index of slots.header.keySlots.keys()) {
    if (signal?.aborted === true) throw new BlockError('ECANCELED', 'the opening was aborted', { op: 'open' })
    const masterKey = await tryKeySlot(slots, index, password)
    if (masterKey !== undefined) return { slot: index, masterKey }
  }
  throw new BlockError('EACCES', 'Invalid password, cannot unlock any keyslot', { op: 'open' })
}

/** The master key behind slot `index`, if the slot is active and `password` opens it. */
export async function tryKeySlot(
  slots: KeySlots,
  index: number,
  password: Uint8Array,
): Promise<Uint8Array | undefined> {
  const { crypto, area, header, hash } = slots
  const slot = header.keySlots[index]
  if (slot?.active !== true) return undefined
  const material = new Uint8Array(keyMaterialBytes(header.keyBytes))
  await area.read(slot.keyMaterialOffset, material)
  const cipher = await slotCipher(slots, slot, password)
  cipher.decrypt(0, material)
  const split = material.subarray(0, header.keyBytes * slot.stripes)
  const candidate = afMerge(crypto, hash, split, header.keyBytes)
  const digest = await masterKeyDigest(slots, candidate)
  if (crypto.timingSafeEqual(digest, header.mkDigest)) return candidate
  candidate.fill(0)
  return undefined
}

/** Writes the master key into slot `index` under `password`: the material first, then the header that says so. */
export async function fillKeySlot(
  slots: KeySlots,
  index: number,
  masterKey: Uint8Array,
  password: Uint8Array,
  iterations: number,
): Promise<void> {
  const { crypto, area, header, hash } = slots
  const slot = slotAt(slots, index)
  const filled = { ...slot, active: true, iterations, salt: crypto.randomBytes(LUKS_SALT_BYTES) }
  const material = new Uint8Array(keyMaterialBytes(header.keyBytes))
  material.set(afSplit(crypto, hash, masterKey, slot.stripes))
  const cipher = await slotCipher(slots, filled, password)
  cipher.encrypt(0, material)
  await area.write(slot.keyMaterialOffset, material)
  await area.flush()
  await writeSlot(slots, index, filled)
}

/** Takes slot `index` out of use, then overwrites what it held. */
export async function eraseKeySlot(slots: KeySlots, index: number): Promise<void> {
  const { crypto, area, header } = slots
  const slot = slotAt(slots, index)
  await writeSlot(slots, index, { ...slot, active: false, iterations: 0, salt: new Uint8Array(LUKS_SALT_BYTES) })
  const bytes = keyMaterialBytes(header.keyBytes)
  await area.write(slot.keyMaterialOffset, crypto.randomBytes(bytes))
  await area.flush()
}

/** The digest by which a master key is known. */
export function masterKeyDigest(slots: KeySlots, masterKey: Uint8Array): Promise<Uint8Array> {
  const { mkDigestSalt, mkDigestIterations } = slots.header
  return slots.crypto.pbkdf2(slots.hash, masterKey, mkDigestSalt, mkDigestIterations, LUKS_DIGEST_BYTES)
}

async function slotCipher(slots: KeySlots, slot: LuksKeySlot, password: Uint8Array): Promise<SectorCipher> {
  const { crypto, header, spec, hash } = slots
  const key = await crypto.pbkdf2(hash, password, slot.salt, slot.iterations, header.keyBytes)
  const cipher = new SectorCipher(crypto, spec, key)
  key.fill(0)
  return cipher
}

async function writeSlot({ area, header }: KeySlots, index: number, slot: LuksKeySlot): Promise<void> {
  const keySlots = header.keySlots.map((other, at) => (at === index ? slot : other))
  await area.write(0, encodeLuksHeader({ ...header, keySlots }))
  await area.flush()
  header.keySlots = keySlots
}

/** The slot about to be written, which has to lie where it may. */
function slotAt({ header, area }: KeySlots, index: number): LuksKeySlot {
  checkKeySlot(header, index, area.bytes)
  return header.keySlots[index] as LuksKeySlot
}
