// Changing the options of open nodes: a queue of nodes is prepared as one plan, then committed or aborted as a
// whole. Options flow down to the children that a node's own options made.

import { BlockError } from '../../common/error.js'
import type { OpenFlags } from '../../common/open-flags.js'
import { reportBackground } from '../../io/background.js'
import { type DrainedSection, drainedNodes } from '../../io/drained.js'
import { flushNode } from '../../io/flush.js'
import { recomputeGates } from '../../io/gates.js'
import { refreshLength } from '../../io/truncate.js'
import { freezeStored, storeAll, thawStored } from '../bitmaps/stored-bitmaps.js'
import type { PreparedChange } from '../driver.js'
import { applyPlan } from '../edit/apply-plan.js'
import { computeLimits } from '../edit/limits.js'
import { GraphPlan } from '../edit/plan.js'
import type { MainLoop } from '../main-loop.js'
import type { NodeState } from '../node-state.js'
import { releaseNode } from './close.js'
import { type ChildLink, queueReopen, type ReopenEntry, type ReopenRequest } from './reopen-queue.js'

export type { ReopenRequest } from './reopen-queue.js'

/**
 * Reopens nodes with changed options. With `keepOld` what is not named stays; without it what is not named goes back to its
 * default. `quiet` covers the nodes named. On failure everything is as before. EINVAL for an option that cannot change,
 * EPERM for permissions that would conflict, and what drivers report.
 */
export function reopenNodes(main: MainLoop, quiet: DrainedSection, requests: readonly ReopenRequest[]): Promise<void> {
  const [first] = requests
  if (first === undefined) return Promise.resolve()
  return main.call('reopenNodes', first.node.environment, async (call) => {
    for (const { node } of requests) {
      if (!quiet.covers(node))
        throw new BlockError('EINVAL', 'it is not drained', { node: node.nodeName, op: 'reopen' })
    }
    const queue = queueReopen(requests)
    const section = await drainedNodes(
      queue.flatMap((entry) => [entry.node, ...entry.links.flatMap(linkNodes)]),
      { signal: call.signal },
    )
    const former = queue.flatMap((entry) => entry.links.map((link) => link.edge?.node))
    try {
      await storeBitmaps(queue)
      for (const { node } of queue) if (!node.readOnly && !node.inactive) await flushNode(node)
      const plan = new GraphPlan()
      for (const entry of queue) planEntry(plan, entry)
      try {
        await applyPlan(call, plan, section, 'reopen')
      } catch (thrown) {
        for (const { node } of queue) if (!node.readOnly) await thaw(node)
        throw thrown
      }
      await changeBitmaps(queue)
      for (const entry of [...queue].reverse()) await refreshNode(entry)
    } finally {
      section.end()
    }
    for (const node of former) if (node !== undefined) await releaseNode(main, node, call)
  })
}

/** Reopens one node read-only or read-write, everything else kept. */
export function reopenReadOnly(
  main: MainLoop,
  quiet: DrainedSection,
  node: NodeState,
  readOnly: boolean,
): Promise<void> {
  return reopenNodes(main, quiet, [{ node, options: { 'read-only': readOnly }, keepOld: true }])
}

/** What becomes read-only stores its bitmaps as long as it can write. */
async function storeBitmaps(queue: readonly ReopenEntry[]): Promise<void> {
  for (const { node, readOnly } of queue) if (readOnly) await storeAll(node)
}

/** Bitmaps of nodes that are read-only now are stored and frozen; those of nodes that are writable now record again. */
async function changeBitmaps(queue: readonly ReopenEntry[]): Promise<void> {
  for (const { node, readOnly } of queue) {
    if (readOnly) freezeStored(node)
    else await thaw(node)
  }
}

/** The reopen is done, or undone, by now: what fails here is reported, and the bitmaps go on to forbid writes. */
async function thaw(node: NodeState): Promise<void> {
  try {
    await thawStored(node)
  } catch (thrown) {
    freezeStored(node)
    reportBackground(node, thrown)
  }
}

/**
 * A driver may have other limits with its new options, such as those of direct I/O, or another length, such as that of a
 * window. The reopen is done by now: what fails here is reported.
 */
async function refreshNode({ node, driverChanged, links }: ReopenEntry): Promise<void> {
  try {
    for (const [changed, limits] of computeLimits(new GraphPlan(), [node])) {
      changed.state.limits = limits
      recomputeGates(changed.state)
    }
    if (driverChanged || links.length > 0) await refreshLength(node)
  } catch (thrown) {
    reportBackground(node, thrown)
  }
}

function linkNodes(link: ChildLink): NodeState[] {
  return [link.edge?.node, link.to].filter((node) => node !== undefined)
}

function planEntry(plan: GraphPlan, entry: ReopenEntry): void {
  const { node } = entry
  for (const link of entry.links) {
    if (link.edge !== undefined && link.to !== undefined) plan.retarget(link.edge, link.to)
    else if (link.edge !== undefined) plan.detach(link.edge)
    else if (link.to !== undefined) plan.attach(node, link.to, link.name, link.role)
  }
  if (entry.flags !== node.openFlags) plan.setOpenFlags(node, entry.flags)
  if (entry.driverChanged || entry.flags !== node.openFlags) plan.addStep(() => prepareDriver(entry))
  plan.addStep(() => optionsChange(entry))
}

async function prepareDriver(entry: ReopenEntry): Promise<PreparedChange> {
  const { node } = entry
  const { definition } = node
  if (definition.reopen === undefined) return { commit: () => {}, abort: () => {} }
  return definition.reopen(node.driverState, {
    nodeName: node.nodeName,
    node,
    options: entry.driverValues,
    oldOptions: entry.oldDriverValues,
    openFlags: entry.flags,
    readOnly: entry.readOnly,
  })
}

function optionsChange(entry: ReopenEntry): PreparedChange {
  const { node } = entry
  const flags: OpenFlags = entry.flags
  return {
    commit() {
      node.explicitOptions = entry.explicit
      node.options = entry.effective
      node.detectZeroes = entry.detectZeroes
      node.openFlags = flags
      recomputeGates(node.state)
    },
    abort() {},
  }
}
