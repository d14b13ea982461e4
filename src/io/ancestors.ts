// Walks from nodes up to all that use them: whether anything is still under way there, and what, for reports.

import type { RequestReport } from '../common/trace.js'
import type { BlockChild, BlockDriverState } from './block-node.js'
import type { RequestState } from './request-state.js'

/** `nodes` and all nodes above them, each once, lower ones first. */
export function ancestorsOf(nodes: Iterable<BlockDriverState>): Set<BlockDriverState> {
  const found = new Set(nodes)
  // A set that grows while it is walked visits what was added.
  for (const node of found) {
    for (const edge of node.parents) if (edge.parent.node !== undefined) found.add(edge.parent.node)
  }
  return found
}

/** The first node with requests in flight, or busy parent, at or above `nodes`; undefined where all is at rest. */
export function busyReason(nodes: Iterable<BlockDriverState>): BlockDriverState | BlockChild | undefined {
  const found = new Set(nodes)
  for (const node of found) {
    if (node.state.inFlight > 0) return node
    for (const edge of node.parents) {
      if (edge.parent.node !== undefined) found.add(edge.parent.node)
      else if (edge.parent.busy?.(edge) === true) return edge
    }
  }
  return undefined
}

/** The requests in flight at a node, oldest last. `now` is the clock's time. */
export function reportRequests(state: RequestState, now: number): RequestReport[] {
  const reports: RequestReport[] = []
  for (let request = state.first; request !== undefined; request = request.next) {
    const { kind, offset, bytes, serialising, since } = request
    reports.push({ node: state.node.nodeName, kind, offset, bytes, serialising, ageMs: Math.max(now - since, 0) })
  }
  return reports
}

/** Who keeps a drain of `nodes` waiting, and every request in flight there. */
export function describeStall(
  nodes: Iterable<BlockDriverState>,
  now: number,
): { holder: string; requests: RequestReport[] } {
  const holders = new Set<string>()
  const requests: RequestReport[] = []
  for (const node of ancestorsOf(nodes)) {
    if (node.state.inFlight > 0) holders.add(`node '${node.nodeName}'`)
    requests.push(...reportRequests(node.state, now))
    for (const edge of node.parents) {
      if (edge.parent.node === undefined && edge.parent.busy?.(edge) === true) holders.add(edge.parent.describe())
    }
  }
  return { holder: [...holders].join(', ') || 'nobody', requests }
}
