// Graph edits and drains in graphs of 10 to 10,000 nodes. Every edit touches the same few nodes, so its time must not grow
// with the graph: held to at most twice the time in the smallest one, which allows for caches and garbage collection.

import { judge, type Result } from '../result.js'
import { runWorker } from '../support/process.js'
import { medianOf, samplesOf } from '../support/statistics.js'

const SIZES = [10, 100, 1_000, 10_000]
const MOST_GROWTH = 2

const SHAPES = [
  { shape: 'disks', where: 'one of many disks' },
  { shape: 'chain', where: 'top of one chain' },
]

const ACTS = [
  { key: 'editUs', name: 'insert and drop a filter' },
  { key: 'drainUs', name: 'drain' },
]

/** All sizes in turn, `rounds` times, each in a process of its own. */
export async function runGraphScale(rounds: number): Promise<Result[]> {
  const results: Result[] = []
  for (const { shape, where } of SHAPES) {
    const times = new Map<string, number[]>()
    for (let round = 0; round < rounds; round++) {
      for (const size of SIZES) {
        const sample = await runWorker('graph-scale', [shape, String(size)])
        for (const { key } of ACTS) {
          const id = `${key} ${size}`
          times.set(id, [...(times.get(id) ?? []), sample[key] ?? Number.NaN])
        }
      }
    }
    for (const act of ACTS) results.push(...growth(`${act.name}, ${where}`, act.key, times))
  }
  return results
}

function growth(group: string, key: string, times: ReadonlyMap<string, readonly number[]>): Result[] {
  const samples = SIZES.map((size) => samplesOf(times.get(`${key} ${size}`) ?? [Number.NaN]))
  const lines = SIZES.map((size, index): Result => {
    const ours = samples[index] ?? samplesOf([Number.NaN])
    return { group, name: `${size} nodes`, figure: ours.median, unit: 'us', verdict: 'shown', ours }
  })
  const figure = medianOf(samples.at(-1)?.values ?? []) / medianOf(samples[0]?.values ?? [])
  const target = { below: MOST_GROWTH }
  const name = `${SIZES.at(-1)} nodes / ${SIZES[0]} nodes`
  return [...lines, { group, name, figure, unit: 'x', target, verdict: judge(figure, target) }]
}
