// One run of the model test: commands and scheduler in, nothing out or an error that says what broke and how to see it again.

import { unfreezeBackingChain } from '../../global-state/backing-chain.js'
import { closeNode } from '../../global-state/life/close.js'
import { drainedNodes } from '../../io/drained.js'
import { checkClosed, checkInvariants, must } from '../invariants/index.js'
import { settleMicrotasks } from '../virtual-clock.js'
import type { GraphCommand, IoCommand } from './command.js'
import { startEdit } from './edits.js'
import { modelInvariants } from './model-invariants.js'
import { startRequest } from './requests.js'
import { refuseDeadlock } from './watchdog.js'
import { type ModelScheduler, ModelWorld } from './world.js'

/** How often a world may step before it counts as running for ever. */
const MAX_STEPS = 20_000

/**
 * Carries out `commands` on a new graph and on its model, checks every invariant after every step, and closes everything.
 * The error of a failed run holds the commands and the order of the scheduler, ready for {@link replayGraphRun}.
 */
export async function runGraphModel(commands: readonly GraphCommand[], scheduler: ModelScheduler): Promise<ModelWorld> {
  const world = new ModelWorld(scheduler)
  try {
    for (const { command, steps, wait } of commands) {
      await begin(world, command)
      check(world, false)
      for (let count = 0; count < steps; count++) if (!(await stepAndCheck(world))) break
      if (wait) await untilEditsSettle(world)
    }
    await finish(world)
  } catch (thrown) {
    const message = thrown instanceof Error ? thrown.message : String(thrown)
    throw new Error(`${message}\n\n${readyTest(commands, scheduler.order())}`)
  }
  return world
}

async function begin(world: ModelWorld, command: GraphCommand['command']): Promise<void> {
  world.steps++
  switch (command.type) {
    case 'begin-section':
    case 'end-section':
    case 'request':
    case 'inject-error':
    case 'arm-veto':
      beginIo(world, command)
      break
    default:
      startEdit(world, command)
  }
  await settleMicrotasks()
}

function beginIo(world: ModelWorld, command: IoCommand): void {
  switch (command.type) {
    case 'request':
      startRequest(world, command)
      break
    case 'inject-error':
      world.injections.push(command.code)
      break
    case 'arm-veto':
      armVeto(world, command.node)
      break
    case 'begin-section':
      beginSection(world, command.nodes)
      break
    case 'end-section': {
      const open = world.sections.filter(({ section }) => section !== undefined)
      endSection(world, open[command.section % Math.max(open.length, 1)])
      break
    }
  }
}

/** The next edit that asks this disk for its permissions is refused. */
function armVeto(world: ModelWorld, index: number): void {
  const name = world.pickNode(index, ({ driver }) => driver === 'staged')
  if (name !== undefined) world.log.vetoPermissions.add(name)
}

function beginSection(world: ModelWorld, indices: readonly number[]): void {
  const all = [...world.graph.nodes.values()]
  const nodes = [...new Set(indices.map((index) => all[index % Math.max(all.length, 1)]))].filter(
    (node) => node !== undefined,
  )
  if (nodes.length === 0) return
  const open: ModelWorld['sections'][number] = { nodes, section: undefined }
  world.sections.push(open)
  drainedNodes(nodes).then(
    (section) => {
      open.section = section
    },
    (error: unknown) => world.faults.push(`drain: ${String(error)}`),
  )
}

function endSection(world: ModelWorld, open: ModelWorld['sections'][number] | undefined): void {
  if (open === undefined) return
  world.sections.splice(world.sections.indexOf(open), 1)
  open.section?.end()
}

/** Aborts requests that are to be aborted, some steps after they began. */
function abortDue(world: ModelWorld): void {
  for (const request of world.requests) if (request.abort !== undefined && world.steps % 3 === 0) request.abort.abort()
}

