// Edits of a running graph: replace a node, append an overlay, insert and drop filters, set the backing file, add and delete
// children. Each is one plan: all edges first, permissions after, committed at once or not at all.

import { assert } from '../../common/assert.js'
import { BDRV_CHILD_COW, BDRV_CHILD_FILTERED, BDRV_CHILD_PRIMARY } from '../../common/child-role.js'
import { BlockError } from '../../common/error.js'
import { filterOrCowChild } from '../../io/block-node.js'
import type { DrainedSection } from '../../io/drained.js'
import { releaseNode } from '../life/close.js'
import { openDefinition, openRequest } from '../life/open.js'
import type { OpenSettings } from '../life/open-request.js'
import type { MainLoop } from '../main-loop.js'
import { EdgeState, type NodeState } from '../node-state.js'
import { flattenOptions, splitChild } from '../options/options.js'
import { applyPlan } from './apply-plan.js'
import { GraphPlan } from './plan.js'
import { reaches } from './reachability.js'

/**
 * Moves every parent of `from` to `to`, but for edges that lie below `to` (they would close a ring) and those whose parent
 * stays at its node. `quiet` covers both nodes. `from` closes if nothing refers to it any more. EPERM for a frozen edge or
 * conflicting permissions.
 */
export function replaceNode(main: MainLoop, quiet: DrainedSection, from: NodeState, to: NodeState): Promise<void> {
  return main.call('replaceNode', from.environment, async (call) => {
    const plan = new GraphPlan()
    planReplace(plan, from, to)
    await applyPlan(call, plan, quiet, 'replaceNode')
    await releaseNode(main, from, call)
  })
}

/** Retargets one edge of a node or root. `quiet` covers its old and new child. */
export function replaceChild(main: MainLoop, quiet: DrainedSection, edge: EdgeState, to: NodeState): Promise<void> {
  return main.call('replaceChild', to.environment, async (call) => {
    const from = edge.node
    const plan = new GraphPlan()
    plan.retarget(edge, to)
    await applyPlan(call, plan, quiet, 'replaceChild')
    await releaseNode(main, from, call)
  })
}

/**
 * Puts `overlay`, which has no backing file, on top of `top`: `top` becomes its backing file and its parents move to
 * `overlay`. `quiet` covers both. The usual way to take an external snapshot.
 */
export function appendNode(main: MainLoop, quiet: DrainedSection, overlay: NodeState, top: NodeState): Promise<void> {
  return main.call('appendNode', overlay.environment, async (call) => {
    if (filterOrCowChild(overlay) !== undefined) {
      throw new BlockError('EINVAL', 'it has a backing file already', { node: overlay.nodeName, op: 'appendNode' })
    }
    refuseWithoutBacking(overlay, 'appendNode')
    const plan = new GraphPlan()
    plan.attach(overlay, top, 'backing', BDRV_CHILD_COW)
    planReplace(plan, top, overlay)
    await applyPlan(call, plan, quiet, 'appendNode')
  })
}

/**
 * Opens a node from `options` (a `driver` is mandatory) above `node` and moves the parents of `node` to it, in one step:
 * permissions are looked at once, on the result. The child that is to be `node` need not be named. The caller holds the
 * new node. `quiet` covers `node`.
 */
export function insertNode(
  main: MainLoop,
  quiet: DrainedSection,
  node: NodeState,
  options: Readonly<Record<string, unknown>>,
  settings: OpenSettings = {},
): Promise<NodeState> {
  return main.call('insertNode', node.environment, async (call) => {
    assert(quiet.covers(node), `insertNode: the drained section does not cover node '${node.nodeName}'`)
    const flat = insertionOptions(node, options)
    const request = openRequest(main, call, node.graph, settings, true)
    const inserted = await openDefinition(request, flat, undefined)
    inserted.holds += 1
    try {
      const plan = new GraphPlan()
      plan.refresh(inserted)
      planReplace(plan, node, inserted)
      await applyPlan(call, plan, quiet, 'insertNode')
    } catch (thrown) {
      inserted.holds -= 1
      await releaseNode(main, inserted, call)
      throw thrown
    }
    return inserted
  })
}

function insertionOptions(node: NodeState, options: Readonly<Record<string, unknown>>) {
  const flat = flattenOptions(options)
  const driver = typeof flat.driver === 'string' ? node.graph.registry.find(flat.driver) : undefined
  if (driver === undefined)
    throw new BlockError('EINVAL', 'the node to insert needs a known driver', { node: node.nodeName, op: 'insertNode' })
  const name = driver.kind === 'filter' && driver.filteredChildIsBacking !== true ? 'file' : 'backing'
  const { child, reference } = splitChild(flat, name)
  if (reference !== undefined || Object.keys(child).length > 0) return flat
  return { ...flat, [name]: node.nodeName }
}

