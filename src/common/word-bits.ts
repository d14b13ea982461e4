// Bits in arrays of 32-bit words; bit i stands in word i >>> 5 at position i & 31.

/** How many bits of a word are set. */
export function popCount(word: number): number {
  let bits = word - ((word >>> 1) & 0x5555_5555)
  bits = (bits & 0x3333_3333) + ((bits >>> 2) & 0x3333_3333)
  bits = (bits + (bits >>> 4)) & 0x0f0f_0f0f
  return Math.imul(bits, 0x0101_0101) >>> 24
}

/** The position of the lowest set bit of a word that is not 0. */
export function lowestBit(word: number): number {
  return 31 - Math.clz32(word & -word)
}

/** A word whose bits from `from` to `to` (exclusive, at most 32) are set. */
export function wordMask(from: number, to: number): number {
  const upTo = to === 32 ? 0xffff_ffff : (1 << to) - 1
  return (upTo & (0xffff_ffff << from)) >>> 0
}

/** Sets or clears one bit. */
export function putBit(words: Uint32Array, index: number, value: boolean): void {
  const word = words[index >>> 5] ?? 0
  const bit = 1 << (index & 31)
  words[index >>> 5] = value ? word | bit : word & ~bit
}

/** The first set bit from `from` on and before `to`; -1 where there is none. */
export function nextWithBit(words: Uint32Array, from: number, to: number): number {
  if (from >= to) return -1
  let index = from >>> 5
  let word = ((words[index] ?? 0) & (0xffff_ffff << (from & 31))) >>> 0
  const last = (to - 1) >>> 5
  while (word === 0) {
    index += 1
    if (index > last) return -1
    word = words[index] ?? 0
  }
  const found = index * 32 + lowestBit(word)
  return found < to ? found : -1
}