async function stepAndCheck(world: ModelWorld): Promise<boolean> {
  abortDue(world)
  const moved = await world.step()
  must(world.steps < MAX_STEPS, 'it runs for ever')
  check(world, !moved)
  if (!moved) {
    // Long chains of awaits may still be on their way: only what stays stuck is stuck.
    await settleMicrotasks(2000)
    if (world.scheduler.count() === 0) refuseDeadlock(world)
  }
  return moved
}

function check(world: ModelWorld, atRest: boolean): void {
  checkInvariants(modelInvariants, world, atRest)
}

async function untilEditsSettle(world: ModelWorld): Promise<void> {
  while (world.busyEdits.length > 0) await stepAndCheck(world)
}

async function untilRest(world: ModelWorld): Promise<void> {
  while (await stepAndCheck(world));
}

/** Brings everything to rest, ends every section, closes everything, and looks for what is left. */
async function finish(world: ModelWorld): Promise<void> {
  await untilEditsSettle(world)
  await untilRest(world)
  world.injections.length = 0
  world.log.vetoPermissions.clear()
  while (world.sections.length > 0) {
    endSection(world, world.sections[0])
    await settleMicrotasks()
    check(world, false)
  }
  await untilRest(world)
  must(world.requests.size === 0, 'a request is left')
  const closed = closeAll(world)
  let settled = false
  closed.then(
    () => {
      settled = true
    },
    (error: unknown) => {
      settled = true
      world.faults.push(`close all: ${String(error)}`)
    },
  )
  await settleMicrotasks()
  world.editing = true
  while (!settled) if (!(await world.step()) && !settled) refuseDeadlock(world)
  must(world.faults.length === 0, world.faults.join('\n'))
  checkNothingLeft(world)
}

function closeAll(world: ModelWorld): Promise<void> {
  const { graph, model } = world
  return graph.mainLoop(async (main) => {
    for (const { top, base } of model.freezes) unfreezeBackingChain(main, graph.node(top), graph.node(base))
    for (const backend of [...graph.backends]) await backend.close(main)
    while (graph.nodes.size > 0) {
      const top = [...graph.nodes.values()].find((node) => node.parents.size === 0)
      must(top !== undefined, 'every node has a parent')
      if (top !== undefined) await closeNode(main, top)
    }
  }, 'close all')
}

function checkNothingLeft(world: ModelWorld): void {
  const { graph, clock, everNodes } = world
  must(graph.nodes.size === 0 && graph.backends.size === 0, 'nodes or backends are left')
  must(clock.pendingTimers === 0, `${clock.pendingTimers} timers are left`)
  must(graph.environment.drainWaiters.size === 0, 'a drain still waits')
  must(world.submitted === world.finished, 'a request has not settled')
  for (const node of everNodes.values()) checkClosed(node)
}

/** A test that runs the same commands in the same order again. */
export function readyTest(commands: readonly GraphCommand[], order: readonly number[]): string {
  const list = commands.map((command) => `    ${JSON.stringify(command)},`).join('\n')
  return `it('graph model: found by a random run', () =>\n  replayGraphRun(\n  [\n${list}\n  ],\n  ${JSON.stringify(order)},\n))`
}

/** Runs commands with a scheduler that lets tasks go in `order` (their numbers, in the order they came), then oldest first. */
export async function replayGraphRun(commands: readonly GraphCommand[], order: readonly number[] = []): Promise<void> {
  await runGraphModel(commands, replayScheduler(order))
}

/** A scheduler of a recorded order. */
export function replayScheduler(order: readonly number[]): ModelScheduler {
  const waiting: { id: number; go: () => void }[] = []
  const taken: number[] = []
  let nextId = 0
  const wanted = [...order]
  return {
    async schedule(task) {
      const id = ++nextId
      await new Promise<void>((resolve) => waiting.push({ id, go: resolve }))
      return task
    },
    count: () => waiting.length,
    async waitOne() {
      const id = wanted.shift()
      const index = Math.max(
        waiting.findIndex((entry) => entry.id === id),
        0,
      )
      const [entry] = waiting.splice(index, 1)
      if (entry === undefined) throw new Error('nothing to schedule')
      taken.push(entry.id)
      entry.go()
    },
    order: () => taken,
  }
}
