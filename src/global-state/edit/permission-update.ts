// Permissions as a pure function of a (proposed) graph: what every node's users ask and share in sum, what it therefore asks
// of its children, and whether all that fits together. Nothing is changed here.

import { BlockError } from '../../common/error.js'
import { BDRV_O_INACTIVE, BDRV_O_RDWR } from '../../common/open-flags.js'
import {
  BLK_PERM_ALL,
  BLK_PERM_RESIZE,
  BLK_PERM_WRITE,
  BLK_PERM_WRITE_UNCHANGED,
  type PermissionPair,
  type Permissions,
  permissionNames,
} from '../../common/permissions.js'
import type { EdgeState, NodeState } from '../node-state.js'
import { defaultChildPermissions } from './default-permissions.js'
import type { GraphPlan } from './plan.js'

/** The permissions a plan leads to. */
export interface PermissionUpdate {
  /** New permissions of edges whose permissions change. */
  edges: ReadonlyMap<EdgeState, PermissionPair>
  /** Nodes whose users' sum was computed anew, parents before children. */
  nodes: readonly NodeState[]
  /** The sum of what each of `nodes` is asked for. */
  sums: ReadonlyMap<NodeState, PermissionPair>
}

/**
 * Computes the permissions that follow from `plan`. Only nodes whose users changed are visited, so the cost grows with the
 * edit and not with the graph. Throws EPERM where users conflict or a node cannot be written; the error names both users.
 */
export function computePermissions(plan: GraphPlan): PermissionUpdate {
  const edges = new Map<EdgeState, PermissionPair>()
  const sums = new Map<NodeState, PermissionPair>()
  const permissionsOf = (edge: EdgeState): PermissionPair =>
    edges.get(edge) ?? (edge.parentNode === undefined ? plan.wishOf(edge) : { perm: edge.perm, shared: edge.shared })
  // Rounds: after the n-th, every node whose longest path from a touched one has n edges is final. The graph has no
  // cycle, so this ends; a node is looked at again only if one of its parents changed its mind.
  let round = new Set(plan.touched)
  while (round.size > 0) {
    const next = new Set<NodeState>()
    for (const node of round) {
      const sum = cumulativePermissions(plan, node, permissionsOf)
      sums.set(node, sum)
      for (const edge of plan.childrenOf(node)) {
        const wanted = childPermissions(plan, node, edge, sum)
        const now = permissionsOf(edge)
        if (wanted.perm === now.perm && wanted.shared === now.shared) continue
        edges.set(edge, wanted)
        next.add(plan.targetOf(edge))
      }
    }
    round = next
  }
  // A plan that nobody may refuse only takes away, or takes back what was just done.
  for (const node of plan.unconditional ? [] : sums.keys())
    checkNode(plan, node, sums.get(node) ?? NOTHING, permissionsOf)
  for (const edge of wishes(plan)) edges.set(edge, plan.wishOf(edge))
  return { edges, nodes: topological(plan, sums), sums }
}

const NOTHING: PermissionPair = { perm: 0, shared: BLK_PERM_ALL }

/** What the users of `node` ask for in sum, and what all of them share, in the graph as it is. */
export function cumulative(node: NodeState): PermissionPair {
  let perm = 0
  let shared = BLK_PERM_ALL
  for (const edge of node.parents) {
    perm |= edge.perm
    shared &= edge.shared
  }
  return { perm, shared }
}

function cumulativePermissions(
  plan: GraphPlan,
  node: NodeState,
  permissionsOf: (edge: EdgeState) => PermissionPair,
): PermissionPair {
  let perm = 0
  let shared = BLK_PERM_ALL
  for (const edge of plan.parentsOf(node)) {
    const pair = permissionsOf(edge)
    perm |= pair.perm
    shared &= pair.shared
  }
  return { perm, shared }
}

/** What `node` asks of the child at `edge` when its own users ask for `sum`. */
export function childPermissions(
  plan: GraphPlan,
  node: NodeState,
  edge: EdgeState,
  sum: PermissionPair,
): PermissionPair {
  const flags = plan.flagsOf(node)
  const inactive = (flags & BDRV_O_INACTIVE) !== 0
  const child = plan.targetOf(edge)
  const context = { writable: (flags & BDRV_O_RDWR) !== 0 && !inactive, inactive, openFlags: flags, childNode: child }
  const { definition } = node
  const own =
    definition.childPermissions !== undefined && node.opened
      ? definition.childPermissions(node.driverState, { name: edge.name, role: edge.role }, sum, context)
      : defaultChildPermissions(edge.role, sum, context)
  return child.options['force-share'] === true ? { perm: own.perm, shared: BLK_PERM_ALL } : own
}

