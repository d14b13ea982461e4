// The bitmap directory and bitmap tables (qcow2 specification, "Bitmaps"). Codecs and limits only; whatever an image says beyond
// them is refused when it is opened.

import { BlockError, quoteOutside } from '../../../common/error.js'
import { BDRV_BITMAP_MAX_NAME_SIZE } from '../../../common/limits.js'
import { MiB, type Offset } from '../../../common/units.js'
import { type BitmapsExtension, decodeText, encodeText } from './extensions.js'
import { ENTRY_BYTES, type HostOffset, host, isClusterAligned, type Layout } from './layout.js'
import { Table64 } from './table.js'

export const MAX_BITMAPS = 65535
const FIXED_BYTES = 24
/** All the directory can be: a fixed part and 1000 bytes more for each. */
export const MAX_BITMAP_DIRECTORY_BYTES = MAX_BITMAPS * (FIXED_BYTES + 1000)
/** Entries of one bitmap table. */
export const MAX_BITMAP_TABLE = 0x800_0000
/** Bytes of one bitmap, as it is stored. */
export const MAX_BITMAP_BYTES = 512 * MiB
const MIN_GRANULARITY_BITS = 9
const MAX_GRANULARITY_BITS = 31

const FLAG_IN_USE = 1
const FLAG_AUTO = 2
const KNOWN_FLAGS = FLAG_IN_USE | FLAG_AUTO
const TYPE_DIRTY_TRACKING = 1

/** A bitmap as the directory has it. */
export interface BitmapEntry {
  name: string
  tableOffset: HostOffset
  /** Entries of its table. */
  tableSize: number
  /** What is stored may be older than the disk: never to be trusted. */
  inUse: boolean
  /** It records writes. */
  auto: boolean
  granularityBits: number
}

/** Refuses an extension that says what it cannot: EINVAL or EFBIG. */
export function checkBitmapsExtension(extension: BitmapsExtension, layout: Layout): void {
  const { count, directorySize, directoryOffset } = extension
  if (count > MAX_BITMAPS) {
    throw invalid(`bitmaps_ext: Image has ${count} bitmaps, exceeding the QEMU supported maximum of ${MAX_BITMAPS}`)
  }
  if (count === 0) throw invalid('found bitmaps extension with zero bitmaps')
  if (!isClusterAligned(layout, directoryOffset) || directoryOffset === 0) {
    throw invalid('bitmaps_ext: invalid bitmap directory offset')
  }
  if (directorySize > MAX_BITMAP_DIRECTORY_BYTES) {
    const most = MAX_BITMAP_DIRECTORY_BYTES
    throw invalid(`bitmaps_ext: bitmap directory size (${directorySize}) exceeds the maximum supported size (${most})`)
  }
  if (directorySize === 0) throw invalid('Requested bitmap directory size is zero')
}

/**
 * Decodes a directory of `count` entries, which fills `bytes`, for a disk of `length` bytes. EINVAL for entries that are more or
 * fewer, reach beyond the directory (threats I23), share a name or exceed a limit.
 */
export function decodeBitmapDirectory(bytes: Uint8Array, count: number, length: Offset, layout: Layout): BitmapEntry[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const entries: BitmapEntry[] = []
  const names = new Set<string>()
  for (let at = 0; at < bytes.byteLength; ) {
    if (entries.length === count) throw invalid('More bitmaps found than specified in header extension')
    if (at + FIXED_BYTES > bytes.byteLength) throw invalid('Broken bitmap directory')
    const nameBytes = view.getUint16(at + 18)
    const extraBytes = view.getUint32(at + 20)
    const end = at + Math.ceil((FIXED_BYTES + extraBytes + nameBytes) / 8) * 8
    if (end > bytes.byteLength) throw invalid('Broken bitmap directory')
    if (extraBytes !== 0) throw invalid('Bitmap extra data is not supported')
    const name = decodeText(bytes.subarray(at + FIXED_BYTES, at + FIXED_BYTES + nameBytes))
    const entry = decodeEntry(view, at, name)
    if (
      entry === undefined ||
      nameBytes === 0 ||
      nameBytes > BDRV_BITMAP_MAX_NAME_SIZE ||
      !isSane(entry, length, layout)
    ) {
      throw invalid(`Bitmap ${quoteOutside(name)} doesn't satisfy the constraints`)
    }
    if (names.has(name)) throw invalid(`Bitmap already exists: ${name}`)
    names.add(name)
    entries.push(entry)
    at = end
  }
  if (entries.length < count) throw invalid('Less bitmaps found than specified in header extension')
  return entries
}

/** Undefined for what is no dirty tracking bitmap known here. */
function decodeEntry(view: DataView, at: number, name: string): BitmapEntry | undefined {
  const high = view.getUint32(at)
  const flags = view.getUint32(at + 12)
  const type = view.getUint8(at + 16)
  if (high > 0x1f_ffff || (flags & ~KNOWN_FLAGS) !== 0 || type !== TYPE_DIRTY_TRACKING) return undefined
  return {
    name,
    tableOffset: host(high * 0x1_0000_0000 + view.getUint32(at + 4)),
    tableSize: view.getUint32(at + 8),
    inUse: (flags & FLAG_IN_USE) !== 0,
    auto: (flags & FLAG_AUTO) !== 0,
    granularityBits: view.getUint8(at + 17),
  }
}

