// Drained sections. Inside one, nothing is in flight at its nodes and their ancestors, and nothing new comes from outside:
// roots hold their requests, busy clients come to rest. A begin quiesces upwards, then waits; an end never waits.
// Begun by global state, jobs, devices and exports, never by a driver's I/O half.

import { assert } from '../common/assert.js'
import type { Timer } from '../common/clock.js'
import type { AsyncContext } from '../common/context-tracker.js'
import { BlockError } from '../common/error.js'
import { ancestorsOf, busyReason, describeStall } from './ancestors.js'
import type { BlockDriverState } from './block-node.js'
import type { DrainWaiter, IoEnvironment } from './environment.js'
import { Expedition } from './expedite.js'
import { beginQuiesce, endQuiesce } from './quiesce.js'

export { beginQuiesce, edgeLinked, edgeUnlinking, endQuiesce } from './quiesce.js'

/** How a drain waits. */
export interface DrainOptions {
  /** Ends the wait with ECANCELED and undoes the begin. */
  signal?: AbortSignal | undefined
  /** Who waits, for stall reports. */
  label?: string | undefined
}

/** An open drained section. It covers its nodes and all their ancestors. */
export class DrainedSection {
  readonly nodes: readonly BlockDriverState[]
  readonly #context: AsyncContext | undefined
  #ended = false

  /** The nodes have been quiesced and are idle: only {@link DrainedSection.begin} and drain-all can say so. */
  protected constructor(nodes: readonly BlockDriverState[], context?: AsyncContext) {
    this.nodes = nodes
    this.#context = context
    if (context === undefined) return
    context.openSections ??= new Set()
    context.openSections.add(this)
  }

  /** Quiesces `list` and waits until nothing is in flight there. See {@link drainedNodes}. */
  static async begin(list: Iterable<BlockDriverState>, options: DrainOptions = {}): Promise<DrainedSection> {
    const nodes = [...new Set(list)]
    assert(nodes.length > 0, 'a drained section needs a node')
    const environment = environmentOf(nodes)
    const context = environment.tracker?.current()
    refuseInsideRequest(environment, nodes, context)
    beginQuiesce(nodes)
    try {
      await waitUntilIdle(nodes, options)
    } catch (error) {
      endQuiesce(nodes)
      throw error
    }
    if (environment.trace.active) environment.trace.emit('drain-begin', { nodes: namesOf(nodes) })
    return new DrainedSection(nodes, context)
  }

  get ended(): boolean {
    return this.#ended
  }

