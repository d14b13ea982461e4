// How much crash tests look at. BLOCKGRAPH_CRASH_SEED chooses other workloads, BLOCKGRAPH_CRASH_SCALE more or fewer of them, and
// BLOCKGRAPH_CRASH_SHRINK=off leaves failing ones as long as they are.

import * as fc from 'fast-check'
import { type CrashCommandConstraints, crashCommands } from '../../src/testing/crash/crash-commands.js'
import { crashProperty } from '../../src/testing/crash/crash-property.js'
import type { CrashSummary } from '../../src/testing/crash/crash-run.js'
import type { CrashTarget } from '../../src/testing/crash/crash-target.js'
import { type FaultSummary, runFaults } from '../../src/testing/crash/fault-runs.js'

const SEED = Number(process.env.BLOCKGRAPH_CRASH_SEED ?? 20)
const SCALE = Number(process.env.BLOCKGRAPH_CRASH_SCALE ?? 1)
const SHRINK = process.env.BLOCKGRAPH_CRASH_SHRINK !== 'off'

/** So many workloads of one target. */
export interface CrashBudget extends CrashCommandConstraints {
  workloads: number
  /** 80 by default. */
  statesPerPoint?: number
}

/** Runs workloads and verifies what crashes leave; what was looked at in all. */
export async function crashWorkloads(target: CrashTarget, budget: CrashBudget): Promise<CrashSummary> {
  const { workloads, statesPerPoint = 80, ...constraints } = budget
  const total: CrashSummary = { points: 0, states: 0, repeated: 0, skipped: 0, largestWindow: 0 }
  const onRun = (summary: CrashSummary) => {
    total.points += summary.points
    total.states += summary.states
    total.repeated += summary.repeated
    total.skipped += summary.skipped
    total.largestWindow = Math.max(total.largestWindow, summary.largestWindow)
  }
  const property = crashProperty(target, { statesPerPoint, onRun, ...constraints })
  await fc.assert(property, { seed: SEED, numRuns: runsOf(workloads), endOnFailure: !SHRINK })
  return total
}

/** Runs workloads once for every fault. */
export async function faultWorkloads(target: CrashTarget, budget: CrashBudget): Promise<FaultSummary> {
  const { workloads, statesPerPoint: _, ...constraints } = budget
  const total: FaultSummary = { runs: 0, states: 0, failedOperations: 0 }
  const numRuns = runsOf(workloads)
  for (const [index, commands] of fc.sample(crashCommands(target, constraints), { seed: SEED, numRuns }).entries()) {
    const summary = await runFaults(target, commands, { seed: index })
    total.runs += summary.runs
    total.states += summary.states
    total.failedOperations += summary.failedOperations
  }
  return total
}

function runsOf(workloads: number): number {
  return Math.max(Math.round(workloads * SCALE), 1)
}