function* wishes(plan: GraphPlan): Generator<EdgeState> {
  for (const node of plan.touched) {
    for (const edge of plan.parentsOf(node)) {
      if (edge.parentNode !== undefined) continue
      const wish = plan.wishOf(edge)
      if (wish.perm !== edge.perm || wish.shared !== edge.shared) yield edge
    }
  }
}

function checkNode(
  plan: GraphPlan,
  node: NodeState,
  sum: PermissionPair,
  permissionsOf: (edge: EdgeState) => PermissionPair,
): void {
  checkConflicts(plan, node, sum, permissionsOf)
  const writes = sum.perm & (BLK_PERM_WRITE | BLK_PERM_WRITE_UNCHANGED)
  if (writes === 0) return
  const flags = plan.flagsOf(node)
  if ((flags & BDRV_O_RDWR) === 0 || (flags & BDRV_O_INACTIVE) !== 0) {
    const why = (flags & BDRV_O_INACTIVE) !== 0 ? 'inactive' : 'read-only'
    throw new BlockError(
      'EPERM',
      `${userOf(plan, node, writes, permissionsOf)} needs ${permissionNames(writes)}, but the node is ${why}`,
      {
        node: node.nodeName,
        op: 'permissions',
      },
    )
  }
  // Users who only ask for less are never refused: they may be on their way out.
  const gained = writes & ~cumulative(node).perm
  const { length, limits } = node.state
  if (gained !== 0 && node.opened && (sum.perm & BLK_PERM_RESIZE) === 0 && length % limits.requestAlignment !== 0) {
    throw new BlockError(
      'EPERM',
      `its length ${length} is no multiple of the request alignment ${limits.requestAlignment}: writing needs the resize permission too`,
      { node: node.nodeName, op: 'permissions' },
    )
  }
}

/** For every two users a and b: what b does must be shared by a. Looked at per permission, so it is linear in the users. */
function checkConflicts(
  plan: GraphPlan,
  node: NodeState,
  sum: PermissionPair,
  permissionsOf: (edge: EdgeState) => PermissionPair,
): void {
  const contested = sum.perm & ~sum.shared
  if (contested === 0) return
  const edges = [...plan.parentsOf(node)]
  for (let bit = 1; bit <= contested; bit <<= 1) {
    if ((contested & bit) === 0) continue
    const users = edges.filter((edge) => (permissionsOf(edge).perm & bit) !== 0)
    const deniers = edges.filter((edge) => (permissionsOf(edge).shared & bit) === 0)
    for (const user of users) {
      const denier = deniers.find((edge) => edge !== user)
      if (denier !== undefined) throw conflict(node, user, denier, bit)
    }
  }
}

function conflict(node: NodeState, user: EdgeState, denier: EdgeState, bit: Permissions): BlockError {
  return new BlockError(
    'EPERM',
    `${user.parent.describe()} uses '${permissionNames(bit)}' (as '${user.name}'), which ${denier.parent.describe()} does not allow (as '${denier.name}')`,
    { node: node.nodeName, op: 'permissions' },
  )
}

function userOf(
  plan: GraphPlan,
  node: NodeState,
  perm: Permissions,
  permissionsOf: (edge: EdgeState) => PermissionPair,
): string {
  for (const edge of plan.parentsOf(node)) {
    if ((permissionsOf(edge).perm & perm) !== 0) return `${edge.parent.describe()} (as '${edge.name}')`
  }
  return 'a user'
}

/** The visited nodes, parents before children in the proposed graph. */
function topological(plan: GraphPlan, visited: ReadonlyMap<NodeState, unknown>): NodeState[] {
  const order: NodeState[] = []
  const done = new Set<NodeState>()
  for (const root of visited.keys()) {
    const stack: { node: NodeState; leaving: boolean }[] = [{ node: root, leaving: false }]
    for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
      if (top.leaving) {
        order.push(top.node)
        continue
      }
      if (done.has(top.node)) continue
      done.add(top.node)
      stack.push({ node: top.node, leaving: true })
      for (const edge of plan.childrenOf(top.node)) {
        const child = plan.targetOf(edge)
        if (visited.has(child) && !done.has(child)) stack.push({ node: child, leaving: false })
      }
    }
  }
  return order.reverse()
}
