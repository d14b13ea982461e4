// What a node can take in one request, and the caps of the whole library.

export const BDRV_SECTOR_BITS = 9
export const BDRV_SECTOR_SIZE = 512
export const BDRV_REQUEST_MAX_SECTORS = 4194303
/** Largest read, write or other bounded request in bytes: 2^31 - 1 rounded down to a sector. */
export const BDRV_REQUEST_MAX_BYTES = 2147483136
export const BDRV_MAX_ALIGNMENT = 0x4000_0000
/** Largest offset, length, offset + length and image size: safe integers stop at 2^53, an alignment unit is kept free. */
export const MAX_LENGTH = 9007198180999168
export const BLOCK_PROBE_BUF_SIZE = 512
/** Largest bounce buffer: 16 MiB. */
export const MAX_BOUNCE_BUFFER = 16777216
export const MAX_NODE_NAME = 31
export const MAX_BACKING_FORMAT_NAME = 15
export const BDRV_BITMAP_MAX_NAME_SIZE = 1023
export const IOV_MAX = 1024
/** Slice over which jobs limit their rate, in milliseconds. */
export const BLOCK_JOB_SLICE_TIME_MS = 100

/** Limits of a node. All in bytes; 0 means no limit unless stated otherwise. */
export interface BlockLimits {
  /** Power of two, 1..2^30: offset and length of every request the driver sees are multiples of it. */
  requestAlignment: number
  maxDiscard: number
  discardAlignment: number
  maxWriteZeroes: number
  writeZeroesAlignment: number
  optTransfer: number
  maxTransfer: number
  maxHwTransfer: number
  /** In segments. */
  maxHwIov: number
  minMemAlignment: number
  optMemAlignment: number
  /** In segments. */
  maxIov: number
}

/** Limits of a node without children and without wishes of its own. */
export function defaultLimits(): BlockLimits {
  return {
    requestAlignment: 1,
    maxDiscard: 0,
    discardAlignment: 0,
    maxWriteZeroes: 0,
    writeZeroesAlignment: 0,
    optTransfer: 0,
    maxTransfer: 0,
    maxHwTransfer: 0,
    maxHwIov: 0,
    minMemAlignment: 512,
    optMemAlignment: 4096,
    maxIov: IOV_MAX,
  }
}

/** Limits that bind a parent whose child has limits `b`: alignments are the larger, maxima the smaller that is not 0. */
export function mergeLimits(a: BlockLimits, b: BlockLimits): BlockLimits {
  return {
    requestAlignment: a.requestAlignment,
    maxDiscard: a.maxDiscard,
    discardAlignment: a.discardAlignment,
    maxWriteZeroes: a.maxWriteZeroes,
    writeZeroesAlignment: a.writeZeroesAlignment,
    optTransfer: Math.max(a.optTransfer, b.optTransfer),
    maxTransfer: minNonZero(a.maxTransfer, b.maxTransfer),
    maxHwTransfer: minNonZero(a.maxHwTransfer, b.maxHwTransfer),
    maxHwIov: minNonZero(a.maxHwIov, b.maxHwIov),
    minMemAlignment: Math.max(a.minMemAlignment, b.minMemAlignment),
    optMemAlignment: Math.max(a.optMemAlignment, b.optMemAlignment),
    maxIov: minNonZero(a.maxIov, b.maxIov),
  }
}

/** The smaller of two limits of which 0 means none. */
export function minNonZero(a: number, b: number): number {
  if (a === 0) return b
  if (b === 0) return a
  return Math.min(a, b)
}
