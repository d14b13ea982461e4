// What a case comes to: a figure, the target it is held to (if any), and what it was made of.

import type { Samples } from './support/statistics.js'

/** A bound a figure has to keep. */
export type Target = { atLeast: number } | { below: number }

/** `shown`: nothing to hold it to. */
export type Verdict = 'met' | 'missed' | 'skipped' | 'shown'

/** One line of the final table. */
export interface Result {
  group: string
  name: string
  /** The figure in its unit: `x` for a ratio of ours to the peer's. NaN where skipped. */
  figure: number
  unit: string
  target?: Target
  verdict: Verdict
  /** Samples the figure was made of, in requests per second for ratios. */
  ours?: Samples
  peer?: Samples
  note?: string
}

/** Judges a figure. */
export function judge(figure: number, target: Target | undefined): Verdict {
  if (target === undefined) return 'shown'
  const kept = 'atLeast' in target ? figure >= target.atLeast : figure < target.below
  return kept ? 'met' : 'missed'
}

/** A line for what could not be measured. */
export function skipped(group: string, name: string, unit: string, target: Target | undefined, why: string): Result {
  const result: Result = { group, name, figure: Number.NaN, unit, verdict: 'skipped', note: why }
  return target === undefined ? result : { ...result, target }
}
