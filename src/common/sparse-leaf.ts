// The lowest chunk of a sparse bitmap: 8192 bits in 256 words, and one bit per word above them that says it is not 0.

import { lowestBit, nextWithBit, popCount, putBit, wordMask } from './word-bits.js'

const LEAF_WORDS = 256

export const LEAF_BITS = LEAF_WORDS * 32

/** A chunk of bits with its count. Positions are within the chunk. */
export class Leaf {
  readonly words = new Uint32Array(LEAF_WORDS)
  readonly #nonZero = new Uint32Array(LEAF_WORDS / 32)
  count = 0

  constructor(full: boolean) {
    if (!full) return
    this.words.fill(0xffff_ffff)
    this.#nonZero.fill(0xffff_ffff)
    this.count = LEAF_BITS
  }

  /** Sets or clears the bits from `from` to `to` (exclusive). */
  paint(from: number, to: number, value: boolean): void {
    for (let word = from >>> 5; word * 32 < to; word++) {
      const mask = wordMask(Math.max(from - word * 32, 0), Math.min(to - word * 32, 32))
      const old = this.words[word] ?? 0
      this.#write(word, value ? old | mask : old & ~mask)
    }
  }

  /** The first bit equal to `value` from `from` on and before `to`; -1 where there is none. */
  next(from: number, to: number, value: boolean): number {
    return value ? this.#nextSet(from, to) : this.#nextClear(from, to)
  }

  /** Adds every bit set in `other`. */
  unite(other: Leaf): void {
    for (let word = 0; word < LEAF_WORDS; word++) this.#write(word, (this.words[word] ?? 0) | (other.words[word] ?? 0))
  }

  /** Replaces the words from index `first` on. */
  writeWords(first: number, words: Uint32Array): void {
    words.forEach((word, index) => {
      this.#write(first + index, word)
    })
  }

  copy(): Leaf {
    const twin = new Leaf(false)
    twin.words.set(this.words)
    twin.#nonZero.set(this.#nonZero)
    twin.count = this.count
    return twin
  }

  #nextSet(from: number, to: number): number {
    const first = from >>> 5
    const head = ((this.words[first] ?? 0) & (0xffff_ffff << (from & 31))) >>> 0
    const word = head !== 0 ? first : nextWithBit(this.#nonZero, first + 1, LEAF_WORDS)
    if (word < 0) return -1
    const found = word * 32 + lowestBit(head !== 0 ? head : (this.words[word] ?? 0))
    return found < to ? found : -1
  }

  #nextClear(from: number, to: number): number {
    let word = from >>> 5
    let clear = (~(this.words[word] ?? 0) & (0xffff_ffff << (from & 31))) >>> 0
    while (clear === 0) {
      word += 1
      if (word * 32 >= to) return -1
      clear = ~(this.words[word] ?? 0) >>> 0
    }
    const found = word * 32 + lowestBit(clear)
    return found < to ? found : -1
  }

  #write(word: number, value: number): void {
    this.count += popCount(value) - popCount(this.words[word] ?? 0)
    this.words[word] = value
    putBit(this.#nonZero, word, value !== 0)
  }
}
