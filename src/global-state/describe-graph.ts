// A graph as plain data, to be printed, compared or drawn: what nodes there are, who uses what with which permissions, what
// is drained and what is in flight. Read only; it takes a snapshot between two turns and keeps nothing of the graph.

import { type ChildRole, childRoleNames, type DriverKind } from '../common/child-role.js'
import { BLK_PERM_ALL, type PermissionName, type Permissions, permissionList } from '../common/permissions.js'
import type { RequestKind } from '../common/request.js'
import type { Offset } from '../common/units.js'
import { type DirtyBitmap, type DirtyBitmapInfo, dirtyBitmapInfo } from '../io/dirty-bitmap.js'

/** What is described of a graph; a BlockGraph is one. */
export interface DescribableGraph {
  readonly nodes: ReadonlyMap<string, DescribableNode>
  readonly backends: Iterable<DescribableBackend>
}

/** What is described of a node; a NodeState is one. */
export interface DescribableNode {
  readonly nodeName: string
  readonly driver: { readonly name: string; readonly kind: DriverKind }
  readonly state: DescribableState
  readonly readOnly: boolean
  readonly inactive: boolean
  readonly options?: { readonly [key: string]: unknown }
  readonly children: readonly DescribableEdge[]
  readonly parents: Iterable<DescribableEdge>
  readonly hasOpBlockers?: boolean
  readonly opBlockers?: ReadonlyMap<string, readonly { readonly message: string }[]>
}

interface DescribableState {
  readonly length: Offset
  readonly quiesceCounter: number
  readonly inFlight: number
  readonly first: DescribableRequest | undefined
  readonly bitmaps: readonly DirtyBitmap[]
}

interface DescribableRequest {
  readonly kind: RequestKind
  readonly offset: Offset
  readonly bytes: number
  readonly serialising: boolean
  readonly next: DescribableRequest | undefined
}

/** What is described of an edge. */
export interface DescribableEdge {
  readonly name: string
  readonly role: ChildRole
  readonly node: { readonly nodeName: string }
  readonly perm: Permissions
  readonly shared: Permissions
  readonly frozen: boolean
  readonly quiesced: boolean
  readonly parent: { readonly node: { readonly nodeName: string } | undefined; describe(): string }
}

/** What is described of a backend; a BlockBackend is one. */
export interface DescribableBackend {
  readonly name: string | undefined
  readonly root: { readonly edge: DescribableEdge | undefined; readonly inFlight?: number }
}

/** A request in flight. */
export interface RequestDescription {
  kind: RequestKind
  offset: Offset
  bytes: number
  serialising: boolean
}

/** A node. `perm` is what all its users together do, `shared` what all of them let others do. */
export interface NodeDescription {
  id: string
  name: string
  driver: string
  kind: DriverKind
  length: Offset
  readOnly: boolean
  inactive: boolean
  filename: string | null
  perm: PermissionName[]
  shared: PermissionName[]
  quiesceCounter: number
  inFlight: number
  requests: RequestDescription[]
  bitmaps: DirtyBitmapInfo[]
  /** Reasons by blocked operation. */
  opBlockers: { [op: string]: string[] }
}

/** Whoever holds a node from outside of the graph: a backend, or another user such as a job. */
export interface RootDescription {
  id: string
  kind: 'backend' | 'user'
  name: string
  inFlight: number
}

/** An edge from `from` (a root or a node) to the node `to`, both by id. */
export interface EdgeDescription {
  from: string
  to: string
  name: string
  role: string[]
  perm: PermissionName[]
  shared: PermissionName[]
  frozen: boolean
  quiesced: boolean
}

/** A graph as data: it survives JSON unchanged. */
export interface GraphDescription {
  nodes: NodeDescription[]
  roots: RootDescription[]
  edges: EdgeDescription[]
}

/** Describes a graph. Nodes stand in the order in which they were opened. */
export function describeGraph(graph: DescribableGraph): GraphDescription {
  const nodes = [...graph.nodes.values()]
  const { roots, edges } = describeRoots(graph, nodes)
  for (const node of nodes) {
    for (const edge of node.children) edges.push(describeEdge(nodeId(node), edge))
  }
  return { nodes: nodes.map(describeNode), roots, edges }
}

function describeNode(node: DescribableNode): NodeDescription {
  const { state } = node
  const filename = node.options?.filename
  let perm = 0
  let shared = BLK_PERM_ALL
  for (const edge of node.parents) {
    perm |= edge.perm
    shared &= edge.shared
  }
  return {
    id: nodeId(node),
    name: node.nodeName,
    driver: node.driver.name,
    kind: node.driver.kind,
    length: state.length,
    readOnly: node.readOnly,
    inactive: node.inactive,
    filename: typeof filename === 'string' ? filename : null,
    perm: permissionList(perm),
    shared: permissionList(shared),
    quiesceCounter: state.quiesceCounter,
    inFlight: state.inFlight,
    requests: requestsOf(state),
    bitmaps: state.bitmaps.map(dirtyBitmapInfo),
    opBlockers: blockersOf(node),
  }
}

function requestsOf(state: DescribableState): RequestDescription[] {
  const requests: RequestDescription[] = []
  for (let at = state.first; at !== undefined; at = at.next) {
    const { kind, offset, bytes, serialising } = at
    requests.push({ kind, offset, bytes, serialising })
  }
  return requests
}

/** Asked for only where something is blocked: most nodes have no list of blockers, and looking must not make one. */
function blockersOf(node: DescribableNode): { [op: string]: string[] } {
  if (node.hasOpBlockers !== true || node.opBlockers === undefined) return {}
  return Object.fromEntries([...node.opBlockers].map(([op, reasons]) => [op, reasons.map((reason) => reason.message)]))
}

/** Backends, also those without a node, and the other users of nodes. */
function describeRoots(
  graph: DescribableGraph,
  nodes: readonly DescribableNode[],
): Pick<GraphDescription, 'roots' | 'edges'> {
  const roots: RootDescription[] = []
  const edges: EdgeDescription[] = []
  const described = new Set<DescribableEdge>()
  for (const { name, root } of graph.backends) {
    const id = `backend:${name ?? `#${roots.length}`}`
    roots.push({ id, kind: 'backend', name: name ?? '', inFlight: root.inFlight ?? 0 })
    if (root.edge === undefined) continue
    described.add(root.edge)
    edges.push(describeEdge(id, root.edge))
  }
  const users = new Map<object, string>()
  for (const node of nodes) {
    for (const edge of node.parents) {
      if (edge.parent.node !== undefined || described.has(edge)) continue
      let id = users.get(edge.parent)
      if (id === undefined) {
        id = `user:${users.size}`
        users.set(edge.parent, id)
        roots.push({ id, kind: 'user', name: edge.parent.describe(), inFlight: 0 })
      }
      edges.push(describeEdge(id, edge))
    }
  }
  return { roots, edges }
}

function describeEdge(from: string, edge: DescribableEdge): EdgeDescription {
  return {
    from,
    to: nodeId(edge.node),
    name: edge.name,
    role: childRoleNames(edge.role),
    perm: permissionList(edge.perm),
    shared: permissionList(edge.shared),
    frozen: edge.frozen,
    quiesced: edge.quiesced,
  }
}

function nodeId(node: { readonly nodeName: string }): string {
  return `node:${node.nodeName}`
}
