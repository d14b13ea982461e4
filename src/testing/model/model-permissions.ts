// Permissions recomputed from scratch over the whole model: every edge, every pair of users, every time (invariants 6 to 9).

import {
  BLK_PERM_ALL,
  BLK_PERM_CONSISTENT_READ,
  BLK_PERM_RESIZE,
  BLK_PERM_WRITE,
  BLK_PERM_WRITE_UNCHANGED,
  type PermissionPair,
} from '../../common/permissions.js'
import type { GraphModel, ModelEdge, ModelNode } from './graph-model.js'

/** What the graph should be: permissions by user and edge name, and why it may not be so. */
export interface ModelPermissions {
  edges: Map<string, PermissionPair>
  faults: string[]
}

/** The key of a node's edge. */
export const edgeKey = (parent: string, name: string) => `${parent}/${name}`
/** The key of a backend's edge. */
export const rootKey = (backend: string) => `backend ${backend}`

/** Recomputes all permissions. */
export function modelPermissions(model: GraphModel): ModelPermissions {
  const edges = new Map<string, PermissionPair>()
  const faults: string[] = []
  const usersOf = (name: string): { user: string; pair: PermissionPair }[] => [
    ...model.rootsOf(name).map(({ name: user, perm, shared }) => ({ user: rootKey(user), pair: { perm, shared } })),
    ...model
      .parentsOf(name)
      .map(({ parent, edge }) => ({ user: edgeKey(parent.name, edge.name), pair: pairOf(parent, edge) })),
  ]
  const pairOf = (parent: ModelNode, edge: ModelEdge): PermissionPair => {
    const key = edgeKey(parent.name, edge.name)
    const known = edges.get(key)
    if (known !== undefined) return known
    const pair = askedOfChild(model, parent, edge, sum(usersOf(parent.name)))
    edges.set(key, pair)
    return pair
  }
  for (const node of model.nodes.values()) {
    const users = usersOf(node.name)
    for (const { user, pair } of users) edges.set(user, pair)
    faults.push(...faultsAt(node, users))
  }
  return { edges, faults }
}

function sum(users: { pair: PermissionPair }[]): PermissionPair {
  let perm = 0
  let shared = BLK_PERM_ALL
  for (const { pair } of users) {
    perm |= pair.perm
    shared &= pair.shared
  }
  return { perm, shared }
}

function askedOfChild(model: GraphModel, parent: ModelNode, edge: ModelEdge, asked: PermissionPair): PermissionPair {
  let pair = asked
  if (edge.name === 'backing') {
    const lax = (asked.shared & BLK_PERM_WRITE) !== 0 || parent.inactive
    const shared = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED | (lax ? BLK_PERM_WRITE | BLK_PERM_RESIZE : 0)
    pair = { perm: asked.perm & BLK_PERM_CONSISTENT_READ, shared }
  }
  return model.node(edge.to).forceShare ? { perm: pair.perm, shared: BLK_PERM_ALL } : pair
}

function faultsAt(node: ModelNode, users: { user: string; pair: PermissionPair }[]): string[] {
  const faults: string[] = []
  for (const a of users) {
    for (const b of users) {
      if (a !== b && (b.pair.perm & ~a.pair.shared) !== 0) faults.push(`${node.name}: ${b.user} against ${a.user}`)
    }
  }
  const writes = sum(users).perm & (BLK_PERM_WRITE | BLK_PERM_WRITE_UNCHANGED)
  if (writes !== 0 && (node.readOnly || node.inactive)) faults.push(`${node.name} takes no writes`)
  return faults
}
