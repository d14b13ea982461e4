// qcow2 over lower nodes that fail: for every lower call of random workloads an error, a torn write, a request that is stuck.

import { describe, expect, it } from 'vitest'
import { type CrashBudget, faultWorkloads } from '../support/crash-budget.js'
import { patternedBacking, type Qcow2TargetOptions, qcow2Target } from '../support/qcow2-target.js'

interface Variant {
  options: Qcow2TargetOptions
  budget: CrashBudget
}

const VARIANTS: Readonly<Record<string, Variant>> = {
  'the smallest clusters': { options: { size: 65_536 }, budget: { workloads: 4, minCommands: 4, maxCommands: 6 } },
  'refcounts of 64 bits': {
    options: { size: 98_304, refcountOrder: 6 },
    budget: { workloads: 3, minCommands: 4, maxCommands: 6 },
  },
  'a backing file': {
    options: { clusterBits: 10, backing: patternedBacking(20_000) },
    budget: { workloads: 3, minCommands: 4, maxCommands: 6 },
  },
  snapshots: {
    options: { size: 65_536, snapshots: true },
    budget: { workloads: 2, minCommands: 5, maxCommands: 6 },
  },
  bitmaps: { options: { size: 65_536, bitmaps: true }, budget: { workloads: 2, minCommands: 4, maxCommands: 6 } },
  'an external data file': { options: { dataFile: 'plain' }, budget: { workloads: 2, maxCommands: 6 } },
}

describe('every fault below qcow2 with', () => {
  it.each(Object.entries(VARIANTS))('%s', { timeout: 300_000 }, async (_name, { options, budget }) => {
    const summary = await faultWorkloads(qcow2Target(options), budget)
    expect(summary.runs).toBeGreaterThan(20 * budget.workloads)
    expect(summary.failedOperations).toBeGreaterThan(0)
  })
})
