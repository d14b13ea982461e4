// The commit step: links, moves and unlinks edges, synchronously, and keeps parents quiesced exactly as long as their
// children are. It cannot fail; everything that could was asked before.

import { assert } from '../../common/assert.js'
import { BackendRoot } from '../../io/backend/root.js'
import { edgeLinked, edgeUnlinking } from '../../io/drained.js'
import type { EdgeState, NodeState } from '../node-state.js'
import type { EdgeChange } from './plan.js'

/**
 * Applies edge changes. All pointers move first; then parents of quiesced children are told to stop, and only then
 * parents are released, so that none runs for a moment in between.
 */
export function commitEdges(changes: readonly EdgeChange[]): void {
  for (const change of changes) applyPointers(change)
  for (const { edge } of changes) if (edge.linked && edge.node.state.quiesceCounter > 0) edgeLinked(edge)
  for (const change of changes) {
    if (!change.edge.linked || change.edge.node.state.quiesceCounter === 0) edgeUnlinking(change.edge)
  }
}

function applyPointers(change: EdgeChange): void {
  const { edge } = change
  assert(!edge.frozen, `edge '${edge.name}' of ${edge.parent.describe()} is frozen`)
  switch (change.kind) {
    case 'attach':
      link(edge)
      return
    case 'detach':
      unlink(edge)
      return
    case 'retarget':
      moveParent(edge, change.from, change.to)
  }
}

function link(edge: EdgeState): void {
  assert(!edge.linked, `edge '${edge.name}' is linked already`)
  edge.linked = true
  edge.node.parents.add(edge)
  edge.parentNode?.children.push(edge)
  if (edge.parent instanceof BackendRoot) edge.parent.edge = edge
}

function unlink(edge: EdgeState): void {
  assert(edge.linked, `edge '${edge.name}' is not linked`)
  edge.linked = false
  edge.node.parents.delete(edge)
  // Before the root is released: what it held meanwhile has to find no medium.
  if (edge.parent instanceof BackendRoot) edge.parent.edge = undefined
  const parent = edge.parentNode
  if (parent === undefined) return
  parent.children = parent.children.filter((other) => other !== edge)
  // With the last link goes what it inherited by: a later link to the same node is a reference.
  const { node } = edge
  if (node.inheritsFrom === parent && !parent.children.some((other) => other.node === node))
    node.inheritsFrom = undefined
}

function moveParent(edge: EdgeState, from: NodeState, to: NodeState): void {
  from.parents.delete(edge)
  to.parents.add(edge)
  edge.node = to
}
