// The crash run: a workload, every crash point of it, every state a crash may leave there, each verified once. First the coarse
// states of all points, which find most, then the rest.

import { partCount } from './change.js'
import { type CrashChoice, coarseChoices, crashChoices } from './crash-choices.js'
import type { CrashCommand } from './crash-commands.js'
import { type CrashPoint, crashPoints } from './crash-points.js'
import { CrashFailure } from './crash-report.js'
import { crashState, stateKey } from './crash-state.js'
import type { CrashTarget } from './crash-target.js'
import { CrashWorld, imagesOf, storesOf } from './crash-world.js'
import { GuestOracle } from './guest-oracle.js'
import { minimalChoice } from './minimal-choice.js'
import type { SectorImage } from './sector-image.js'
import { seededRandom } from './seeded-random.js'
import { verifyState } from './verify-state.js'

/** How a crash run is done. */
export interface CrashRunOptions {
  /** Decides every random choice of the run. */
  seed?: number
  /** States looked at per crash point; beyond it a random part of the choices is. Default: all. */
  statesPerPoint?: number
}

/** What a crash run looked at. */
export interface CrashSummary {
  points: number
  /** States verified; no two of them were the same question. */
  states: number
  /** Choices that led to a state verified before. */
  repeated: number
  /** Choices left out by `statesPerPoint`. */
  skipped: number
  /** Changes in the largest window. */
  largestWindow: number
}

/** Runs `commands` on a new image of `target` and verifies the states of every crash. Throws a {@link CrashFailure}. */
export async function runCrash(
  target: CrashTarget,
  commands: readonly CrashCommand[],
  options: CrashRunOptions = {},
): Promise<CrashSummary> {
  const world = await CrashWorld.create(target)
  for (const command of commands) await world.perform(command)
  await world.close()
  const run = new CrashRun(world, commands, options)
  await run.verifyEnd()
  for (const coarse of [true, false]) await run.verifyPoints(coarse)
  return run.summary
}

class CrashRun {
  readonly summary: CrashSummary = { points: 0, states: 0, repeated: 0, skipped: 0, largestWindow: 0 }
  readonly #world: CrashWorld
  readonly #commands: readonly CrashCommand[]
  readonly #seed: number
  readonly #statesPerPoint: number
  readonly #seen = new Set<string>()

  constructor(world: CrashWorld, commands: readonly CrashCommand[], options: CrashRunOptions) {
    this.#world = world
    this.#commands = commands
    this.#seed = options.seed ?? 0
    this.#statesPerPoint = options.statesPerPoint ?? Number.POSITIVE_INFINITY
  }

  /** What was closed in peace holds everything, without leaks. */
  async verifyEnd(): Promise<void> {
    const oracle = this.#oracle()
    oracle.advance(Number.POSITIVE_INFINITY)
    const { target, stores } = this.#world
    const closed = storesOf(imagesOf(stores))
    const problem = await verifyState(target, closed, (view) => oracle.judgeLive(view), seededRandom(this.#seed), {
      noLeaks: true,
    })
    if (problem === undefined) return
    throw new CrashFailure({ target, log: this.#world.log }, { seed: this.#seed, commands: this.#commands, problem })
  }

  async verifyPoints(coarse: boolean): Promise<void> {
    const oracle = this.#oracle()
    const random = seededRandom(this.#seed)
    for (const point of crashPoints(this.#world.recording, this.#world.initial)) {
      oracle.advance(point.serial)
      if (coarse) {
        this.summary.points++
        this.summary.largestWindow = Math.max(this.summary.largestWindow, point.window.length)
      }
      await this.#verifyPoint(point, oracle, coarse ? coarseChoices(point.window.length) : this.#choices(point, random))
    }
  }

  #oracle(): GuestOracle {
    return new GuestOracle(this.#world.log, this.#world.content)
  }

  /** All choices of a point, or a random part of them. */
  #choices(point: CrashPoint, random: (below: number) => number): CrashChoice[] {
    const choices = [
      ...crashChoices(
        point.window.map(({ entry }) => partCount(entry)),
        random,
      ),
    ]
    const limit = this.#statesPerPoint
    while (choices.length > limit) {
      const index = random(choices.length)
      const last = choices.pop()
      if (last !== undefined && index < choices.length) choices[index] = last
      this.summary.skipped++
    }
    return choices
  }

  async #verifyPoint(point: CrashPoint, oracle: GuestOracle, choices: readonly CrashChoice[]): Promise<void> {
    for (const choice of choices) {
      const images = crashState(point, choice)
      const key = `${oracle.generation}/${stateKey(images)}`
      if (this.#seen.has(key)) {
        this.summary.repeated++
        continue
      }
      this.#seen.add(key)
      this.summary.states++
      const problem = await this.#verify(oracle, images)
      if (problem !== undefined) throw await this.#failure(point, oracle, choice, problem)
    }
  }

  #verify(oracle: GuestOracle, images: ReadonlyMap<string, SectorImage>): Promise<string | undefined> {
    // The extra write of a state depends on nothing but the seed, so that a state fails alone as it failed in the run.
    const random = seededRandom(this.#seed)
    return verifyState(this.#world.target, storesOf(images), (view) => oracle.judge(view), random)
  }

  async #failure(point: CrashPoint, oracle: GuestOracle, choice: CrashChoice, problem: string): Promise<CrashFailure> {
    const fails = (other: CrashChoice) => this.#verify(oracle, crashState(point, other))
    const minimal = await minimalChoice(point, choice, problem, fails)
    const { target, log } = this.#world
    return new CrashFailure({ target, log, point }, { seed: this.#seed, commands: this.#commands, ...minimal })
  }
}
