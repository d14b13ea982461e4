// The graph against its model: 2,000 random runs in every test run, and every run that once failed.

import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { graphCommands } from '../../src/testing/arbitraries/graph-commands.js'
import { graphModelProperty } from '../../src/testing/model/property.js'
import { readyTest, replayGraphRun, replayScheduler, runGraphModel } from '../../src/testing/model/run.js'
import { regressions } from './graph-model-regressions.js'

/** Runs of one block; blocks have seeds of their own, so that a report names a short one. */
const RUNS = 250
/** Set to explore: another seed each time. A failure prints the seed. */
const explore = process.env.BLOCKGRAPH_EXPLORE
const firstSeed = explore === undefined ? 20_000 : explore === '' ? Date.now() & 0x7fffffff : Number(explore)
/** Planted faults need no smallest example. */
const shrink = process.env.BLOCKGRAPH_MODEL_SHRINK !== 'off'
const scale = Number(process.env.BLOCKGRAPH_MODEL_SCALE ?? '1')

describe('graph model', () => {
  it.each([0, 1, 2, 3, 4, 5, 6, 7].map((block) => firstSeed + block))(
    `holds every invariant in ${RUNS} random runs, seed %i`,
    async (seed) => {
      const seen = { requests: 0, edits: 0, steps: 0, runs: 0 }
      const property = graphModelProperty((world) => {
        seen.runs++
        seen.requests += world.submitted
        seen.edits += world.edits.length
        seen.steps += world.steps
      })
      await fc.assert(property, { seed, numRuns: Math.ceil(RUNS * scale), endOnFailure: !shrink })
      // Runs in which nothing happens prove nothing.
      expect(seen.requests).toBeGreaterThan(seen.runs * 3)
      expect(seen.edits).toBeGreaterThan(seen.runs * 8)
      expect(seen.steps).toBeGreaterThan(seen.runs * 40)
    },
    120_000,
  )
})

describe('runs that failed once', () => {
  it.each(regressions)('$why', ({ commands, order }) => replayGraphRun(commands, order))
  it('are replayed from what a failure prints', async () => {
    const world: { order: number[] } = { order: [] }
    const commands = fc.sample(graphCommands(), { seed: 1, numRuns: 1 })[0] ?? []
    const first = replayScheduler([])
    await runGraphModel(commands, first)
    world.order = first.order()
    const second = replayScheduler(world.order)
    await runGraphModel(commands, second)
    expect(second.order()).toEqual(world.order)
    expect(readyTest(commands, world.order)).toContain('replayGraphRun(')
  })
})
