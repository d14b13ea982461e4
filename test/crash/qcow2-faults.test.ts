// qcow2 over lower nodes that fail: for every lower call of random workloads an error, a torn write, a request that is stuck.

import { describe, expect, it } from 'vitest'
import { BDRV_FIX_ERRORS, BDRV_FIX_LEAKS } from '../../src/common/block-info.js'
import { type CrashBudget, faultWorkloads } from '../support/crash-budget.js'
import { amendments, emptying, preallocatedLengths, renamings, repairs } from '../support/qcow2-operations.js'
import { patternedBacking, type Qcow2TargetOptions, qcow2Target } from '../support/qcow2-target.js'

const NAMES = ['base', 'b'.repeat(700)]

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
  'changes of version and refcounts': {
    options: { clusterBits: 10, operations: amendments({ compat: '0.10' }, { compat: '1.1' }, { refcount_bits: 32 }) },
    budget: { workloads: 2, minCommands: 5, maxCommands: 7 },
  },
  'changes of length, and all of it dropped': {
    options: { resize: true, operations: [emptying, ...preallocatedLengths(40_960)] },
    budget: { workloads: 2, minCommands: 5, maxCommands: 7 },
  },
  'other names of its backing file': {
    options: { clusterBits: 13, open: { backing: null }, operations: renamings(...NAMES), backingNames: NAMES },
    budget: { workloads: 2, minCommands: 4, maxCommands: 6 },
  },
  repairs: {
    options: { size: 65_536, lazyRefcounts: true, operations: repairs(BDRV_FIX_LEAKS | BDRV_FIX_ERRORS) },
    budget: { workloads: 2, minCommands: 4, maxCommands: 6 },
  },
}

describe('every fault below qcow2 with', () => {
  it.each(Object.entries(VARIANTS))('%s', { timeout: 300_000 }, async (_name, { options, budget }) => {
    const summary = await faultWorkloads(qcow2Target(options), budget)
    expect(summary.runs).toBeGreaterThan(20 * budget.workloads)
    expect(summary.failedOperations).toBeGreaterThan(0)
  })
})
