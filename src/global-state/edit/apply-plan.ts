// Prepare, commit or abort a plan. Until the commit nothing of the graph is changed, so a failure leaves it bit-identical;
// the commit is synchronous and cannot fail.

import { assert } from '../../common/assert.js'
import { BDRV_CHILD_FILTERED, childRolesFault } from '../../common/child-role.js'
import { BlockError, toBlockError } from '../../common/error.js'
import type { BlockLimits } from '../../common/limits.js'
import { background, reportBackground } from '../../io/background.js'
import type { DrainedSection } from '../../io/drained.js'
import type { IoEnvironment } from '../../io/environment.js'
import { recomputeGates } from '../../io/gates.js'
import type { Completion } from '../../io/node-io.js'
import { refreshLength } from '../../io/truncate.js'
import type { PreparedChange } from '../driver.js'
import type { MainLoopCall } from '../main-loop.js'
import type { EdgeState, NodeState } from '../node-state.js'
import { commitEdges } from './edge.js'
import { computeLimits } from './limits.js'
import { computePermissions, type PermissionUpdate } from './permission-update.js'
import type { GraphPlan } from './plan.js'
import { reaches } from './reachability.js'

/**
 * Carries out `plan`: checks roles, cycles and frozen edges, computes permissions, lets drivers veto or prepare, then
 * commits. `quiet`, where given, must cover every node whose edges change. Rejects with the graph as it was. Calls of one
 * section may overlap: what another one commits meanwhile is looked at again, and EBUSY where it took the same links.
 */
export async function applyPlan(
  call: MainLoopCall,
  plan: GraphPlan,
  quiet: DrainedSection | undefined,
  op: string,
): Promise<void> {
  for (;;) {
    if (quiet !== undefined) checkCover(plan, quiet, op)
    checkEdges(plan, op)
    const before = commitsOf(plan)
    const update = computePermissions(plan)
    const limits = computeLimits(plan, changedParents(plan))
    const prepared = await prepare(call, plan, update, op)
    const late = overtaken(plan, quiet)
    if (commitsOf(plan) === before && !late) {
      commit(plan, update, limits)
      finish(plan, prepared, 'commit')
      break
    }
    // Another call has changed the graph while drivers prepared: what was computed may not hold any more.
    finish(plan, prepared, 'abort')
    if (plan.outdated || late)
      throw new BlockError('EBUSY', 'another call of the same section changed the same links', { op })
  }
  for (const parent of lengthFollowers(plan))
    background(
      parent,
      attempt(() => refreshLength(parent)),
    )
}

/** Whether a link was frozen, a node began to close or the section ended while drivers prepared: no commit may follow. */
function overtaken(plan: GraphPlan, quiet: DrainedSection | undefined): boolean {
  if (quiet?.ended === true) return true
  return plan.changes.some(
    ({ kind, edge }) => edge.frozen || (kind !== 'detach' && plan.targetOf(edge).closing && !plan.unconditional),
  )
}

/**
 * Children before parents, as the last prepared is the first to rely on the others. A driver that throws here breaks its
 * contract; that must not keep the others from hearing how it ended, so it is reported.
 */
function finish(plan: GraphPlan, prepared: PreparedChange[], how: 'commit' | 'abort'): void {
  const [node] = plan.touched
  for (const change of prepared.reverse()) {
    try {
      change[how]()
    } catch (thrown) {
      if (node !== undefined) reportBackground(node, thrown)
    }
  }
}

/** What fails at once fails as a promise would: the plan is committed, and nothing may make it look refused. */
async function attempt(act: () => Completion): Promise<void> {
  await act()
}

/** Nodes that show all of a child and have been given another one: they have its length. */
function lengthFollowers(plan: GraphPlan): Set<NodeState> {
  const followers = new Set<NodeState>()
  for (const { kind, edge } of plan.changes) {
    const parent = edge.parentNode
    if (parent?.opened !== true || parent.closed || plan.childrenOf(parent).length === 0) continue
    if (parent.driver.kind === 'filter' || (kind === 'retarget' && (edge.role & BDRV_CHILD_FILTERED) !== 0))
      followers.add(parent)
  }
  return followers
}

/** Asks drivers; those that prepared something are told to abort where a later one refuses. */
async function prepare(
  call: MainLoopCall,
  plan: GraphPlan,
  update: PermissionUpdate,
  op: string,
): Promise<PreparedChange[]> {
  const prepared: PreparedChange[] = []
  try {
    for (const node of update.nodes) {
      const change = await preparePermissions(node, update, plan.unconditional)
      if (change !== undefined) prepared.push(change)
    }
    for (const step of plan.steps) prepared.push(await step())
    if (!plan.unconditional) call.resumed()
    return prepared
  } catch (thrown) {
    finish(plan, prepared, 'abort')
    throw toBlockError(thrown, { op })
  }
}