  /** Whether nothing is in flight at `node` thanks to this section: it is one of its nodes or an ancestor of one. */
  covers(node: BlockDriverState): boolean {
    if (this.#ended) return false
    return this.nodes.includes(node) || ancestorsOf(this.nodes).has(node)
  }

  /** Ends the section; never waits. Asserts that it has not ended. */
  end(): void {
    this.markEnded()
    endQuiesce(this.nodes)
    const { trace } = environmentOf(this.nodes)
    if (trace.active) trace.emit('drain-end', { nodes: namesOf(this.nodes) })
  }

  [Symbol.dispose](): void {
    if (!this.#ended) this.end()
  }

  protected markEnded(): void {
    assert(!this.#ended, 'a drained section ends twice')
    this.#ended = true
    this.#context?.openSections?.delete(this)
  }
}

/** Waits until nothing is in flight at `nodes` and their ancestors; they stay so until the section is ended. */
export function drained(...nodes: BlockDriverState[]): Promise<DrainedSection> {
  return drainedNodes(nodes)
}

/**
 * As {@link drained}, for any number of nodes of one graph. A begin that fails or is aborted leaves everything as it was.
 * EDEADLK at once where context tracking sees it called from inside a request.
 */
export function drainedNodes(list: Iterable<BlockDriverState>, options: DrainOptions = {}): Promise<DrainedSection> {
  return DrainedSection.begin(list, options)
}

/**
 * Runs `fn` in a drained section of `nodes`, which ends when `fn` has settled. With context tracking, what `fn` does is known
 * to be inside; a section that {@link drained} opens is known only to code that has a context already, as a main-loop section.
 */
export async function withDrained<T>(
  nodes: Iterable<BlockDriverState>,
  fn: (quiet: DrainedSection) => T | Promise<T>,
  options: DrainOptions = {},
): Promise<T> {
  const list = [...nodes]
  const environment = environmentOf(list)
  const { tracker } = environment
  if (tracker === undefined) return runDrained(list, fn, options)
  const context: AsyncContext = { kind: 'section', subject: list, scope: environment, outer: tracker.current() }
  try {
    return await tracker.run(context, () => runDrained(list, fn, options))
  } finally {
    context.ended = true
  }
}

async function runDrained<T>(
  nodes: Iterable<BlockDriverState>,
  fn: (quiet: DrainedSection) => T | Promise<T>,
  options: DrainOptions,
): Promise<T> {
  const quiet = await drainedNodes(nodes, options)
  try {
    return await fn(quiet)
  } finally {
    if (!quiet.ended) quiet.end()
  }
}

/**
 * Waits until quiesced `nodes` and all their ancestors have nothing in flight and no parent is busy. The ancestors are
 * walked anew at each wake-up, since others may edit the graph meanwhile. Resolves without a timer where all is idle.
 */
export async function waitUntilIdle(nodes: readonly BlockDriverState[], options: DrainOptions = {}): Promise<void> {
  if (nodes.length === 0 || busyReason(nodes) === undefined) return
  const environment = environmentOf(nodes)
  const wait = new DrainWait(environment, options.signal)
  const stall = watchStall(environment, nodes, options.label ?? `drain of ${namesOf(nodes).join(', ')}`)
  const expedition = new Expedition()
  try {
    while (busyReason(nodes) !== undefined) {
      expedition.reach(nodes)
      await wait.next()
    }
  } finally {
    stall.cancel()
    wait.close()
    expedition.end()
  }
}

/** One waiter of the environment. Wake-ups between two looks count as one. */
class DrainWait implements DrainWaiter {
  readonly #environment: IoEnvironment
  readonly #signal: AbortSignal | undefined
  readonly #onAbort = () => this.wake()
  #woken = false
  #resolve: (() => void) | undefined

  constructor(environment: IoEnvironment, signal: AbortSignal | undefined) {
    this.#environment = environment
    this.#signal = signal
    environment.drainWaiters.add(this)
    signal?.addEventListener('abort', this.#onAbort)
  }

  wake(): void {
    this.#woken = true
    this.#resolve?.()
  }

  async next(): Promise<void> {
    if (!this.#woken && this.#signal?.aborted !== true) {
      await new Promise<void>((resolve) => {
        this.#resolve = resolve
      })
    }
    this.#resolve = undefined
    this.#woken = false
    if (this.#signal?.aborted === true)
      throw new BlockError('ECANCELED', 'the wait for a drained section was aborted', { op: 'drain' })
  }

  close(): void {
    this.#environment.drainWaiters.delete(this)
    this.#signal?.removeEventListener('abort', this.#onAbort)
  }
}

/** Order of waiting: token, then sections, then requests. */
function refuseInsideRequest(
  environment: IoEnvironment,
  nodes: readonly BlockDriverState[],
  context: AsyncContext | undefined,
): void {
  for (let at = context; at !== undefined; at = at.outer) {
    if (at.kind !== 'request' || at.ended === true || at.scope !== environment) continue
    const message = `a drain of ${namesOf(nodes).join(', ')} was asked for from inside a request`
    throw new BlockError('EDEADLK', message, { op: 'drain' })
  }
}

function watchStall(environment: IoEnvironment, nodes: readonly BlockDriverState[], waiter: string): Timer {
  const { clock, stallAfterMs, trace } = environment
  const began = clock.now()
  const report = () => {
    if (!trace.active) return
    const { holder, requests } = describeStall(nodes, clock.now())
    trace.emit('stall', { waitsFor: 'drain', waiter, holder, waitedMs: clock.now() - began, requests })
  }
  return clock.after(stallAfterMs, report, true)
}

function environmentOf(nodes: readonly BlockDriverState[]): IoEnvironment {
  const first = nodes[0]
  assert(first !== undefined, 'a drained section needs a node')
  return first.state.environment
}

function namesOf(nodes: readonly BlockDriverState[]): string[] {
  return nodes.map((node) => node.nodeName)
}
