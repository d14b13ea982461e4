// A hierarchical bitmap over the bytes of a node: one bit per `granularity` bytes. A set bit means that
// some byte of its granule is dirty, so setting rounds outwards and resetting inwards: dirtiness is never lost. Costs
// depend on how the bits are scattered, not on the length.

import { assert } from './assert.js'
import { MAX_LENGTH } from './limits.js'
import { SparseBits } from './sparse-bits.js'
import { isPowerOfTwo, type Offset } from './units.js'

/** A range of bytes. */
export interface ByteRange {
  offset: Offset
  bytes: number
}

/** Serialised parts begin at multiples of this many granules. */
const SERIAL_GRANULES = 64

/** Which granules of `length` bytes are dirty. Ranges reach from `offset` over `bytes` bytes and lie inside the length. */
export class HBitmap {
  /** Bytes per bit; a power of two. */
  readonly granularity: number
  #length: Offset
  #bits: SparseBits

  constructor(length: Offset, granularity: number) {
    assert(isPowerOfTwo(granularity), `granularity ${granularity} is no power of two`)
    assert(Number.isSafeInteger(length) && length >= 0 && length <= MAX_LENGTH, `bitmap over ${length} bytes`)
    this.granularity = granularity
    this.#length = length
    this.#bits = new SparseBits()
  }

  /** Bytes covered. */
  get length(): Offset {
    return this.#length
  }

  /** Dirty bytes: granules count whole, the last one as far as the length reaches. */
  get count(): number {
    const { granularity } = this
    const whole = this.#bits.count * granularity
    const tail = this.#length % granularity
    return tail !== 0 && this.#bits.get(this.#granules - 1) ? whole - granularity + tail : whole
  }

