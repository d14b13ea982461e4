// A graph as text, with everything that an edit may change and a failed edit has to leave alone: links in their order, permissions,
// options, flags, limits, holds. What requests and drains change by themselves (counters, lengths) is left out.

import type { BlockGraph } from '../global-state/graph.js'
import type { EdgeState, NodeState } from '../global-state/node-state.js'

/** Two graphs with equal text are equal as far as edits go. */
export function serialiseGraph(graph: BlockGraph): string {
  const nodes = [...graph.nodes.values()].map(serialiseNode)
  const backends = [...graph.backends].map(({ name, permissions, node }) => ({
    name,
    permissions,
    node: node?.nodeName,
  }))
  return JSON.stringify({ nodes, backends }, undefined, 1)
}

function serialiseNode(node: NodeState): unknown {
  return {
    name: node.nodeName,
    driver: node.driver.name,
    flags: node.openFlags,
    detectZeroes: node.detectZeroes,
    holds: node.holds,
    explicit: node.explicitOptions,
    options: node.options,
    limits: node.state.limits,
    inheritsFrom: node.inheritsFrom?.nodeName,
    children: node.children.map((edge) => [...serialiseEdge(edge), edge.node.nodeName]),
    parents: [...node.parents].map((edge) => [...serialiseEdge(edge), edge.parent.describe()]),
    bitmaps: node.state.bitmaps.map(({ name, enabled, busy, readonly, persistent }) => [
      name,
      enabled,
      busy,
      readonly,
      persistent,
    ]),
    blocked: node.hasOpBlockers ? [...node.opBlockers].map(([op, reasons]) => [op, reasons.length]) : [],
  }
}

function serialiseEdge({ name, role, perm, shared, frozen }: EdgeState): unknown[] {
  return [name, role, perm, shared, frozen]
}

/** The lines in which two graphs as text differ, the first `limit` of them; for messages. */
export function graphDifference(before: string, after: string, limit = 12): string {
  const [old, now] = [before.split('\n'), after.split('\n')]
  const lines: string[] = []
  for (let at = 0; at < Math.max(old.length, now.length) && lines.length < limit; at++) {
    if (old[at] !== now[at]) lines.push(`line ${at}: ${old[at]?.trim() ?? ''} -> ${now[at]?.trim() ?? ''}`)
  }
  return lines.join('\n')
}
