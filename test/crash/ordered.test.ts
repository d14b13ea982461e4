// The harness on a small format: it finds nothing where every rule of order is kept, and finds each rule that is not.

import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { crashCommands } from '../../src/testing/crash/crash-commands.js'
import { crashProperty } from '../../src/testing/crash/crash-property.js'
import { CrashFailure } from '../../src/testing/crash/crash-report.js'
import { runCrash } from '../../src/testing/crash/crash-run.js'
import type { CrashTarget } from '../../src/testing/crash/crash-target.js'
import { runFaults } from '../../src/testing/crash/fault-runs.js'
import { ALL_RULES, type OrderRules, orderedTarget } from '../support/ordered-format.js'

const BYTES = 16_384
const BUDGET = 40

async function failureOf(run: () => Promise<unknown>): Promise<CrashFailure | undefined> {
  try {
    await run()
    return undefined
  } catch (error) {
    if (error instanceof CrashFailure) return error
    throw error
  }
}

/** The first failure of so many workloads. */
async function firstFailure(
  target: CrashTarget,
  run: (commands: readonly Parameters<typeof runCrash>[1][number][], seed: number) => Promise<unknown>,
): Promise<CrashFailure | undefined> {
  const workloads = fc.sample(crashCommands(target, { maxCommands: 6 }), { seed: 11, numRuns: BUDGET })
  for (const [seed, commands] of workloads.entries()) {
    const failure = await failureOf(() => run(commands, seed))
    if (failure !== undefined) return failure
  }
  return undefined
}

describe('a format that keeps its rules', () => {
  it('survives every crash', { timeout: 120_000 }, async () => {
    let states = 0
    await fc.assert(
      crashProperty(orderedTarget(BYTES), {
        maxCommands: 8,
        onRun: (summary) => {
          states += summary.states
        },
      }),
      { numRuns: 10 },
    )
    expect(states).toBeGreaterThan(100)
  })

  it('survives every fault of a lower node', { timeout: 120_000 }, async () => {
    const target = orderedTarget(BYTES)
    let runs = 0
    for (const [seed, commands] of fc.sample(crashCommands(target, { maxCommands: 6 }), 5).entries()) {
      runs += (await runFaults(target, commands, { seed })).runs
    }
    expect(runs).toBeGreaterThan(20)
  })
})

describe('a rule that is switched off is found', () => {
  const crashRules = Object.keys(ALL_RULES).filter((rule) => rule !== 'errorPoisons') as (keyof OrderRules)[]

  it.each(crashRules)('%s', { timeout: 120_000 }, async (rule) => {
    const target = orderedTarget(BYTES, { [rule]: false })
    const failure = await firstFailure(target, (commands, seed) => runCrash(target, commands, { seed }))
    expect(failure).toBeInstanceOf(CrashFailure)
    const { commands, seed, choice, problem } = failure?.details ?? {}
    // It fails again from what the report says, and loses little.
    const again = await failureOf(() => runCrash(target, commands ?? [], { seed: seed ?? 0 }))
    expect([again?.details.problem, again?.details.choice]).toEqual([problem, choice])
    expect(choice?.kept.filter((kept) => kept !== true).length).toBeLessThanOrEqual(2)
  })

  it('errorPoisons', { timeout: 120_000 }, async () => {
    const target = orderedTarget(BYTES, { errorPoisons: false })
    const failure = await firstFailure(target, (commands, seed) => runFaults(target, commands, { seed }))
    expect(failure?.details.fault).toMatch(/^lower call \d+: (error|torn)$/)
  })
})