/** How many plans have been committed to each graph. */
const commits = new WeakMap<IoEnvironment, number>()

function commitsOf(plan: GraphPlan): number {
  const [node] = plan.touched
  return node === undefined ? 0 : (commits.get(node.environment) ?? 0)
}

function commit(plan: GraphPlan, update: PermissionUpdate, limits: ReadonlyMap<NodeState, BlockLimits>): void {
  const [touched] = plan.touched
  if (touched !== undefined) commits.set(touched.environment, commitsOf(plan) + 1)
  commitEdges(plan.changes)
  for (const [edge, pair] of update.edges) {
    edge.perm = pair.perm
    edge.shared = pair.shared
  }
  for (const [node, flags] of plan.flagChanges) node.openFlags = flags
  for (const [node, nodeLimits] of limits) node.state.limits = nodeLimits
  for (const node of new Set([...plan.flagChanges.keys(), ...limits.keys()])) recomputeGates(node.state)
}

/** Nodes that gain, lose or change a child. */
function changedParents(plan: GraphPlan): Set<NodeState> {
  const parents = new Set<NodeState>()
  for (const { edge } of plan.changes) {
    const parent = edge.parentNode
    if (parent?.opened === true && plan.childrenOf(parent).length > 0) parents.add(parent)
  }
  return parents
}

async function preparePermissions(
  node: NodeState,
  update: PermissionUpdate,
  unconditional: boolean,
): Promise<PreparedChange | undefined> {
  const { permissions } = node.definition
  const sum = update.sums.get(node)
  if (permissions === undefined || sum === undefined || !node.opened) return undefined
  const { driverState } = node
  try {
    await permissions.check(driverState, sum.perm, sum.shared)
  } catch (thrown) {
    const error = toBlockError(thrown, { node: node.nodeName, op: 'permissions' })
    if (!unconditional) throw error
    reportBackground(node, error)
    return undefined
  }
  return {
    commit: () => permissions.set(driverState, sum.perm, sum.shared),
    abort: () => permissions.abort(driverState),
  }
}

function checkCover(plan: GraphPlan, quiet: DrainedSection, op: string): void {
  assert(!quiet.ended, `${op}: the drained section has ended`)
  const cover = (node: NodeState | undefined) => {
    if (node?.opened !== true) return
    assert(quiet.covers(node), `${op}: the drained section does not cover node '${node.nodeName}'`)
  }
  for (const change of plan.changes) {
    cover(change.edge.parentNode)
    cover(change.kind === 'retarget' ? change.from : change.edge.node)
    if (change.kind === 'retarget') cover(change.to)
  }
}

function checkEdges(plan: GraphPlan, op: string): void {
  const parents = new Set<NodeState>()
  for (const change of plan.changes) {
    const { edge } = change
    const parent = edge.parentNode
    refuseFrozen(edge, op)
    if (change.kind !== 'detach') refuseClosing(plan.targetOf(edge), op)
    if (parent === undefined) continue
    parents.add(parent)
    if (change.kind !== 'detach' && reaches(plan, plan.targetOf(edge), parent)) {
      throw new BlockError(
        'EINVAL',
        `making node '${plan.targetOf(edge).nodeName}' a child ('${edge.name}') would create a cycle`,
        { node: parent.nodeName, op },
      )
    }
  }
  for (const parent of parents) checkSiblings(plan, parent, op)
}

/** A node on its way out takes no new users. */
function refuseClosing(node: NodeState, op: string): void {
  if (node.closing) throw new BlockError('ENODEV', 'it is being closed', { node: node.nodeName, op })
}

function refuseFrozen(edge: EdgeState, op: string): void {
  if (!edge.frozen) return
  throw new BlockError('EPERM', `its link '${edge.name}' to node '${edge.node.nodeName}' is frozen`, {
    node: edge.parentNode?.nodeName ?? edge.parent.describe(),
    op,
  })
}

function checkSiblings(plan: GraphPlan, parent: NodeState, op: string): void {
  const children = plan.childrenOf(parent)
  const names = new Set(children.map((edge) => edge.name))
  if (names.size !== children.length)
    throw new BlockError('EINVAL', 'two children of one name', { node: parent.nodeName, op })
  if (!parent.opened) return
  // A filter that is being taken out of the graph loses its child with its last user.
  if (parent.driver.kind === 'filter' && children.length === 0) return
  const fault = childRolesFault(
    children.map((edge) => edge.role),
    parent.driver.kind,
  )
  if (fault !== undefined) throw new BlockError('EINVAL', `child roles: ${fault}`, { node: parent.nodeName, op })
}
