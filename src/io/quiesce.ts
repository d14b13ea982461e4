// The quiesce counters. A node is quiesced by each open section on it, each open drain-all, and each child edge whose child
// is quiesced; an edge remembers that its parent has been told. Steps 0 -> 1 and 1 -> 0 travel upwards by a worklist, so
// that a chain of any length fits the stack. Nothing here waits.

import { assert } from '../common/assert.js'
import { reportBackground } from './background.js'
import type { BlockChild, BlockDriverState } from './block-node.js'
import { wakeDrains } from './environment.js'

/** Raises the counter of each node; parents of those that were at 0 are told to stop, and so on upwards. */
export function beginQuiesce(nodes: Iterable<BlockDriverState>): void {
  const work = [...nodes]
  for (let node = work.pop(); node !== undefined; node = work.pop()) {
    node.state.quiesceCounter++
    if (node.state.quiesceCounter > 1) continue
    for (const edge of [...node.parents]) if (!edge.quiesced) tellBegin(edge, work)
    const { io } = node
    if (io.drainBegin !== undefined && !node.closed) guard(node, () => io.drainBegin?.())
  }
}

/** Takes one {@link beginQuiesce} back. Asserts that there was one. Nodes closed meanwhile are only counted. */
export function endQuiesce(nodes: Iterable<BlockDriverState>): void {
  const work = [...nodes]
  for (const node of work)
    assert(node.state.quiesceCounter > 0, `${node.nodeName}: a drained section ends that never began`)
  for (let node = work.pop(); node !== undefined; node = work.pop()) {
    assert(node.state.quiesceCounter > 0, `${node.nodeName}: a drained section ends that never began`)
    node.state.quiesceCounter--
    if (node.state.quiesceCounter > 0) continue
    const { io } = node
    if (io.drainEnd !== undefined && !node.closed) guard(node, () => io.drainEnd?.())
    // A hook may set off changes of the edges, so the walk goes over a snapshot and asks each edge again.
    for (const edge of [...node.parents]) if (edge.quiesced) tellEnd(edge, work)
  }
}

/**
 * Fits the parent of `edge` to its child: told to stop where the child is quiesced, released where not. To be called after
 * linking an edge, and after pointing one at another node; a parent that was told already is not released in between.
 */
export function edgeLinked(edge: BlockChild): void {
  const quiesced = edge.node.state.quiesceCounter > 0
  if (quiesced === edge.quiesced) return
  const work: BlockDriverState[] = []
  if (quiesced) {
    tellBegin(edge, work)
    beginQuiesce(work)
  } else {
    tellEnd(edge, work)
    endQuiesce(work)
    wakeDrains(edge.node.state.environment)
  }
}

/** Releases the parent of `edge` from what came through this edge. To be called before unlinking it. */
export function edgeUnlinking(edge: BlockChild): void {
  if (!edge.quiesced) return
  const work: BlockDriverState[] = []
  tellEnd(edge, work)
  endQuiesce(work)
  // A parent that goes while busy wakes nobody later: it no longer knows of the drain that waits for it.
  wakeDrains(edge.node.state.environment)
}

function tellBegin(edge: BlockChild, work: BlockDriverState[]): void {
  edge.quiesced = true
  const { parent } = edge
  if (parent.node !== undefined) work.push(parent.node)
  else if (parent.drainedBegin !== undefined) guard(edge.node, () => parent.drainedBegin?.(edge))
}

function tellEnd(edge: BlockChild, work: BlockDriverState[]): void {
  edge.quiesced = false
  const { parent } = edge
  if (parent.node !== undefined) work.push(parent.node)
  else if (parent.drainedEnd !== undefined) guard(edge.node, () => parent.drainedEnd?.(edge))
}

/** A hook that throws must not leave half of the graph quiesced. */
function guard(node: BlockDriverState, hook: () => void): void {
  try {
    hook()
  } catch (error) {
    reportBackground(node, error)
  }
}
