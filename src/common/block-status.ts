// Block status: what a layer knows of a range.

export const BDRV_BLOCK_DATA = 0x01
export const BDRV_BLOCK_ZERO = 0x02
export const BDRV_BLOCK_OFFSET_VALID = 0x04
export const BDRV_BLOCK_RAW = 0x08
export const BDRV_BLOCK_ALLOCATED = 0x10
export const BDRV_BLOCK_EOF = 0x20
export const BDRV_BLOCK_RECURSE = 0x40

/** What a reader of a range gets, and what the file holds at `map`, by the DATA, ZERO and OFFSET_VALID bits. */
export interface StatusMeaning {
  reads: 'zeroes' | 'bytes-at-map' | 'layer-data' | 'backing'
  atMap: 'zeroes' | 'data' | 'undefined' | 'nowhere'
}

/** The truth table of DATA, ZERO and OFFSET_VALID. */
export function statusMeaning(bits: number): StatusMeaning {
  const data = (bits & BDRV_BLOCK_DATA) !== 0
  const zero = (bits & BDRV_BLOCK_ZERO) !== 0
  const mapped = (bits & BDRV_BLOCK_OFFSET_VALID) !== 0
  const reads = zero ? 'zeroes' : data ? (mapped ? 'bytes-at-map' : 'layer-data') : 'backing'
  const atMap = !mapped ? 'nowhere' : !data ? 'undefined' : zero ? 'zeroes' : 'data'
  return { reads, atMap }
}

/** The names of the bits set in `bits`, for people. */
export function statusNames(bits: number): string[] {
  return NAMES.filter(([bit]) => (bits & bit) !== 0).map(([, name]) => name)
}

const NAMES: ReadonlyArray<readonly [number, string]> = [
  [BDRV_BLOCK_DATA, 'data'],
  [BDRV_BLOCK_ZERO, 'zero'],
  [BDRV_BLOCK_OFFSET_VALID, 'offset-valid'],
  [BDRV_BLOCK_RAW, 'raw'],
  [BDRV_BLOCK_ALLOCATED, 'allocated'],
  [BDRV_BLOCK_EOF, 'eof'],
  [BDRV_BLOCK_RECURSE, 'recurse'],
]