/** Takes a filter out: its parents move to its filtered child, and the filter closes. `quiet` covers the filter and its child. EBUSY where a user stays. */
export function dropFilter(main: MainLoop, quiet: DrainedSection, filter: NodeState): Promise<void> {
  return main.call('dropFilter', filter.environment, async (call) => {
    const edge = filterOrCowChild(filter)
    if (!(edge instanceof EdgeState))
      throw new BlockError('EINVAL', 'it has no child to put in its place', { node: filter.nodeName, op: 'dropFilter' })
    const child = edge.node
    const plan = new GraphPlan()
    planReplace(plan, filter, child)
    for (const left of plan.parentsOf(filter)) {
      throw new BlockError('EBUSY', `${left.parent.describe()} (as '${left.name}') stays at it`, {
        node: filter.nodeName,
        op: 'dropFilter',
      })
    }
    plan.detach(edge)
    await applyPlan(call, plan, quiet, 'dropFilter')
    filter.holds = 0
    try {
      await releaseNode(main, filter, call)
    } finally {
      await releaseNode(main, child, call)
    }
  })
}

/** Sets or (undefined) removes the backing file of `node`. `quiet` covers `node`, the old and the new backing file. */
export function setBacking(
  main: MainLoop,
  quiet: DrainedSection,
  node: NodeState,
  backing: NodeState | undefined,
): Promise<void> {
  return main.call('setBacking', node.environment, async (call) => {
    const old = node.backing
    const former = old?.node
    if (former === backing) return
    refuseWithoutBacking(node, 'setBacking')
    const plan = new GraphPlan()
    const role = node.driver.kind === 'filter' ? BDRV_CHILD_FILTERED | BDRV_CHILD_PRIMARY : BDRV_CHILD_COW
    if (old !== undefined && backing !== undefined) plan.retarget(old, backing)
    else if (old !== undefined) plan.detach(old)
    else if (backing !== undefined) plan.attach(node, backing, 'backing', role)
    await applyPlan(call, plan, quiet, 'setBacking')
    if (former !== undefined) await releaseNode(main, former, call)
  })
}

function refuseWithoutBacking(node: NodeState, op: string): void {
  if (node.driver.supportsBacking || node.definition.filteredChildIsBacking === true) return
  throw new BlockError('EINVAL', `driver '${node.driver.name}' has no backing file`, { node: node.nodeName, op })
}

/** Adds `child` to a node whose driver allows children to come and go. `quiet` covers both. */
export function addChild(
  main: MainLoop,
  quiet: DrainedSection,
  parent: NodeState,
  child: NodeState,
): Promise<EdgeState> {
  return main.call('addChild', parent.environment, async (call) => {
    const { definition } = parent
    if (definition.addChild === undefined)
      throw new BlockError('ENOTSUP', `driver '${definition.name}' takes no further child`, {
        node: parent.nodeName,
        op: 'addChild',
      })
    if (child.parents.size > 0)
      throw new BlockError('EINVAL', `node '${child.nodeName}' has a parent already`, {
        node: parent.nodeName,
        op: 'addChild',
      })
    const { name, role } = definition.addChild(parent.driverState, child)
    const plan = new GraphPlan()
    const edge = plan.attach(parent, child, name, role)
    await applyPlan(call, plan, quiet, 'addChild')
    return edge
  })
}

/** Removes a child of a node whose driver allows it. `quiet` covers both. */
export function delChild(main: MainLoop, quiet: DrainedSection, parent: NodeState, edge: EdgeState): Promise<void> {
  return main.call('delChild', parent.environment, async (call) => {
    const { definition } = parent
    if (definition.delChild === undefined)
      throw new BlockError('ENOTSUP', `driver '${definition.name}' gives no child up`, {
        node: parent.nodeName,
        op: 'delChild',
      })
    if (edge.parentNode !== parent || !edge.linked)
      throw new BlockError('EINVAL', `'${edge.name}' is no child of it`, { node: parent.nodeName, op: 'delChild' })
    definition.delChild(parent.driverState, edge)
    const child = edge.node
    const plan = new GraphPlan()
    plan.detach(edge)
    await applyPlan(call, plan, quiet, 'delChild')
    await releaseNode(main, child, call)
  })
}

/** Proposes that the movable parents of `from` lead to `to`. */
export function planReplace(plan: GraphPlan, from: NodeState, to: NodeState): void {
  if (from === to) return
  for (const edge of [...plan.parentsOf(from)]) {
    if (edge.parent.stayAtNode === true) continue
    const parent = edge.parentNode
    if (parent !== undefined && reaches(plan, to, parent)) continue
    plan.retarget(edge, to)
  }
}
