// What is told of a volume: everything in its header but salts and digests, by the names management interfaces have for it.

import { cipherAlgText } from './cipher-spec.js'
import type { KeySlots } from './key-slots.js'

/** What is known of a key slot; an inactive one has a place and nothing else. */
export interface LuksSlotInfo {
  active: boolean
  iters?: number
  'key-offset': number
  stripes?: number
}

/** What is known of a volume. */
export interface LuksInfo {
  'ivgen-alg': string
  'hash-alg': string
  'cipher-alg': string
  uuid: string
  'ivgen-hash-alg'?: string
  'cipher-mode': string
  slots: LuksSlotInfo[]
  'payload-offset': number
  'master-key-iters': number
}

/** Tells of a volume whose header was read. */
export function luksInfo({ header, spec, hash }: KeySlots): LuksInfo {
  return {
    'ivgen-alg': spec.ivGenerator ?? 'plain64',
    'hash-alg': hash,
    'cipher-alg': cipherAlgText(spec),
    uuid: header.uuid,
    ...(spec.ivHash === undefined ? {} : { 'ivgen-hash-alg': spec.ivHash }),
    'cipher-mode': spec.mode,
    slots: header.keySlots.map(({ active, iterations, keyMaterialOffset, stripes }) =>
      active
        ? { active, iters: iterations, 'key-offset': keyMaterialOffset, stripes }
        : { active, 'key-offset': keyMaterialOffset },
    ),
    'payload-offset': header.payloadOffset,
    'master-key-iters': header.mkDigestIterations,
  }
}
