// The image header, versions 2 and 3 (qcow2 specification, "Header"). Decoding refuses what no image may say; what depends
// on the file (its length, other tables) is checked at open.

import { BlockError } from '../../../common/error.js'
import { offsetFromHalves } from '../../../common/units.js'
import { type HostOffset, host, MAX_CLUSTER_BITS, MIN_CLUSTER_BITS, MIN_EXTENDED_CLUSTER_BITS } from './layout.js'

export const QCOW_MAGIC = 0x514649fb
export const HEADER_BYTES_V2 = 72
/** What version 3 requires; the compression type and its padding make it 112. */
export const HEADER_MIN_BYTES_V3 = 104
export const HEADER_BYTES_V3 = 112

export const INCOMPATIBLE_DIRTY = 1n << 0n
export const INCOMPATIBLE_CORRUPT = 1n << 1n
export const INCOMPATIBLE_DATA_FILE = 1n << 2n
export const INCOMPATIBLE_COMPRESSION = 1n << 3n
export const INCOMPATIBLE_EXTENDED_L2 = 1n << 4n
export const INCOMPATIBLE_MASK = 0x1fn
export const COMPATIBLE_LAZY_REFCOUNTS = 1n << 0n
export const COMPATIBLE_MASK = 0x1n
export const AUTOCLEAR_BITMAPS = 1n << 0n
export const AUTOCLEAR_DATA_FILE_RAW = 1n << 1n
export const AUTOCLEAR_MASK = 0x3n

export const CRYPT_NONE = 0
export const CRYPT_AES = 1
export const CRYPT_LUKS = 2

export const COMPRESSION_ZLIB = 0
export const COMPRESSION_ZSTD = 1

export const MAX_BACKING_NAME = 1023

/** The fields of the header, by their names in the specification. */
export interface Qcow2Header {
  version: 2 | 3
  backingFileOffset: HostOffset
  /** In bytes; 0 where there is no backing file. */
  backingFileSize: number
  clusterBits: number
  /** Length of the virtual disk in bytes. */
  size: number
  cryptMethod: number
  /** Entries of the active L1 table. */
  l1Size: number
  l1TableOffset: HostOffset
  refcountTableOffset: HostOffset
  refcountTableClusters: number
  nbSnapshots: number
  snapshotsOffset: HostOffset
  incompatibleFeatures: bigint
  compatibleFeatures: bigint
  autoclearFeatures: bigint
  refcountOrder: number
  headerLength: number
  compressionType: number
  /** Fields behind those known here, kept as they are. */
  unknownFields: Uint8Array
}

/** Whether bytes begin as an image of this format does, of a version known here. */
export function looksLikeQcow2(bytes: Uint8Array): boolean {
  if (bytes.byteLength < 8) return false
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return view.getUint32(0) === QCOW_MAGIC && view.getUint32(4) >= 2
}

/**
 * Decodes the header at the start of `bytes` (at least 112 bytes, or the whole file where it is shorter). EINVAL for what is
 * no header, ENOTSUP for an unknown version, EFBIG for a number beyond the library's cap.
 */
export function decodeHeader(bytes: Uint8Array): Qcow2Header {
  if (bytes.byteLength < HEADER_BYTES_V2) throw invalid('Image is not in qcow2 format')
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (view.getUint32(0) !== QCOW_MAGIC) throw invalid('Image is not in qcow2 format')
  const version = view.getUint32(4)
  if (version !== 2 && version !== 3) throw new BlockError('ENOTSUP', `Unsupported qcow2 version ${version}`)
  if (version === 3 && bytes.byteLength < HEADER_MIN_BYTES_V3) throw invalid('qcow2 header is cut short')
  const clusterBits = view.getUint32(20)
  if (clusterBits < MIN_CLUSTER_BITS || clusterBits > MAX_CLUSTER_BITS) {
    throw invalid(`Unsupported cluster size: 2^${clusterBits}`)
  }
  const header: Qcow2Header = {
    version,
    backingFileOffset: host(offsetAt(view, 8, 'backing_file_offset')),
    backingFileSize: view.getUint32(16),
    clusterBits,
    size: offsetAt(view, 24, 'size'),
    cryptMethod: view.getUint32(32),
    l1Size: view.getUint32(36),
    l1TableOffset: host(tableAt(view, 40, 'Active L1 table offset invalid')),
    refcountTableOffset: host(tableAt(view, 48, 'Reference count table offset invalid')),
    refcountTableClusters: view.getUint32(56),
    nbSnapshots: view.getUint32(60),
    snapshotsOffset: host(tableAt(view, 64, 'Snapshot table offset invalid')),
    incompatibleFeatures: 0n,
    compatibleFeatures: 0n,
    autoclearFeatures: 0n,
    refcountOrder: 4,
    headerLength: HEADER_BYTES_V2,
    compressionType: COMPRESSION_ZLIB,
    unknownFields: new Uint8Array(0),
  }
  if (version === 3) decodeVersion3(header, view, bytes)
  return header
}