  /** Whether the granule that holds byte `offset` is dirty. */
  get(offset: Offset): boolean {
    assert(offset >= 0 && offset < this.#length, `byte ${offset} is outside of a bitmap over ${this.#length}`)
    return this.#bits.get(Math.floor(offset / this.granularity))
  }

  /** Makes every granule dirty that the range touches. */
  set(offset: Offset, bytes: number): void {
    this.#checkRange(offset, bytes)
    if (bytes === 0) return
    this.#bits.paint(Math.floor(offset / this.granularity), Math.ceil((offset + bytes) / this.granularity), true)
  }

  /** Makes every granule clean that the range covers whole; a last one that ends with the length counts as whole. */
  reset(offset: Offset, bytes: number): void {
    this.#checkRange(offset, bytes)
    const end = offset + bytes
    const last = end === this.#length ? this.#granules : Math.floor(end / this.granularity)
    this.#bits.paint(Math.ceil(offset / this.granularity), last, false)
  }

  /** Makes everything dirty. */
  setAll(): void {
    this.#bits.clear()
    this.#bits.paint(0, this.#granules, true)
  }

  /** Makes everything clean. */
  resetAll(): void {
    this.#bits.clear()
  }

  /** The first dirty byte from `from` on and before `end`. */
  nextDirty(from: Offset, end: Offset = this.#length): Offset | undefined {
    return this.#next(from, end, true)
  }

  /** The first clean byte from `from` on and before `end`. */
  nextZero(from: Offset, end: Offset = this.#length): Offset | undefined {
    return this.#next(from, end, false)
  }

  /** The first dirty area from `start` on: cut at `end` and to at most `max` bytes. */
  nextDirtyArea(start: Offset, end: Offset = this.#length, max: number = this.#length): ByteRange | undefined {
    assert(max > 0 || this.#length === 0, `area of at most ${max} bytes`)
    const offset = this.nextDirty(start, end)
    if (offset === undefined) return undefined
    const limit = Math.min(offset + max, Math.min(end, this.#length))
    return { offset, bytes: (this.nextZero(offset, limit) ?? limit) - offset }
  }

  /** Dirty areas in order, each as long as can be. Changes made on the way are seen where they lie ahead. */
  *runs(start: Offset = 0, end: Offset = this.#length): IterableIterator<ByteRange> {
    for (let area = this.nextDirtyArea(start, end); area !== undefined; ) {
      yield area
      area = this.nextDirtyArea(Math.min(area.offset + area.bytes, this.#length), end)
    }
  }

  /** Makes dirty what is dirty in `other`, which covers as many bytes; its granularity may differ. */
  merge(other: HBitmap): void {
    assert(other.length === this.#length, `merge of bitmaps over ${other.length} and ${this.#length} bytes`)
    if (other.granularity === this.granularity) {
      this.#bits.unite(other.#bits)
      return
    }
    for (const area of other.runs()) this.set(area.offset, area.bytes)
  }

  /** Changes the length. Bits past a smaller end vanish; new bytes are clean, except in a granule that is dirty already. */
  truncate(length: Offset): void {
    assert(Number.isSafeInteger(length) && length >= 0 && length <= MAX_LENGTH, `bitmap over ${length} bytes`)
    const before = this.#granules
    this.#length = length
    this.#bits.paint(this.#granules, before, false)
  }

  /** A bitmap of its own with the same content. */
  copy(): HBitmap {
    const twin = new HBitmap(this.#length, this.granularity)
    twin.#bits = this.#bits.copy()
    return twin
  }

  /** Serialised parts begin at multiples of this many bytes, and end at one or at the length. */
  get serializationAlign(): number {
    return SERIAL_GRANULES * this.granularity
  }

  /** Size in bytes of the serialised form of a range: whole 64-bit words. */
  serializationSize(offset: Offset, bytes: number): number {
    return this.#serialWords(offset, bytes) * 8
  }

  /** A range as bits, the first granule being the lowest bit of the first byte; its size is {@link serializationSize}. */
  serializePart(offset: Offset, bytes: number): Uint8Array {
    const words = new Uint32Array(this.#serialWords(offset, bytes) * 2)
    this.#bits.readWords(offset / this.granularity, words)
    const out = new Uint8Array(words.length * 4)
    words.forEach((word, index) => {
      for (let byte = 0; byte < 4; byte++) out[index * 4 + byte] = word >>> (byte * 8)
    })
    return out
  }

  /** Replaces a range by what `data` holds, in the form of {@link serializePart}. Bits past the length are ignored. */
  deserializePart(data: Uint8Array, offset: Offset, bytes: number): void {
    const words = new Uint32Array(this.#serialWords(offset, bytes) * 2)
    assert(data.byteLength === words.length * 4, `${data.byteLength} bytes for a part of ${words.length * 4}`)
    for (let index = 0; index < data.byteLength; index++) {
      words[index >>> 2] = (words[index >>> 2] ?? 0) | ((data[index] ?? 0) << ((index & 3) * 8))
    }
    const first = offset / this.granularity
    this.#bits.writeWords(first, words)
    this.#bits.paint(this.#granules, first + words.length * 32, false)
  }

  /** Makes a range clean, as if a part of zeroes were read. */
  deserializeZeroes(offset: Offset, bytes: number): void {
    this.#serialWords(offset, bytes)
    this.reset(offset, bytes)
  }

  /** Makes a range dirty, as if a part of ones were read. */
  deserializeOnes(offset: Offset, bytes: number): void {
    this.#serialWords(offset, bytes)
    this.set(offset, bytes)
  }

  /** Chunks of memory in use (about 1.3 KiB to 3 KiB each). */
  get chunks(): number {
    return this.#bits.chunks
  }

  get #granules(): number {
    return Math.ceil(this.#length / this.granularity)
  }

  #next(from: Offset, end: Offset, value: boolean): Offset | undefined {
    const limit = Math.min(end, this.#length)
    if (from >= limit) return undefined
    const { granularity } = this
    const bit = this.#bits.next(Math.floor(from / granularity), Math.ceil(limit / granularity), value)
    return bit < 0 ? undefined : Math.max(bit * granularity, from)
  }

  #serialWords(offset: Offset, bytes: number): number {
    this.#checkRange(offset, bytes)
    const align = this.serializationAlign
    const end = offset + bytes
    assert(offset % align === 0, `a part begins at ${offset}, which is no multiple of ${align}`)
    assert(
      end % align === 0 || end === this.#length,
      `a part ends at ${end}, neither a multiple of ${align} nor the end`,
    )
    return Math.ceil(bytes / align)
  }

  #checkRange(offset: Offset, bytes: number): void {
    assert(
      Number.isSafeInteger(offset) && Number.isSafeInteger(bytes) && offset >= 0 && bytes >= 0,
      `range of ${bytes} bytes at ${offset}`,
    )
    assert(bytes <= this.#length - offset, `range of ${bytes} bytes at ${offset} is outside of ${this.#length} bytes`)
  }
}

/** A new bitmap in which is dirty what is dirty in `a` or `b`. Both cover as many bytes; granularities may differ. */
export function mergedBitmap(a: HBitmap, b: HBitmap, granularity = Math.min(a.granularity, b.granularity)): HBitmap {
  const merged = new HBitmap(a.length, granularity)
  merged.merge(a)
  merged.merge(b)
  return merged
}
