// A table of big-endian 64-bit entries in memory: L1, L2, refcount and bitmap tables. Entries are read and written as two
// 32-bit halves, so that nothing on the path of a request makes a bigint.

import { highHalf, lowHalf } from '../../../common/units.js'

/** The bits of a table entry that hold a host offset: 9 to 55. */
export const OFFSET_HIGH_MASK = 0x00ff_ffff
export const OFFSET_LOW_MASK = 0xffff_fe00
/** Upper halves beyond this do not fit a safe offset. */
const SAFE_HIGH = 0x1f_ffff
/** Bit 63 of L1 and L2 entries: the refcount of what it names is exactly 1. */
export const COPIED_HIGH = 0x8000_0000

/** Entries of 8 bytes over a buffer it shares. */
export class Table64 {
  readonly bytes: Uint8Array
  readonly view: DataView

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  /** A table of zeroes. */
  static ofEntries(entries: number): Table64 {
    return new Table64(new Uint8Array(entries * 8))
  }

  get length(): number {
    return this.bytes.byteLength >>> 3
  }

  high(index: number): number {
    return this.view.getUint32(index * 8)
  }

  low(index: number): number {
    return this.view.getUint32(index * 8 + 4)
  }

  /** Whether an entry names nothing, or is not there. */
  isZero(index: number): boolean {
    return index >= this.length || (this.high(index) === 0 && this.low(index) === 0)
  }

  set(index: number, high: number, low: number): void {
    this.view.setUint32(index * 8, high)
    this.view.setUint32(index * 8 + 4, low)
  }

  /** Writes an offset below 2^53 with bits of the upper half added to it. */
  setOffset(index: number, offset: number, flagsHigh = 0): void {
    this.set(index, (highHalf(offset) | flagsHigh) >>> 0, lowHalf(offset))
  }

  /** The host offset in bits 9 to 55 of an entry; NaN where it is larger than any offset can be. */
  offset(index: number): number {
    return entryOffset(this.high(index), this.low(index))
  }
}

/** The host offset in an entry's halves; NaN where it is larger than any offset can be. */
export function entryOffset(high: number, low: number): number {
  const upper = high & OFFSET_HIGH_MASK
  return upper > SAFE_HIGH ? Number.NaN : upper * 0x1_0000_0000 + ((low & OFFSET_LOW_MASK) >>> 0)
}
