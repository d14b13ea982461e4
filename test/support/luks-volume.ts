// Small LUKS volumes in memory: the header area as an array, iterations at the least.

import type { Clock } from '../../src/common/clock.js'
import type { CipherSpec } from '../../src/drivers/luks/cipher-spec.js'
import { createVolume, newPayloadOffset } from '../../src/drivers/luks/create.js'
import type { KeySlots } from '../../src/drivers/luks/key-slots.js'
import type { SectorCipher } from '../../src/drivers/luks/sector-cipher.js'
import type { LuksArea } from '../../src/drivers/luks/volume.js'
import { nodeCrypto } from '../../src/platform/crypto.js'
import { VirtualClock } from './virtual-clock.js'

/** An area in memory, and what was written to it in which order. */
export interface MemoryArea extends LuksArea {
  readonly content: Uint8Array
  readonly writes: { offset: number; bytes: number }[]
  flushes: number
}

export const XTS_256: CipherSpec = { mode: 'xts', ivGenerator: 'plain64', ivHash: undefined, keyBytes: 64 }

/** A password as bytes of its own, since users of passwords overwrite them. */
export const password = (text: string): Uint8Array => new TextEncoder().encode(text)

export function memoryArea(content: Uint8Array): MemoryArea {
  const area: MemoryArea = {
    bytes: content.length,
    content,
    writes: [],
    flushes: 0,
    read: (offset, into) => into.set(content.subarray(offset, offset + into.length)),
    write(offset, data) {
      area.writes.push({ offset, bytes: data.length })
      content.set(data, offset)
    },
    flush() {
      area.flushes += 1
    },
  }
  return area
}

/** A new volume that `said` opens. */
export async function newVolume(
  said: string,
  spec: CipherSpec = XTS_256,
): Promise<{ area: MemoryArea; slots: KeySlots; cipher: SectorCipher; clock: Clock }> {
  const area = memoryArea(new Uint8Array(newPayloadOffset(spec.keyBytes)))
  const clock = new VirtualClock()
  const creation = { crypto: nodeCrypto, clock, spec, hash: 'sha256' as const, iterTimeMs: 0 }
  const { slots, cipher } = await createVolume(creation, area, password(said))
  return { area, slots, cipher, clock }
}