function decodeVersion3(header: Qcow2Header, view: DataView, bytes: Uint8Array): void {
  header.incompatibleFeatures = view.getBigUint64(72)
  header.compatibleFeatures = view.getBigUint64(80)
  header.autoclearFeatures = view.getBigUint64(88)
  header.refcountOrder = view.getUint32(96)
  header.headerLength = view.getUint32(100)
  const { headerLength } = header
  if (headerLength < HEADER_MIN_BYTES_V3) throw invalid('qcow2 header too short')
  if (headerLength > 2 ** header.clusterBits) throw invalid('qcow2 header exceeds cluster size')
  if (headerLength % 8 !== 0) throw invalid(`qcow2 header length ${headerLength} is no multiple of 8`)
  if (headerLength > HEADER_MIN_BYTES_V3 && bytes.byteLength > HEADER_MIN_BYTES_V3) {
    header.compressionType = bytes[HEADER_MIN_BYTES_V3] ?? 0
  }
  header.unknownFields = bytes.slice(HEADER_BYTES_V3, Math.max(headerLength, HEADER_BYTES_V3))
}

/**
 * Checks what the features of a header say of each other: EINVAL where they contradict, ENOTSUP where they ask for something
 * unknown. Names of unknown incompatible features come from the image's own table.
 */
export function checkFeatures(header: Qcow2Header, nameOf: (bit: number) => string | undefined): void {
  const unknown = header.incompatibleFeatures & ~INCOMPATIBLE_MASK
  if (unknown !== 0n) throw new BlockError('ENOTSUP', `Unsupported qcow2 feature(s): ${nameBits(unknown, nameOf)}`)
  if (header.refcountOrder > 6) throw invalid('Reference count entry width too large; may not exceed 64 bits')
  const compressed = (header.incompatibleFeatures & INCOMPATIBLE_COMPRESSION) !== 0n
  if (header.compressionType > COMPRESSION_ZSTD) {
    throw new BlockError('ENOTSUP', `qcow2: unknown compression type: ${header.compressionType}`)
  }
  if (compressed !== (header.compressionType !== COMPRESSION_ZLIB)) {
    throw invalid(
      compressed
        ? 'qcow2: Compression type incompatible feature bit must not be set'
        : 'qcow2: Compression type incompatible feature bit must be set',
    )
  }
  if (isExtended(header) && header.clusterBits < MIN_EXTENDED_CLUSTER_BITS) {
    throw invalid('Extended L2 entries need clusters of at least 16 KiB')
  }
  if (header.cryptMethod > CRYPT_LUKS) throw invalid(`Unsupported encryption method ${header.cryptMethod}`)
}

/** Whether L2 entries have subclusters. */
export function isExtended(header: Qcow2Header): boolean {
  return (header.incompatibleFeatures & INCOMPATIBLE_EXTENDED_L2) !== 0n
}

function nameBits(bits: bigint, nameOf: (bit: number) => string | undefined): string {
  const names: string[] = []
  for (let bit = 0; bit < 64; bit++) {
    if ((bits & (1n << BigInt(bit))) !== 0n) names.push(nameOf(bit) ?? `Unknown incompatible feature: ${bit}`)
  }
  return names.join(', ')
}

/** Writes the fields of `header` to the start of `into`, which is zeroed as far as the header reaches. */
export function encodeHeader(header: Qcow2Header, into: Uint8Array): void {
  const view = new DataView(into.buffer, into.byteOffset, into.byteLength)
  view.setUint32(0, QCOW_MAGIC)
  view.setUint32(4, header.version)
  view.setBigUint64(8, BigInt(header.backingFileOffset))
  view.setUint32(16, header.backingFileSize)
  view.setUint32(20, header.clusterBits)
  view.setBigUint64(24, BigInt(header.size))
  view.setUint32(32, header.cryptMethod)
  view.setUint32(36, header.l1Size)
  view.setBigUint64(40, BigInt(header.l1TableOffset))
  view.setBigUint64(48, BigInt(header.refcountTableOffset))
  view.setUint32(56, header.refcountTableClusters)
  view.setUint32(60, header.nbSnapshots)
  view.setBigUint64(64, BigInt(header.snapshotsOffset))
  if (header.version === 2) return
  view.setBigUint64(72, header.incompatibleFeatures)
  view.setBigUint64(80, header.compatibleFeatures)
  view.setBigUint64(88, header.autoclearFeatures)
  view.setUint32(96, header.refcountOrder)
  view.setUint32(100, encodedHeaderLength(header))
  into[HEADER_MIN_BYTES_V3] = header.compressionType
  into.set(header.unknownFields, HEADER_BYTES_V3)
}

/** Bytes the encoded header takes; extensions follow. */
export function encodedHeaderLength(header: Qcow2Header): number {
  return header.version === 2 ? HEADER_BYTES_V2 : HEADER_BYTES_V3 + header.unknownFields.byteLength
}

/** Where a table is said to stand; `message` is the error where it cannot. */
function tableAt(view: DataView, at: number, message: string): number {
  const value = offsetFromHalves(view.getUint32(at), view.getUint32(at + 4))
  if (value === undefined) throw invalid(message)
  return value
}

function offsetAt(view: DataView, at: number, name: string): number {
  const value = offsetFromHalves(view.getUint32(at), view.getUint32(at + 4))
  if (value === undefined) throw new BlockError('EFBIG', `qcow2 header field ${name} is too large`)
  return value
}

function invalid(message: string): BlockError {
  return new BlockError('EINVAL', message)
}
