// What only an image of this format can be asked, by the names and in the order that the field's tools have.

import { listStoredBitmaps } from '../bitmaps/bitmaps.js'
import { encryptionInfo } from '../encryption/encryption.js'
import {
  AUTOCLEAR_DATA_FILE_RAW,
  COMPATIBLE_LAZY_REFCOUNTS,
  COMPRESSION_ZSTD,
  INCOMPATIBLE_CORRUPT,
  INCOMPATIBLE_DATA_FILE,
} from '../format/header.js'
import type { Qcow2State } from '../state.js'

/** The facts under `data`, beside the `type` of the format. */
export function specificInfo(state: Qcow2State): Record<string, unknown> {
  return { type: 'qcow2', data: state.header.version < 3 ? oldFacts(state) : facts(state) }
}

function oldFacts(state: Qcow2State): Record<string, unknown> {
  const encrypt = orderedEncryption(state)
  return {
    compat: '0.10',
    'compression-type': 'zlib',
    'refcount-bits': state.layout.refcountBits,
    ...(encrypt === undefined ? {} : { encrypt }),
  }
}

function facts(state: Qcow2State): Record<string, unknown> {
  const { header, layout, extensions } = state
  const external = (header.incompatibleFeatures & INCOMPATIBLE_DATA_FILE) !== 0n
  const bitmaps = listStoredBitmaps(state)
  const encrypt = orderedEncryption(state)
  return {
    compat: '1.1',
    'compression-type': header.compressionType === COMPRESSION_ZSTD ? 'zstd' : 'zlib',
    'lazy-refcounts': (header.compatibleFeatures & COMPATIBLE_LAZY_REFCOUNTS) !== 0n,
    ...(bitmaps.length === 0
      ? {}
      : { bitmaps: bitmaps.map(({ flags, name, granularity }) => ({ flags, name, granularity })) }),
    'refcount-bits': layout.refcountBits,
    ...(external && extensions.dataFile !== undefined ? { 'data-file': extensions.dataFile } : {}),
    ...(external ? { 'data-file-raw': (header.autoclearFeatures & AUTOCLEAR_DATA_FILE_RAW) !== 0n } : {}),
    ...(encrypt === undefined ? {} : { encrypt }),
    corrupt: (header.incompatibleFeatures & INCOMPATIBLE_CORRUPT) !== 0n,
    'extended-l2': layout.extendedL2,
  }
}

/** Facts of the encryption, with those first that name it. */
function orderedEncryption(state: Qcow2State): Record<string, unknown> | undefined {
  const info: Record<string, unknown> | undefined = encryptionInfo(state)
  if (info === undefined) return undefined
  const { format, 'cipher-mode': mode, slots, 'payload-offset': payload, 'master-key-iters': iters, ...names } = info
  const ordered = { ...names, format, 'cipher-mode': mode, slots, 'payload-offset': payload, 'master-key-iters': iters }
  return Object.fromEntries(Object.entries(ordered).filter(([, value]) => value !== undefined))
}
