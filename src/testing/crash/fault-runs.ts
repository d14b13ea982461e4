// The same workloads over lower nodes that do damage: for every n, the n-th lower call fails, fails after a part of its effect, or
// stays in flight until it is released. Whatever the guest was told, the promise holds afterwards, also after a crash; a flush that
// was acknowledged had nothing to hide; no request is left in flight, and the image closes and opens again.

import { BlockError } from '../../common/error.js'
import { BDRV_SECTOR_SIZE } from '../../common/limits.js'
import { type Fault, FaultPlan, type FaultRule } from '../storage/faults.js'
import { type CrashChoice, coarseChoices } from './crash-choices.js'
import type { CrashCommand } from './crash-commands.js'
import { type CrashPoint, crashPoints } from './crash-points.js'
import { CrashFailure } from './crash-report.js'
import { crashState } from './crash-state.js'
import type { CrashTarget } from './crash-target.js'
import { CrashWorld, imagesOf, storesOf } from './crash-world.js'
import { GuestOracle } from './guest-oracle.js'
import { seededRandom } from './seeded-random.js'
import { describeError, verifyState } from './verify-state.js'

/** What befalls a lower call. `torn` befalls writes only: the first sector is written, then they fail. */
export type FaultKind = 'error' | 'torn' | 'stuck'

export const FAULT_KINDS: readonly FaultKind[] = ['error', 'torn', 'stuck']

/** How fault runs are done. */
export interface FaultRunOptions {
  /** Decides the extra write of each verified state. */
  seed?: number
  kinds?: readonly FaultKind[]
}

/** What fault runs did. */
export interface FaultSummary {
  /** Workloads run, one per fault. */
  runs: number
  /** States verified. */
  states: number
  /** Guest operations that were told of an error. */
  failedOperations: number
}

/** Runs `commands` once for every kind of fault and every lower call it may befall. Throws a {@link CrashFailure}. */
export async function runFaults(
  target: CrashTarget,
  commands: readonly CrashCommand[],
  options: FaultRunOptions = {},
): Promise<FaultSummary> {
  const summary: FaultSummary = { runs: 0, states: 0, failedOperations: 0 }
  for (const kind of options.kinds ?? FAULT_KINDS) {
    for (let nth = 1; ; nth++) {
      const run = new FaultRun(target, commands, kind, nth, options.seed ?? 0, summary)
      // Behind the last call nothing is struck, and the run was one without a fault.
      if (!(await run.run())) break
      summary.runs++
    }
  }
  return summary
}

class FaultRun {
  readonly #target: CrashTarget
  readonly #commands: readonly CrashCommand[]
  readonly #kind: FaultKind
  readonly #nth: number
  readonly #seed: number
  readonly #summary: FaultSummary

  constructor(
    target: CrashTarget,
    commands: readonly CrashCommand[],
    kind: FaultKind,
    nth: number,
    seed: number,
    summary: FaultSummary,
  ) {
    this.#target = target
    this.#commands = commands
    this.#kind = kind
    this.#nth = nth
    this.#seed = seed
    this.#summary = summary
  }

  /** Whether the fault struck. */
  async run(): Promise<boolean> {
    const plan = new FaultPlan()
    const world = await CrashWorld.create(this.#target, plan)
    const fault = plan.add(ruleOf(this.#kind, this.#nth))
    for (const command of [...this.#commands, { type: 'flush' } as const]) await this.#perform(world, command, fault)
    this.#checkIdle(world)
    await this.#verifyCrash(world)
    await this.#close(world, fault)
    await this.#verifyClosed(world)
    this.#summary.failedOperations += world.log.events.filter(({ what }) => what === 'failed').length
    return fault.hits > 0
  }

  /** Carries out a command, whatever error it meets. One that is stuck sees a crash pass by, and then goes on. */
  async #perform(world: CrashWorld, command: CrashCommand, fault: Fault): Promise<void> {
    const pending = this.#attempt(world, command)
    await Promise.race([pending, fault.stuckOnce])
    if (fault.stuck > 0) {
      await this.#verifyCrash(world)
      fault.release()
    }
    await pending
  }

  async #attempt(world: CrashWorld, command: CrashCommand): Promise<void> {
    try {
      if (!world.isOpen) await world.open()
      await world.perform(command, () => {})
    } catch (error) {
      throw this.#failure(world, `${JSON.stringify(command)}: ${describeError(error)}`)
    }
  }

  #checkIdle(world: CrashWorld): void {
    const { disk } = world
    const busy = [...disk.graph.nodes.values()].filter(({ state }) => state.inFlight > 0)
    if (busy.length === 0 && disk.backend.root.inFlight === 0) return
    const names = busy.map(({ nodeName, state }) => `${nodeName}: ${state.inFlight}`)
    throw this.#failure(world, `requests are left in flight: ${names.join(', ')}`)
  }

  /** An error of the last flush is reported; what it leaves behind is judged like any other state. */
  async #close(world: CrashWorld, fault: Fault): Promise<void> {
    const closing = world.close().catch((error: unknown) => {
      if (!(error instanceof BlockError)) throw this.#failure(world, `close: ${describeError(error)}`)
    })
    await Promise.race([closing, fault.stuckOnce])
    fault.release()
    await closing
  }

  /** Nothing or all of what is uncertain is lost. */
  async #verifyCrash(world: CrashWorld): Promise<void> {
    const oracle = new GuestOracle(world.log, world.content)
    oracle.advance(Number.POSITIVE_INFINITY)
    let last: CrashPoint | undefined
    for (const point of crashPoints(world.recording, world.initial)) last = point
    if (last === undefined) return
    for (const choice of coarseChoices(last.window.length)) {
      this.#summary.states++
      const stores = storesOf(crashState(last, choice))
      const random = seededRandom(this.#seed)
      const problem = await verifyState(this.#target, stores, (view) => oracle.judge(view), random)
      if (problem !== undefined) throw this.#failure(world, problem, { point: last, choice })
    }
  }

  async #verifyClosed(world: CrashWorld): Promise<void> {
    const oracle = new GuestOracle(world.log, world.content)
    oracle.advance(Number.POSITIVE_INFINITY)
    this.#summary.states++
    const stores = storesOf(imagesOf(world.stores))
    const problem = await verifyState(this.#target, stores, (view) => oracle.judge(view), seededRandom(this.#seed))
    if (problem !== undefined) throw this.#failure(world, problem)
  }

  #failure(
    { log }: CrashWorld,
    problem: string,
    where: { point?: CrashPoint; choice?: CrashChoice } = {},
  ): CrashFailure {
    const { point, choice } = where
    return new CrashFailure(
      { target: this.#target, log, ...(point === undefined ? {} : { point }) },
      {
        seed: this.#seed,
        commands: this.#commands,
        problem,
        fault: `lower call ${this.#nth}: ${this.#kind}`,
        ...(choice === undefined ? {} : { choice }),
      },
    )
  }
}

function ruleOf(kind: FaultKind, nth: number): FaultRule {
  switch (kind) {
    case 'error':
      return { nth, fail: 'EIO', later: nth % 2 === 0 }
    case 'torn':
      return { nth, on: ['write', 'write-zeroes'], tearAfter: BDRV_SECTOR_SIZE, fail: 'EIO' }
    case 'stuck':
      return { nth, stick: true }
  }
}
