// A new volume: a header with a random master key and one password, laid out as writers of the format do (key material
// in pages of 4096 bytes behind the header, 4000 stripes, the payload behind the last slot).

import type { Clock } from '../../common/clock.js'
import type { HashName, HostCrypto } from '../../common/host-services.js'
import { alignUp } from '../../common/units.js'
import { type CipherSpec, cipherModeText } from './cipher-spec.js'
import {
  encodeLuksHeader,
  LUKS_DIGEST_BYTES,
  LUKS_NUM_KEYS,
  LUKS_SALT_BYTES,
  LUKS_STRIPES,
  type LuksHeader,
} from './header.js'
import { measureIterations } from './iterations.js'
import { fillKeySlot, type KeySlots, masterKeyDigest } from './key-slots.js'
import { SectorCipher } from './sector-cipher.js'
import type { LuksArea } from './volume.js'

const LUKS_ALIGN_KEYSLOTS = 4096

/** What a new volume is to be. */
export interface LuksCreation {
  readonly crypto: HostCrypto
  readonly clock: Clock
  readonly spec: CipherSpec
  readonly hash: HashName
  /** Milliseconds that a guess at the password is to take on this host. */
  readonly iterTimeMs: number
}

/** Bytes before the payload of a new volume with a master key of `keyBytes`. */
export function newPayloadOffset(keyBytes: number): number {
  return LUKS_ALIGN_KEYSLOTS + LUKS_NUM_KEYS * slotBytes(keyBytes)
}

function slotBytes(keyBytes: number): number {
  return alignUp(keyBytes * LUKS_STRIPES, LUKS_ALIGN_KEYSLOTS)
}

/**
 * Writes a new header and its first key slot into `area`, which reads as zeroes and has room for {@link newPayloadOffset} bytes.
 * Gives the slots and the payload's cipher. `password` is overwritten.
 */
export async function createVolume(
  creation: LuksCreation,
  area: LuksArea,
  password: Uint8Array,
): Promise<{ slots: KeySlots; cipher: SectorCipher }> {
  const { crypto, clock, spec, hash, iterTimeMs } = creation
  const masterKey = crypto.randomBytes(spec.keyBytes)
  const digestIterations = await measureIterations(crypto, clock, hash, LUKS_DIGEST_BYTES, iterTimeMs / 8)
  const iterations = await measureIterations(crypto, clock, hash, spec.keyBytes, iterTimeMs)
  const slots: KeySlots = { crypto, area, header: newHeader(creation, digestIterations), spec, hash }
  slots.header.mkDigest = await masterKeyDigest(slots, masterKey)
  await area.write(0, encodeLuksHeader(slots.header))
  await fillKeySlot(slots, 0, masterKey, password, iterations)
  const cipher = new SectorCipher(crypto, spec, masterKey)
  masterKey.fill(0)
  password.fill(0)
  return { slots, cipher }
}

function newHeader({ crypto, spec, hash }: LuksCreation, digestIterations: number): LuksHeader {
  const { keyBytes } = spec
  return {
    cipherName: 'aes',
    cipherMode: cipherModeText(spec),
    hashSpec: hash,
    payloadOffset: newPayloadOffset(keyBytes),
    keyBytes,
    mkDigest: new Uint8Array(LUKS_DIGEST_BYTES),
    mkDigestSalt: crypto.randomBytes(LUKS_SALT_BYTES),
    mkDigestIterations: digestIterations,
    uuid: randomUuid(crypto),
    keySlots: Array.from({ length: LUKS_NUM_KEYS }, (_, index) => ({
      active: false,
      iterations: 0,
      salt: new Uint8Array(LUKS_SALT_BYTES),
      keyMaterialOffset: LUKS_ALIGN_KEYSLOTS + index * slotBytes(keyBytes),
      stripes: LUKS_STRIPES,
    })),
  }
}

/** Version 4, variant 1 (RFC 4122, 4.4). */
function randomUuid(crypto: HostCrypto): string {
  const bytes = crypto.randomBytes(16)
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}
