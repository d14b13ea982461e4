// Finding and listing nodes and backends.

import { BlockError, quoteOutside } from '../common/error.js'
import type { BlockBackend } from './backend.js'
import type { BlockGraph } from './graph.js'
import type { NodeState } from './node-state.js'

/** The node called `name`, if there is one. */
export function findNode(graph: BlockGraph, name: string): NodeState | undefined {
  return graph.nodes.get(name)
}

/** The node at the root of the backend called `name`, else the node called `name`. ENOMEDIUM for an empty backend. */
export function lookupNode(graph: BlockGraph, name: string): NodeState {
  const backend = graph.findBackend(name)
  if (backend === undefined) return graph.node(name)
  if (backend.node === undefined)
    throw new BlockError('ENOMEDIUM', `backend ${quoteOutside(name)} has no medium`, { op: 'lookup' })
  return backend.node
}

/** Nodes at the root of backends, each once, then those that somebody holds without a backend. */
export function* rootNodes(graph: BlockGraph): Generator<NodeState> {
  const seen = new Set<NodeState>()
  for (const backend of graph.backends) {
    const { node } = backend
    if (node !== undefined && !seen.has(node)) {
      seen.add(node)
      yield node
    }
  }
  for (const node of graph.nodes.values()) if (node.holds > 0 && !seen.has(node)) yield node
}

/** The name by which people know what uses `node`: its backend's, else its own. */
export function deviceOrNodeName(graph: BlockGraph, node: NodeState): string {
  return backendOf(graph, node)?.name ?? node.nodeName
}

/** The backend whose root is `node`, if any. */
export function backendOf(graph: BlockGraph, node: NodeState): BlockBackend | undefined {
  for (const backend of graph.backends) if (backend.node === node) return backend
  return undefined
}
