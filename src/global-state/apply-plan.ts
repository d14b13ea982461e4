// Prepare, commit or abort a plan. Until the commit nothing of the graph is changed, so a failure leaves it bit-identical;
// the commit is synchronous and cannot fail.

import { assert } from '../common/assert.js'
import { childRolesFault } from '../common/child-role.js'
import { BlockError, toBlockError } from '../common/error.js'
import type { BlockLimits } from '../common/limits.js'
import { background, reportBackground } from '../io/background.js'
import type { DrainedSection } from '../io/drained.js'
import { recomputeGates } from '../io/gates.js'
import { refreshLength } from '../io/truncate.js'
import type { PreparedChange } from './driver.js'
import { commitEdges } from './edge.js'
import { computeLimits } from './limits.js'
import type { MainLoopCall } from './main-loop.js'
import type { EdgeState, NodeState } from './node-state.js'
import { computePermissions, type PermissionUpdate } from './permission-update.js'
import type { GraphPlan } from './plan.js'
import { reaches } from './reachability.js'

/**
 * Carries out `plan`: checks roles, cycles and frozen edges, computes permissions, lets drivers veto or prepare, then
 * commits. `quiet`, where given, must cover every node whose edges change. Rejects with the graph as it was.
 */
export async function applyPlan(
  call: MainLoopCall,
  plan: GraphPlan,
  quiet: DrainedSection | undefined,
  op: string,
): Promise<void> {
  if (quiet !== undefined) checkCover(plan, quiet, op)
  checkEdges(plan, op)
  const update = computePermissions(plan)
  const limits = computeLimits(plan, changedParents(plan))
  const prepared: PreparedChange[] = []
  try {
    for (const node of update.nodes) {
      const change = await preparePermissions(node, update, plan.unconditional)
      if (change !== undefined) prepared.push(change)
    }
    for (const step of plan.steps) prepared.push(await step())
    if (!plan.unconditional) call.resumed()
  } catch (thrown) {
    for (const change of prepared.reverse()) change.abort()
    throw toBlockError(thrown, { op })
  }
  commit(plan, update, limits)
  // Children before parents, as the last prepared is the first to rely on the others.
  for (const change of prepared.reverse()) change.commit()
  for (const parent of changedParents(plan))
    if (parent.driver.kind === 'filter') background(parent, refreshLength(parent))
}

function commit(plan: GraphPlan, update: PermissionUpdate, limits: ReadonlyMap<NodeState, BlockLimits>): void {
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
