// Cases without a peer: a worker prints numbers by name, once a round in a fresh process; each line is made of one.

import { judge, type Result, type Target } from './result.js'
import { runWorker } from './support/process.js'
import { type Samples, samplesOf } from './support/statistics.js'

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
  const rows: Record<string, number>[] = []
  for (let round = 0; round < rounds; round++) rows.push(await runWorker(measured.worker, measured.args))
  return measured.measures.map((measure) => {
    const samples = samplesOf(rows.map((row) => row[measure.key] ?? Number.NaN))
    return resultOf(measured.group, measure, samples)
  })
}

function resultOf(group: string, measure: Measure, ours: Samples): Result {
  const { name, unit, target } = measure
  const figure = ours.median
  const result: Result = { group, name, figure, unit, verdict: judge(figure, target), ours }
  return target === undefined ? result : { ...result, target }
}
