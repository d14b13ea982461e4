// Invariants 6 to 10: permissions are a pure function of the graph, and nobody does what others do not allow.

import { BLK_PERM_ALL, BLK_PERM_WRITE, BLK_PERM_WRITE_UNCHANGED, permissionNames } from '../../common/permissions.js'
import { childPermissions } from '../../global-state/edit/permission-update.js'
import { GraphPlan } from '../../global-state/edit/plan.js'
import type { NodeState } from '../../global-state/node-state.js'
import { type Invariant, must } from './invariant.js'

/** 6: what one user does, every other one allows. */
export const noConflict: Invariant = {
  id: '6 (users allow each other)',
  at: 'step',
  check({ graph }) {
    for (const node of graph.nodes.values()) {
      for (const a of node.parents) {
        for (const b of node.parents) {
          const denied = a === b ? 0 : b.perm & ~a.shared
          must(
            denied === 0,
            `${b.parent.describe()} does '${permissionNames(denied)}' on ${node.nodeName}, which ${a.parent.describe()} does not allow`,
          )
        }
      }
    }
  },
}

/** 7 and 8: each edge has what its parent's driver asks, given what the parent's users ask. */
export const permissionsFollow: Invariant = {
  id: '7, 8 (permissions follow from the graph)',
  at: 'step',
  check({ graph, editing }) {
    if (editing) return
    for (const node of graph.nodes.values()) {
      const sum = sumOf(node)
      for (const edge of node.children) {
        const asked = childPermissions(new GraphPlan(), node, edge, sum)
        must(
          asked.perm === edge.perm && asked.shared === edge.shared,
          `'${edge.name}' of ${node.nodeName} has ${edge.perm}/${edge.shared}, but ${asked.perm}/${asked.shared} follow`,
        )
      }
    }
  },
}

/** 9: write permission only on nodes that take writes. */
export const writersOnWritable: Invariant = {
  id: '9 (writers only where writing is possible)',
  at: 'step',
  check({ graph }) {
    for (const node of graph.nodes.values()) {
      const writes = sumOf(node).perm & (BLK_PERM_WRITE | BLK_PERM_WRITE_UNCHANGED)
      must(writes === 0 || (!node.readOnly && !node.inactive), `${node.nodeName} has a writer but takes no writes`)
    }
  },
}

function sumOf(node: NodeState): { perm: number; shared: number } {
  let perm = 0
  let shared = BLK_PERM_ALL
  for (const edge of node.parents) {
    perm |= edge.perm
    shared &= edge.shared
  }
  return { perm, shared }
}

/** 24: a backend has the permissions its user asked for. */
export const wishesGranted: Invariant = {
  id: '24 (backends have what they asked for)',
  at: 'step',
  check({ graph, editing }) {
    if (editing) return
    for (const backend of graph.backends) {
      const { edge, permissions } = backend
      if (edge === undefined) continue
      must(
        edge.perm === permissions.perm && edge.shared === permissions.shared,
        `${backend.name} asked for other permissions than it has`,
      )
      must(edge.node.parents.has(edge), `the edge of ${backend.name} is in no list`)
    }
  },
}

export const permissionInvariants: readonly Invariant[] = [
  noConflict,
  permissionsFollow,
  writersOnWritable,
  wishesGranted,
]
