// A ring between two threads, both on one processor: the example that shows it, timed. The C test of the Linux kernel that
// has the same shape is no program that one could install; what it did on a quiet machine stands in performance.md.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { judge, type Result, skipped, type Target } from '../result.js'
import { repository, runProgram } from '../support/process.js'
import { samplesOf } from '../support/statistics.js'

interface Report {
  count: number
  seconds: number
  driver: { notified: number }
  device: { notified: number }
}

const EXAMPLE = join(repository, 'build', 'examples', 'ring-parallel.js')
const COUNT = 10_000_000
const RATE: Target = { atLeast: 3_000_000 }
const NOTIFICATIONS: Target = { below: 1 }

const WAYS: { name: string; options: string[]; held: boolean }[] = [
  { name: 'event index', options: ['--eventidx'], held: true },
  { name: 'event index, indirect', options: ['--eventidx', '--indirect'], held: true },
  { name: 'neither', options: [], held: false },
  { name: 'packed, event index', options: ['--eventidx', '--packed'], held: false },
  { name: 'packed, event index, in order', options: ['--eventidx', '--packed', '--in-order'], held: false },
]

/** Title of the case. */
export const RING_PARALLEL = 'ring between two threads on one processor, 1 to 3 descriptors'

/** Times each way, `rounds` times. */
export async function runRingParallel(rounds: number, scale: number): Promise<Result[]> {
  const why = missing()
  const results: Result[] = []
  for (const { name, options, held } of WAYS) {
    const rate = held ? RATE : undefined
    if (why !== undefined) {
      results.push(skipped(RING_PARALLEL, name, '/s', rate, why))
      continue
    }
    const reports: Report[] = []
    for (let round = 0; round < rounds; round++) reports.push(await runOnce(options, COUNT * scale))
    const rates = reports.map(({ count, seconds }) => count / seconds)
    const notifications = reports.map(
      ({ count, driver, device }) => ((driver.notified + device.notified) * 100) / count,
    )
    results.push(line(name, '/s', rates, rate))
    results.push(line(`${name}: notifications`, 'per 100', notifications, held ? NOTIFICATIONS : undefined))
  }
  return results
}

async function runOnce(options: readonly string[], count: number): Promise<Report> {
  const args = ['-c', '0', process.execPath, EXAMPLE, '--json', '--count', String(count), ...options]
  return JSON.parse(await runProgram('taskset', args)) as Report
}

function line(name: string, unit: string, values: readonly number[], target: Target | undefined): Result {
  const ours = samplesOf(values)
  const result = { group: RING_PARALLEL, name, figure: ours.median, unit, verdict: judge(ours.median, target), ours }
  return target === undefined ? result : { ...result, target }
}

function missing(): string | undefined {
  if (!existsSync(EXAMPLE)) return 'the examples are not built: npm run examples'
  const found = (process.env.PATH ?? '').split(':').some((folder) => existsSync(join(folder, 'taskset')))
  return found ? undefined : 'taskset is not installed (Debian: util-linux)'
}
