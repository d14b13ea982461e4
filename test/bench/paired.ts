// Ours and the peer in turn, A B A B, in one run: whatever else the machine does meets both alike. The figure is the ratio
// of the medians of their rates.

import { judge, type Result, skipped, type Target } from './result.js'
import { type Samples, samplesOf } from './support/statistics.js'

/** Somebody whose rate is taken once a round, in a process of its own. */
export interface Contestant {
  label: string
  /** Requests per second. */
  run(): Promise<number>
  /** Why it cannot run here. */
  missing?: string | undefined
}

/** One line of the table: who is held against whom. Without `peer`, the rate of `ours` is shown. */
export interface Comparison {
  ours: string
  peer: string
  target?: Target
}

/** Contestants that take turns. */
export interface PairedCase {
  group: string
  contestants: readonly Contestant[]
  comparisons: readonly Comparison[]
}

/** Runs the case and judges it. */
export async function runPaired(paired: PairedCase, rounds: number): Promise<Result[]> {
  const { group, contestants, comparisons } = paired
  const rates = new Map<string, number[]>()
  const missing = new Map<string, string>()
  for (const { label, missing: why } of contestants) {
    rates.set(label, [])
    if (why !== undefined) missing.set(label, why)
  }
  for (let round = 0; round < rounds; round++) {
    for (const contestant of contestants) {
      if (missing.has(contestant.label)) continue
      rates.get(contestant.label)?.push(await contestant.run())
    }
  }
  const sums = new Map<string, Samples>()
  for (const [label, values] of rates) if (values.length > 0) sums.set(label, samplesOf(values))
  return comparisons.map((comparison) => compare(group, comparison, sums, missing))
}

function compare(
  group: string,
  comparison: Comparison,
  sums: ReadonlyMap<string, Samples>,
  missing: ReadonlyMap<string, string>,
): Result {
  const { target } = comparison
  const ours = sums.get(comparison.ours)
  const peer = sums.get(comparison.peer)
  const name = `${comparison.ours} / ${comparison.peer}`
  if (ours === undefined || peer === undefined) {
    const why = missing.get(comparison.ours) ?? missing.get(comparison.peer) ?? 'no sample'
    return skipped(group, name, 'x', target, why)
  }
  const figure = ours.median / peer.median
  const result: Result = { group, name, figure, unit: 'x', verdict: judge(figure, target), ours, peer }
  return target === undefined ? result : { ...result, target }
}
