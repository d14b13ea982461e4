// Header extensions (qcow2 specification, "Header extensions"): tagged pieces between the header and the backing file name.
// Unknown ones are kept as they are.

import { BlockError } from '../../../common/error.js'
import { offsetFromHalves } from '../../../common/units.js'
import { type HostOffset, host } from './layout.js'

export const EXT_END = 0x00000000
export const EXT_BACKING_FORMAT = 0xe2792aca
export const EXT_FEATURE_TABLE = 0x6803f857
export const EXT_BITMAPS = 0x23852875
export const EXT_CRYPTO = 0x0537be77
export const EXT_DATA_FILE = 0x44415441
/** Our own: bytes that say nothing. It stands in a header only while that is changed. */
export const EXT_SKIP = 0x626c6b73

/** Where the stored bitmaps are described. */
export interface BitmapsExtension {
  count: number
  directorySize: number
  directoryOffset: HostOffset
}

/** Where the header of the encryption stands. */
export interface CryptoExtension {
  offset: HostOffset
  bytes: number
}

/** Everything the extensions of an image say. */
export interface HeaderExtensions {
  backingFormat: string | undefined
  dataFile: string | undefined
  crypto: CryptoExtension | undefined
  bitmaps: BitmapsExtension | undefined
  /** Entries of 48 bytes; kept to name unknown features. */
  featureTable: Uint8Array | undefined
  unknown: { type: number; data: Uint8Array }[]
}

/** The extensions of an image that has none. */
export function noExtensions(): HeaderExtensions {
  return {
    backingFormat: undefined,
    dataFile: undefined,
    crypto: undefined,
    bitmaps: undefined,
    featureTable: undefined,
    unknown: [],
  }
}

/** Names of features, as the field stores them: kind (0 incompatible, 1 compatible, 2 autoclear), bit, name. */
const FEATURE_NAMES: readonly (readonly [number, number, string])[] = [
  [0, 0, 'dirty bit'],
  [0, 1, 'corrupt bit'],
  [0, 2, 'external data file'],
  [0, 3, 'compression type'],
  [0, 4, 'extended L2 entries'],
  [1, 0, 'lazy refcounts'],
  [2, 0, 'bitmaps'],
  [2, 1, 'raw external data'],
]
const FEATURE_ENTRY_BYTES = 48

/**
 * Decodes the extensions in `bytes` from `start` to `end` (the backing file name, or the end of the first cluster). EINVAL for
 * one that reaches behind `end`, comes twice, or has a length it cannot have.
 */
export function decodeExtensions(bytes: Uint8Array, start: number, end: number): HeaderExtensions {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const found = noExtensions()
  const seen = new Set<number>()
  for (let at = start; at + 8 <= end; ) {
    const type = view.getUint32(at)
    const length = view.getUint32(at + 4)
    if (type === EXT_END) break
    if (length > end - at - 8) throw new BlockError('EINVAL', 'Header extension too large')
    const data = bytes.subarray(at + 8, at + 8 + length)
    if (isKnown(type)) {
      if (seen.has(type)) throw new BlockError('EINVAL', `header extension 0x${type.toString(16)} appears twice`)
      seen.add(type)
    }
    decodeOne(found, type, data)
    at += 8 + Math.ceil(length / 8) * 8
  }
  return found
}

function isKnown(type: number): boolean {
  return [EXT_BACKING_FORMAT, EXT_FEATURE_TABLE, EXT_BITMAPS, EXT_CRYPTO, EXT_DATA_FILE].includes(type)
}

function decodeOne(found: HeaderExtensions, type: number, data: Uint8Array): void {
  switch (type) {
    case EXT_BACKING_FORMAT:
      if (data.byteLength >= 16) {
        throw new BlockError('EINVAL', `ext_backing_format: len=${data.byteLength} too large (>=16)`)
      }
      found.backingFormat = decodeText(data)
      return
    case EXT_DATA_FILE:
      found.dataFile = decodeText(data)
      return
    case EXT_FEATURE_TABLE:
      found.featureTable = data.slice()
      return
    case EXT_CRYPTO:
      found.crypto = decodeCrypto(data)
      return
    case EXT_BITMAPS:
      found.bitmaps = decodeBitmaps(data)
      return
    case EXT_SKIP:
      return
    default:
      found.unknown.push({ type, data: data.slice() })
  }
}

function decodeCrypto(data: Uint8Array): CryptoExtension {
  if (data.byteLength !== 16) {
    throw new BlockError('EINVAL', `CRYPTO header extension size ${data.byteLength}, but expected size 16`)
  }
  const [offset, bytes] = [offsetAt(data, 0), offsetAt(data, 8)]
  if (offset === undefined || bytes === undefined)
    throw new BlockError('EINVAL', 'CRYPTO header extension is too large')
  return { offset: host(offset), bytes }
}

