// What the parts of the record have in common, whatever the kind of ring (vhost-user.rst, QueueRegionSplit and
// QueueRegionPacked): features, version and number of entries at the beginning, and in each entry a counter that tells the
// order in which requests were taken.

import { BlockError } from '../../../common/error.js'
import { highHalf, lowHalf } from '../../../common/units.js'

/** In 16-bit words of a part: its version, 0 where it has not been used, and how many entries it has. */
export const VERSION_WORD = 4
export const ENTRIES_WORD = 5
/** The version of the layouts that the specification describes. */
export const VERSION_1 = 1

const TWO_32 = 0x1_0000_0000

/** Throws EINVAL for a part that has been used and is not one of `entries` entries. */
export function checkPart(halves: Uint16Array, entries: number): void {
  const version = halves[VERSION_WORD] as number
  if (version !== 0 && (version !== VERSION_1 || halves[ENTRIES_WORD] !== entries)) {
    throw new BlockError('EINVAL', 'the record of requests in flight is of another kind')
  }
}

/** The counter at 32-bit word `at`. */
export function loadCounter(words: Uint32Array, at: number): number {
  return (words[at + 1] as number) * TWO_32 + (words[at] as number)
}

/** Sets the counter at 32-bit word `at`. */
export function storeCounter(words: Uint32Array, at: number, counter: number): void {
  words[at] = lowHalf(counter)
  words[at + 1] = highHalf(counter)
}

/** A record whose lists cannot be true. */
export function damaged(): BlockError {
  return new BlockError('EINVAL', 'the record of requests in flight is damaged')
}
