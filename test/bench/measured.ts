// Cases without a peer: a worker prints numbers by name, once a round in a fresh process; each line is the median of one.

import { judge, type Result, type Target } from './result.js'
import { runWorker } from './support/process.js'
import { samplesOf } from './support/statistics.js'

/** A number of a worker and what it has to be. */
export interface Measure {
  key: string
  name: string
  unit: string
  target?: Target
}

/** A worker and what to take of it. */
export interface MeasuredCase {
  group: string
  worker: string
  args?: readonly string[]
  measures: readonly Measure[]
}

/** Runs the case and judges it. */
export async function runMeasured(measured: MeasuredCase, rounds: number): Promise<Result[]> {
  const samples: Record<string, number>[] = []
  for (let round = 0; round < rounds; round++) samples.push(await runWorker(measured.worker, measured.args))
  return measured.measures.map(({ key, name, unit, target }) => {
    const ours = samplesOf(samples.map((sample) => sample[key] ?? Number.NaN))
    const result: Result = {
      group: measured.group,
      name,
      figure: ours.median,
      unit,
      verdict: judge(ours.median, target),
      ours,
    }
    return target === undefined ? result : { ...result, target }
  })
}
