// Opening a volume: its header read and judged, its master key found, its payload's cipher made.

import { BlockError } from '../../common/error.js'
import type { HostCrypto } from '../../common/host-services.js'
import { checkLuksHeader } from './check-header.js'
import { readCipherSpec, readHashName } from './cipher-spec.js'
import { decodeLuksHeader, LUKS_HEADER_BYTES } from './header.js'
import { type KeySlots, unlock } from './key-slots.js'
import { SectorCipher } from './sector-cipher.js'
import type { LuksArea } from './volume.js'

/** Reads and judges the header. EINVAL where there is none, EIO for damage, ENOTSUP for what is not known or too much work. */
export async function readLuksHeader(crypto: HostCrypto, area: LuksArea): Promise<KeySlots> {
  if (area.bytes < LUKS_HEADER_BYTES) throw new BlockError('EIO', 'the LUKS header is cut off', { op: 'open' })
  const bytes = new Uint8Array(LUKS_HEADER_BYTES)
  await area.read(0, bytes)
  const header = decodeLuksHeader(bytes)
  const hash = readHashName(crypto, header.hashSpec)
  const spec = readCipherSpec(crypto, header)
  checkLuksHeader(header, hash, area.bytes)
  return { crypto, area, header, spec, hash }
}

/** The cipher of the payload, by `password`, which is overwritten. As {@link unlock}. */
export async function openPayload(slots: KeySlots, password: Uint8Array, signal?: AbortSignal): Promise<SectorCipher> {
  const { masterKey } = await unlock(slots, password, signal)
  const cipher = new SectorCipher(slots.crypto, slots.spec, masterKey)
  masterKey.fill(0)
  password.fill(0)
  return cipher
}