function isSane(entry: BitmapEntry, length: Offset, layout: Layout): boolean {
  const { tableOffset, tableSize, granularityBits, inUse } = entry
  if (granularityBits < MIN_GRANULARITY_BITS || granularityBits > MAX_GRANULARITY_BITS) return false
  if (tableOffset === 0 || !isClusterAligned(layout, tableOffset)) return false
  if (tableSize === 0 || tableSize > MAX_BITMAP_TABLE) return false
  if (tableSize * layout.clusterSize > MAX_BITMAP_BYTES) return false
  // One in use may have been made for another length.
  return inUse || tableSize >= bitmapTableSize(length, granularityBits, layout)
}

/** Bytes of a directory of bitmaps with these names. */
export function bitmapDirectoryBytes(names: readonly string[]): number {
  return names.reduce((sum, name) => sum + Math.ceil((FIXED_BYTES + encodeText(name).byteLength) / 8) * 8, 0)
}

/** The directory as bytes. */
export function encodeBitmapDirectory(entries: readonly BitmapEntry[]): Uint8Array {
  const names = entries.map((entry) => encodeText(entry.name))
  const bytes = new Uint8Array(bitmapDirectoryBytes(entries.map(({ name }) => name)))
  const view = new DataView(bytes.buffer)
  let at = 0
  for (const [index, entry] of entries.entries()) {
    const name = names[index] ?? new Uint8Array(0)
    view.setBigUint64(at, BigInt(entry.tableOffset))
    view.setUint32(at + 8, entry.tableSize)
    view.setUint32(at + 12, (entry.inUse ? FLAG_IN_USE : 0) | (entry.auto ? FLAG_AUTO : 0))
    view.setUint8(at + 16, TYPE_DIRTY_TRACKING)
    view.setUint8(at + 17, entry.granularityBits)
    view.setUint16(at + 18, name.byteLength)
    bytes.set(name, at + FIXED_BYTES)
    at += Math.ceil((FIXED_BYTES + name.byteLength) / 8) * 8
  }
  return bytes
}

/** Bytes of a stored bitmap over a disk of `length` bytes: whole 64-bit words. */
function bitmapBytes(length: Offset, granularityBits: number): number {
  return Math.ceil(length / 2 ** granularityBits / 64) * 8
}

/** Entries of the table of a bitmap over a disk of `length` bytes. */
export function bitmapTableSize(length: Offset, granularityBits: number, layout: Layout): number {
  return Math.ceil(bitmapBytes(length, granularityBits) / layout.clusterSize)
}

/** Why a new bitmap cannot be stored beside `entries`; undefined where it can. */
export function whyNotStorable(
  entries: readonly BitmapEntry[],
  name: string,
  granularity: number,
  length: Offset,
): string | undefined {
  const granularityBits = Math.log2(granularity)
  const nameBytes = encodeText(name).byteLength
  if (nameBytes > BDRV_BITMAP_MAX_NAME_SIZE)
    return `Name length exceeds maximum (${BDRV_BITMAP_MAX_NAME_SIZE} characters)`
  if (granularityBits < MIN_GRANULARITY_BITS || granularityBits > MAX_GRANULARITY_BITS) {
    return `Granularity is out of range: 2^${MIN_GRANULARITY_BITS} to 2^${MAX_GRANULARITY_BITS} bytes`
  }
  if (length === 0) return 'a disk without length has nothing to record'
  if (bitmapBytes(length, granularityBits) > MAX_BITMAP_BYTES) {
    return 'Too much space will be occupied by the bitmap. Use larger granularity'
  }
  if (entries.length >= MAX_BITMAPS) return 'Maximum number of persistent bitmaps is already reached'
  if (bitmapDirectoryBytes([...entries.map((entry) => entry.name), name]) > MAX_BITMAP_DIRECTORY_BYTES) {
    return 'Not enough space in the bitmap directory'
  }
  return undefined
}

/** What a cluster of a bitmap is: all clean, all dirty, or data in the image. */
export type BitmapCluster = 'zeroes' | 'ones' | HostOffset

/** Decodes an entry of a bitmap table; undefined for what none can be. */
export function decodeBitmapCluster(table: Table64, index: number, layout: Layout): BitmapCluster | undefined {
  const [high, low] = [table.high(index), table.low(index)]
  const offset = table.offset(index)
  if ((high & 0xff00_0000) !== 0 || (low & 0x1fe) !== 0 || Number.isNaN(offset)) return undefined
  const ones = (low & 1) !== 0
  if (offset === 0) return ones ? 'ones' : 'zeroes'
  return ones || !isClusterAligned(layout, offset) ? undefined : host(offset)
}

/** A bitmap table as bytes: host offsets of its clusters, 0 for those that are all clean. */
export function encodeBitmapTable(clusters: readonly HostOffset[]): Uint8Array {
  const table = new Table64(new Uint8Array(clusters.length * ENTRY_BYTES))
  for (const [index, offset] of clusters.entries()) table.setOffset(index, offset)
  return table.bytes
}

function invalid(message: string): BlockError {
  return new BlockError('EINVAL', message)
}