function decodeBitmaps(data: Uint8Array): BitmapsExtension {
  if (data.byteLength !== 24) {
    throw new BlockError('EINVAL', `bitmaps_ext: Invalid extension length`)
  }
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  if (view.getUint32(4) !== 0) throw new BlockError('EINVAL', 'bitmaps_ext: Reserved field is not zero')
  const [size, offset] = [offsetAt(data, 8), offsetAt(data, 16)]
  if (size === undefined || offset === undefined)
    throw new BlockError('EINVAL', 'bitmaps_ext: invalid bitmap directory offset')
  return { count: view.getUint32(0), directorySize: size, directoryOffset: host(offset) }
}

/** The extensions as bytes, the end marker included, in the field's order; `names` adds the table of feature names. */
export function encodeExtensions(extensions: HeaderExtensions, names: boolean): Uint8Array {
  const pieces: { type: number; data: Uint8Array }[] = []
  const { backingFormat, dataFile, crypto, bitmaps } = extensions
  if (backingFormat !== undefined) pieces.push({ type: EXT_BACKING_FORMAT, data: encodeText(backingFormat) })
  if (dataFile !== undefined) pieces.push({ type: EXT_DATA_FILE, data: encodeText(dataFile) })
  if (crypto !== undefined) pieces.push({ type: EXT_CRYPTO, data: encodeNumbers([crypto.offset, crypto.bytes]) })
  if (names) pieces.push({ type: EXT_FEATURE_TABLE, data: encodeFeatureTable() })
  if (bitmaps !== undefined) pieces.push({ type: EXT_BITMAPS, data: encodeBitmaps(bitmaps) })
  pieces.push(...extensions.unknown, { type: EXT_END, data: new Uint8Array(0) })
  const padded = (length: number) => Math.ceil(length / 8) * 8
  const out = new Uint8Array(pieces.reduce((sum, { data }) => sum + 8 + padded(data.byteLength), 0))
  const view = new DataView(out.buffer)
  let at = 0
  for (const { type, data } of pieces) {
    view.setUint32(at, type)
    view.setUint32(at + 4, data.byteLength)
    out.set(data, at + 8)
    at += 8 + padded(data.byteLength)
  }
  return out
}

/** The start of an extension that takes `bytes` bytes, a multiple of 8, and says nothing. */
export function encodeSkip(bytes: number): Uint8Array {
  const start = new Uint8Array(8)
  const view = new DataView(start.buffer)
  view.setUint32(0, EXT_SKIP)
  view.setUint32(4, bytes - 8)
  return start
}

function encodeBitmaps(bitmaps: BitmapsExtension): Uint8Array {
  const data = new Uint8Array(24)
  new DataView(data.buffer).setUint32(0, bitmaps.count)
  data.set(encodeNumbers([bitmaps.directorySize, bitmaps.directoryOffset]), 8)
  return data
}

function encodeFeatureTable(): Uint8Array {
  const table = new Uint8Array(FEATURE_NAMES.length * FEATURE_ENTRY_BYTES)
  for (const [index, [kind, bit, name]] of FEATURE_NAMES.entries()) {
    table.set([kind, bit], index * FEATURE_ENTRY_BYTES)
    table.set(encodeText(name), index * FEATURE_ENTRY_BYTES + 2)
  }
  return table
}

/** The name an image's own table gives an incompatible feature. */
export function featureName(table: Uint8Array | undefined, bit: number): string | undefined {
  for (let at = 0; table !== undefined && at + FEATURE_ENTRY_BYTES <= table.byteLength; at += FEATURE_ENTRY_BYTES) {
    if (table[at] !== 0 || table[at + 1] !== bit) continue
    const name = table.subarray(at + 2, at + FEATURE_ENTRY_BYTES)
    const end = name.indexOf(0)
    return decodeText(end < 0 ? name : name.subarray(0, end))
  }
  return undefined
}

/** Text as images store it: UTF-8, without an end marker. Bytes that are no UTF-8 become U+FFFD. */
export function decodeText(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes)
}

/** The bytes of a text. */
export function encodeText(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}

function encodeNumbers(numbers: readonly number[]): Uint8Array {
  const data = new Uint8Array(numbers.length * 8)
  const view = new DataView(data.buffer)
  for (const [index, number] of numbers.entries()) view.setBigUint64(index * 8, BigInt(number))
  return data
}

function offsetAt(data: Uint8Array, at: number): number | undefined {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  return offsetFromHalves(view.getUint32(at), view.getUint32(at + 4))
}
