// The real graph, the model beside it, and everything under way between them. Every completion of a disk goes through one
// scheduler; time is virtual; what happens next is the scheduler's choice alone.

import type { ErrnoName } from '../../common/errno.js'
import { BlockError } from '../../common/error.js'
import { throttleDriver } from '../../drivers/filters/throttle.js'
import { rawDriver } from '../../drivers/raw.js'
import type { BlockBackend } from '../../global-state/backend.js'
import { BlockGraph } from '../../global-state/graph.js'
import type { NodeState } from '../../global-state/node-state.js'
import type { BlockDriverState } from '../../io/block-node.js'
import type { DrainedSection } from '../../io/drained.js'
import { overlayDriver } from '../overlay-driver.js'
import { Controller } from '../storage/controlled.js'
import { settleMicrotasks, VirtualClock } from '../virtual-clock.js'
import { GraphModel, type ModelNode } from './graph-model.js'
import type { PendingRequest } from './requests.js'
import { StageLog, stagedDriver } from './staged-driver.js'

/** What the model needs of a scheduler; `fc.scheduler()` gives one, `replayScheduler` another. */
export interface ModelScheduler {
  schedule<T>(task: Promise<T>, label?: string): Promise<T>
  count(): number
  waitOne(): Promise<void>
  /** Ids of tasks in the order they were let go. */
  order(): number[]
}

/** A section that somebody holds, or waits for. */
export interface OpenSection {
  /** Undefined: all nodes. */
  nodes: readonly BlockDriverState[] | undefined
  /** Set once the wait is over. */
  section: DrainedSection | undefined
}

/** A change of the graph under way. */
export interface RunningEdit {
  what: string
  settled: boolean
  /** What came of it; `skipped`: there was nothing to do it to. */
  outcome: 'skipped' | 'done' | 'refused' | 'wrong'
}

/** A stall is far away in virtual time: nobody is to meet one. */
export const STALL_AFTER_MS = 1e9

/** A graph, its model, and what is under way. */
export class ModelWorld {
  readonly scheduler: ModelScheduler
  readonly clock = new VirtualClock()
  readonly log = new StageLog()
  readonly model = new GraphModel()
  readonly graph: BlockGraph
  /** Every node there ever was, by name. */
  readonly everNodes = new Map<string, NodeState>()
  readonly backends = new Map<string, BlockBackend>()
  readonly sections: OpenSection[] = []
  readonly edits: RunningEdit[] = []
  readonly requests = new Set<PendingRequest>()
  /** A section of the main loop changes the graph now: the model may lag behind. */
  editing = false
  submitted = 0
  finished = 0
  /** Codes with which the next calls of disks fail, and how many have. */
  readonly injections: ErrnoName[] = []
  injected = 0
  /** What went wrong outside of the step that is checked, such as in a completion. */
  readonly faults: string[] = []
  nextId = 0
  /** Backends that are losing their medium: what they hold may find none before the model knows. */
  readonly losing = new Set<string>()
  /** Rises with each step of the scheduler and each command. */
  steps = 0

  constructor(scheduler: ModelScheduler) {
    this.scheduler = scheduler
    const controller = new Controller((task, label) => this.#schedule(task, label))
    const drivers = [stagedDriver(controller, this.log), overlayDriver, rawDriver, throttleDriver]
    this.graph = new BlockGraph({ drivers, clock: this.clock, stallAfterMs: STALL_AFTER_MS })
    this.graph.trace.listen((name, event) => {
      const refused = 'error' in event && (event.error as { code?: unknown }).code === 'EACCES'
      if (name === 'background-error' && !refused) this.faults.push(`background error: ${JSON.stringify(event)}`)
    })
  }

  /** Lets one scheduled thing happen, and all that follows without another; false where nothing can. */
  async step(): Promise<boolean> {
    this.steps++
    const moved = await this.#advance()
    await settleMicrotasks()
    return moved
  }

  get busyEdits(): RunningEdit[] {
    return this.edits.filter((edit) => !edit.settled)
  }

  /**
   * The node that a number of a command stands for. Three numbers in four are taken among those that `fits`, so that enough
   * commands are legal; the fourth among all, so that enough are not.
   */
  pickNode(index: number, fits: (node: ModelNode) => boolean = () => true): string | undefined {
    const all = [...this.model.nodes.values()]
    const choice = index % 4 === 0 ? all : all.filter(fits)
    return choice[(index >> 2) % Math.max(choice.length, 1)]?.name
  }

  node(name: string): NodeState {
    return this.graph.node(name)
  }

  async #advance(): Promise<boolean> {
    if (this.scheduler.count() > 0) {
      await this.scheduler.waitOne()
      return true
    }
    const next = this.clock.nextTimerAt
    if (next === undefined || next - this.clock.now() >= STALL_AFTER_MS / 2) return false
    await this.clock.advance(next - this.clock.now())
    return true
  }

  async #schedule<T>(task: Promise<T>, label: string): Promise<T> {
    const result = await this.scheduler.schedule(task, label)
    const code = this.injections.shift()
    if (code === undefined) return result
    this.injected++
    throw new BlockError(code, `injected into ${label}`)
  }
}
