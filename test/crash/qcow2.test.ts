// qcow2 on a host that stops at any moment: every state that a crash may leave behind random workloads keeps the promises of
// docs/internals/crash-consistency.md.

import { describe, expect, it } from 'vitest'
import { BDRV_FIX_ERRORS, BDRV_FIX_LEAKS } from '../../src/common/block-info.js'
import { type CrashBudget, crashWorkloads } from '../support/crash-budget.js'
import {
  amendedLength,
  amendments,
  emptying,
  preallocatedLengths,
  renamings,
  repairs,
} from '../support/qcow2-operations.js'
import { patternedBacking, type Qcow2TargetOptions, qcow2Target } from '../support/qcow2-target.js'

/** They end in different sectors of the first cluster. */
const NAMES = ['base', 'b'.repeat(700), `${'c'.repeat(500)}/base`]

interface Variant {
  options: Qcow2TargetOptions
  budget: CrashBudget
}

const VARIANTS: Readonly<Record<string, Variant>> = {
  'the smallest clusters': { options: { size: 262_144 }, budget: { workloads: 16 } },
  'clusters of four sectors': {
    options: { size: 65_536, clusterBits: 11, open: { 'pass-discard-other': true } },
    budget: { workloads: 16 },
  },
  'refcounts of 1 bit': { options: { size: 65_536, refcountOrder: 0, compressed: false }, budget: { workloads: 8 } },
  'a refcount block that is nearly full': {
    options: { size: 65_536, refcountOrder: 6, leakedClusters: 52 },
    budget: { workloads: 12 },
  },
  'a refcount table that is nearly full': {
    // It names 64 blocks of 64 clusters each.
    options: { refcountOrder: 6, leakedClusters: 4025 },
    budget: { workloads: 5, statesPerPoint: 25 },
  },
  'lazy refcounts': { options: { size: 65_536, lazyRefcounts: true }, budget: { workloads: 14 } },
  snapshots: {
    options: { snapshots: true, clusterBits: 10 },
    budget: { workloads: 20, minCommands: 6, statesPerPoint: 50 },
  },
  'snapshots of version 2': {
    options: { snapshots: true, version: 2, clusterBits: 10 },
    budget: { workloads: 6, minCommands: 6, statesPerPoint: 50 },
  },
  'snapshots and lazy refcounts': {
    options: { snapshots: true, lazyRefcounts: true },
    budget: { workloads: 6, statesPerPoint: 50 },
  },
  'snapshots of subclusters over a backing file, refcounts of 2 bits': {
    options: {
      size: 131_072,
      clusterBits: 14,
      extendedL2: true,
      refcountOrder: 1,
      backing: patternedBacking(100_000),
      snapshots: true,
    },
    budget: { workloads: 4, statesPerPoint: 30 },
  },
  'persistent bitmaps': { options: { bitmaps: true }, budget: { workloads: 14 } },
  'autoclear bits of others': { options: { autoclear: 2n ** 40n }, budget: { workloads: 4 } },
  'changes of length': { options: { resize: true }, budget: { workloads: 12, statesPerPoint: 50 } },
  'version 2': { options: { size: 65_536, version: 2 }, budget: { workloads: 8 } },
  'a backing file': {
    options: { size: 65_536, clusterBits: 10, backing: patternedBacking(40_000) },
    budget: { workloads: 10 },
  },
  'an external data file': { options: { dataFile: 'plain' }, budget: { workloads: 8 } },
  subclusters: { options: { size: 131_072, clusterBits: 14, extendedL2: true }, budget: { workloads: 8 } },
  'changes of version, of what comes with it and of length': {
    options: {
      clusterBits: 10,
      operations: [
        ...amendments({ compat: '0.10' }, { compat: '1.1' }, { lazy_refcounts: true }, { lazy_refcounts: false }),
        amendedLength(20_480),
        amendedLength(40_960),
      ],
    },
    budget: { workloads: 12, minCommands: 6, statesPerPoint: 50 },
  },
  'changes of the width of refcounts': {
    options: { operations: amendments({ refcount_bits: 1 }, { refcount_bits: 16 }, { refcount_bits: 64 }) },
    budget: { workloads: 8, minCommands: 6, statesPerPoint: 50 },
  },
  'other names of its backing file, and versions': {
    options: {
      clusterBits: 13,
      open: { backing: null },
      operations: [...renamings(...NAMES), ...amendments({ compat: '0.10' }, { compat: '1.1' })],
      backingNames: NAMES,
    },
    budget: { workloads: 6, statesPerPoint: 50 },
  },
  'other names, and bitmaps': {
    options: {
      clusterBits: 13,
      open: { backing: null },
      bitmaps: true,
      operations: renamings(...NAMES),
      backingNames: NAMES,
    },
    budget: { workloads: 6, statesPerPoint: 50 },
  },
  'all of it dropped': { options: { operations: [emptying] }, budget: { workloads: 10, statesPerPoint: 50 } },
  'growth with places': {
    options: { clusterBits: 10, resize: true, operations: preallocatedLengths(49_152, 65_536) },
    budget: { workloads: 8, statesPerPoint: 50 },
  },
  'repairs of what is sound': {
    options: { lazyRefcounts: true, operations: repairs(BDRV_FIX_LEAKS, BDRV_FIX_LEAKS | BDRV_FIX_ERRORS) },
    budget: { workloads: 4, statesPerPoint: 30 },
  },
}

describe('a crash of qcow2 with', () => {
  let states = 0

  it.each(Object.entries(VARIANTS))('%s', { timeout: 300_000 }, async (_name, { options, budget }) => {
    const summary = await crashWorkloads(qcow2Target(options), budget)
    states += summary.states
    expect(summary.states).toBeGreaterThan(summary.points)
  })

  it('any of these was looked at in 5,000 states', () => {
    expect(states).toBeGreaterThanOrEqual(5000)
  })
})
