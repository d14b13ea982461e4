// Invariants 1 to 5, 20 and 21: nodes and edges fit together.

import { childRolesFault } from '../../common/child-role.js'
import type { NodeState } from '../../global-state/node-state.js'
import { type GraphView, type Invariant, must } from './invariant.js'

/** 1: nobody is below itself. */
export const acyclic: Invariant = {
  id: '1 (no cycle)',
  at: 'step',
  check({ graph }) {
    const done = new Set<NodeState>()
    const below = new Set<NodeState>()
    const visit = (node: NodeState): void => {
      must(!below.has(node), `${node.nodeName} is below itself`)
      if (done.has(node)) return
      below.add(node)
      for (const edge of node.children) visit(edge.node)
      below.delete(node)
      done.add(node)
    }
    for (const node of graph.nodes.values()) visit(node)
  },
}

/** 2: an edge stands once in its parent's list and once in its child's. */
export const edgesAgree: Invariant = {
  id: '2 (edges on both sides)',
  at: 'step',
  check({ graph }) {
    for (const node of graph.nodes.values()) {
      must(new Set(node.children).size === node.children.length, `${node.nodeName} lists a child edge twice`)
      for (const edge of node.children) {
        must(edge.linked, `${node.nodeName}: '${edge.name}' is listed but not linked`)
        must(edge.node.parents.has(edge), `${edge.node.nodeName} does not list its parent ${node.nodeName}`)
        must(edge.parentNode === node, `'${edge.name}' of ${node.nodeName} has another parent`)
      }
      for (const edge of node.parents) {
        must(edge.node === node, `${node.nodeName} lists an edge that leads to ${edge.node.nodeName}`)
        const parent = edge.parentNode
        if (parent !== undefined)
          must(parent.children.includes(edge), `${parent.nodeName} does not list '${edge.name}'`)
      }
    }
  },
}

/** 3: what can be reached is registered, under its own name. */
export const registered: Invariant = {
  id: '3 (registered by name)',
  at: 'step',
  check({ graph, editing }) {
    for (const [name, node] of graph.nodes) {
      must(node.nodeName === name, `${node.nodeName} is registered as ${name}`)
      must(graph.findBackend(name) === undefined, `${name} is a node and a backend`)
      for (const edge of node.children)
        must(graph.nodes.get(edge.node.nodeName) === edge.node, `${edge.node.nodeName} is not registered`)
      if (editing) continue
      for (const edge of node.parents) {
        const parent = edge.parentNode
        if (parent !== undefined)
          must(graph.nodes.get(parent.nodeName) === parent, `${parent.nodeName} is not registered`)
      }
    }
    for (const backend of graph.backends) {
      const { node } = backend
      if (node !== undefined)
        must(graph.nodes.get(node.nodeName) === node, `the medium of ${backend.name} is not registered`)
    }
  },
}

/** 5: what is in the graph is open; what has been closed has nothing left. */
export const openNodes: Invariant = {
  id: '5 (closed nodes are gone)',
  at: 'step',
  check({ graph }) {
    for (const node of graph.nodes.values())
      must(node.opened && !node.closed, `${node.nodeName} is registered but not open`)
  },
}

/** Throws unless `node`, which has been closed, has no edges, no requests and no counter left. */
export function checkClosed(node: NodeState): void {
  const { state } = node
  must(node.children.length === 0 && node.parents.size === 0, `${node.nodeName} is closed but has edges`)
  must(state.inFlight === 0 && state.first === undefined, `${node.nodeName} is closed but has requests in flight`)
  must(state.quiesceCounter === 0, `${node.nodeName} is closed but quiesced ${state.quiesceCounter} times`)
}

/** 20: a filter has one filtered child and its size; roles of siblings go together. */
export const roles: Invariant = {
  id: '20 (roles and filters)',
  at: 'step',
  check({ graph, editing }) {
    if (editing) return
    for (const node of graph.nodes.values()) {
      const fault = childRolesFault(
        node.children.map((edge) => edge.role),
        node.driver.kind,
      )
      must(fault === undefined, `${node.nodeName}: ${fault}`)
    }
  },
}

/** 20, second half: a filter is as long as its child. */
export const filterLength: Invariant = {
  id: '20 (length of filters)',
  at: 'rest',
  check({ graph }) {
    for (const node of graph.nodes.values()) {
      const child = node.driver.kind === 'filter' ? (node.file ?? node.backing) : undefined
      if (child === undefined) continue
      must(
        node.state.length === child.node.state.length,
        `${node.nodeName} is ${node.state.length} bytes long, its child ${child.node.state.length}`,
      )
    }
  },
}

export const structureInvariants: readonly Invariant<GraphView>[] = [
  acyclic,
  edgesAgree,
  registered,
  openNodes,
  roles,
  filterLength,
]
