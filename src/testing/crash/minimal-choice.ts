// The smallest loss that still fails: one after another, what a failing choice lost is given back, as long as it keeps failing.

import type { CrashChoice } from './crash-choices.js'
import type { CrashPoint } from './crash-points.js'

/** A failing choice, and what is wrong with its state. */
export interface FailingChoice {
  choice: CrashChoice
  problem: string
}

/** `fails` says what is wrong with the state of a choice; undefined where nothing is. */
export async function minimalChoice(
  point: CrashPoint,
  choice: CrashChoice,
  problem: string,
  fails: (choice: CrashChoice) => Promise<string | undefined>,
): Promise<FailingChoice> {
  let found: FailingChoice = { choice, problem }
  const attempt = async (other: CrashChoice): Promise<boolean> => {
    const still = await fails(other)
    if (still !== undefined) found = { choice: other, problem: still }
    return still !== undefined
  }
  if (choice.lengths === 'lost') await attempt({ ...found.choice, lengths: 'kept' })
  const { swapped: _, ...inOrder } = found.choice
  if (choice.swapped !== undefined) await attempt(inOrder)
  for (let index = point.window.length - 1; index >= 0; index--) {
    const kept = found.choice.kept[index]
    if (kept === true) continue
    const { choice: before } = found
    const whole = await attempt({ ...before, kept: before.kept.map((part, at) => (at === index ? true : part)) })
    // A torn change that is needed: is it enough to lose it as a whole?
    if (!whole && kept !== false) {
      await attempt({ ...before, kept: before.kept.map((part, at) => (at === index ? false : part)) })
    }
  }
  return found
}
