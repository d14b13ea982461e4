// Which parts of a window reach the disk. Small windows: every subset. Large ones: none, all, each alone, all but each, every
// prefix, every swap of neighbours, and random subsets. And in windows of any size, every change that is longer than a sector,
// torn: its first half, its last half, random sectors of it, alone and with the rest.

import type { RandomBelow } from './seeded-random.js'

/** What of one change reached the disk: all, nothing, or these of its parts. */
export type KeptPart = boolean | readonly number[]

/** One way in which a crash may leave a window behind. */
export interface CrashChoice {
  /** For each member of the window. */
  readonly kept: readonly KeptPart[]
  /** This member reached the disk after its successor. */
  readonly swapped?: number
  /** Changes of length: as they were at the crash, or none of the window. */
  readonly lengths: 'kept' | 'lost'
}

/** Windows of up to so many changes are looked at in every subset. */
export const EXHAUSTIVE_WINDOW = 10
const RANDOM_SUBSETS = 64

/** A choice before it is said what becomes of lengths. */
type Subset = Omit<CrashChoice, 'lengths'>

/** The two choices that find most: nothing of the window, and all of it. */
export function coarseChoices(members: number): CrashChoice[] {
  return [none(members), all(members)].flatMap(withLengths)
}

/** Every choice for a window whose members have so many parts each; many of them lead to the same state. */
export function* crashChoices(parts: readonly number[], random: RandomBelow): Generator<CrashChoice, void> {
  for (const subset of subsets(parts, random)) yield* withLengths(subset)
}

function withLengths(subset: Subset): CrashChoice[] {
  return [
    { ...subset, lengths: 'kept' },
    { ...subset, lengths: 'lost' },
  ]
}

function* subsets(parts: readonly number[], random: RandomBelow): Generator<Subset, void> {
  const count = parts.length
  if (count <= EXHAUSTIVE_WINDOW) {
    for (let bits = 0; bits < 2 ** count; bits++) yield { kept: parts.map((_, index) => ((bits >>> index) & 1) === 1) }
  } else yield* sampledSubsets(count, random)
  for (let index = 0; index + 1 < count; index++) yield { ...all(count), swapped: index }
  yield* tornSubsets(parts, random)
}

function* sampledSubsets(count: number, random: RandomBelow): Generator<Subset, void> {
  yield none(count)
  yield all(count)
  for (let index = 0; index < count; index++) {
    yield replaceAt(none(count), index, true)
    yield replaceAt(all(count), index, false)
  }
  for (let length = 2; length < count; length++) yield { kept: Array.from({ length: count }, (_, at) => at < length) }
  for (let run = 0; run < RANDOM_SUBSETS; run++) {
    yield { kept: Array.from({ length: count }, () => random(2) === 1) }
  }
}

function* tornSubsets(parts: readonly number[], random: RandomBelow): Generator<Subset, void> {
  const count = parts.length
  for (const [index, sectors] of parts.entries()) {
    if (sectors < 2) continue
    for (const kept of tears(sectors, random)) {
      yield replaceAt(none(count), index, kept)
      yield replaceAt(all(count), index, kept)
    }
  }
}

function tears(sectors: number, random: RandomBelow): (readonly number[])[] {
  const indices = Array.from({ length: sectors }, (_, index) => index)
  const half = Math.ceil(sectors / 2)
  return [indices.slice(0, half), indices.slice(half), indices.filter(() => random(2) === 1)]
}

function none(count: number): Subset {
  return { kept: new Array<KeptPart>(count).fill(false) }
}

function all(count: number): Subset {
  return { kept: new Array<KeptPart>(count).fill(true) }
}

function replaceAt(subset: Subset, index: number, kept: KeptPart): Subset {
  return { kept: subset.kept.map((present, at) => (at === index ? kept : present)) }
}
