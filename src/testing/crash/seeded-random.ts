// Chance that a seed decides, so that whatever was chosen can be chosen again.

/** A source of random numbers below `below`, at least 0. */
export type RandomBelow = (below: number) => number

/** The sequence that `seed` (32 bits of it count) stands for. */
export function seededRandom(seed: number): RandomBelow {
  let state = seed >>> 0
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below)
  }
}
