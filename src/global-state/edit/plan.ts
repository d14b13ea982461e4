// An edit of the graph as data: proposed edges, permissions and open flags. No node is touched; the questions an edit has
// to answer (children, parents, targets, flags) are asked of the plan, which answers for the graph as it would be.

import { assert } from '../../common/assert.js'
import type { ChildRole } from '../../common/child-role.js'
import type { OpenFlags } from '../../common/open-flags.js'
import type { PermissionPair } from '../../common/permissions.js'
import { BackendRoot } from '../../io/backend/root.js'
import type { ParentHooks } from '../../io/block-node.js'
import type { PreparedChange } from '../driver.js'
import { EdgeState, type NodeState } from '../node-state.js'

/** A proposed change of one edge. */
export type EdgeChange =
  | { kind: 'attach'; edge: EdgeState }
  | { kind: 'detach'; edge: EdgeState }
  | { kind: 'retarget'; edge: EdgeState; from: NodeState; to: NodeState }

/** A step of a driver that has to be prepared with the plan: committed or aborted once. */
export type PrepareStep = () => PreparedChange | Promise<PreparedChange>

interface ParentDelta {
  added: Set<EdgeState>
  removed: Set<EdgeState>
}

/** The edit under construction. */
export class GraphPlan {
  readonly changes: EdgeChange[] = []
  readonly steps: PrepareStep[] = []
  /**
   * The plan only takes away, or takes back what was just done: nobody may refuse it. A driver's veto is reported and passed
   * over, and the end of the section comes too late to stop it.
   */
  unconditional = false
  readonly #children = new Map<NodeState, EdgeState[]>()
  readonly #parents = new Map<NodeState, ParentDelta>()
  /** Children as they were when the plan first looked at them. */
  readonly #seen = new Map<NodeState, readonly EdgeState[]>()
  readonly #targets = new Map<EdgeState, NodeState>()
  readonly #wishes = new Map<EdgeState, PermissionPair>()
  readonly #flags = new Map<NodeState, OpenFlags>()
  readonly #touched = new Set<NodeState>()

  /** Proposes a new edge; the edge object exists from now on but is linked at commit. */
  attach(parent: ParentHooks, child: NodeState, name: string, role: ChildRole, wish?: PermissionPair): EdgeState {
    const edge = new EdgeState(parent, child, name, role)
    this.changes.push({ kind: 'attach', edge })
    this.#delta(child).added.add(edge)
    const node = edge.parentNode
    if (node !== undefined) this.#setChildren(node, [...this.childrenOf(node), edge])
    if (wish !== undefined) this.#wishes.set(edge, wish)
    this.#touch(edge, child)
    return edge
  }

  /** Proposes the end of an edge. */
  detach(edge: EdgeState): void {
    const child = this.targetOf(edge)
    this.changes.push({ kind: 'detach', edge })
    this.#removeParent(child, edge)
    const node = edge.parentNode
    if (node !== undefined) {
      this.#setChildren(
        node,
        this.childrenOf(node).filter((other) => other !== edge),
      )
    }
    this.#touch(edge, child)
  }

  /** Proposes that an edge leads to another node. */
  retarget(edge: EdgeState, to: NodeState): void {
    const from = this.targetOf(edge)
    if (from === to) return
    this.changes.push({ kind: 'retarget', edge, from, to })
    this.#targets.set(edge, to)
    this.#removeParent(from, edge)
    const delta = this.#delta(to)
    if (!delta.removed.delete(edge)) delta.added.add(edge)
    this.#touch(edge, from)
    this.#touch(edge, to)
  }

  /** Proposes what a root asks for. */
  setRootPermissions(edge: EdgeState, wish: PermissionPair): void {
    assert(edge.parentNode === undefined, 'permissions of an edge between nodes follow from its parent')
    this.#wishes.set(edge, wish)
    this.#touched.add(this.targetOf(edge))
  }

  /** Proposes other open flags. */
  setOpenFlags(node: NodeState, flags: OpenFlags): void {
    this.#flags.set(node, flags)
    this.#touched.add(node)
  }

  /** Asks for the permissions of `node` and what follows from them to be computed anew. */
  refresh(node: NodeState): void {
    this.#touched.add(node)
  }

  /** Adds a driver's step, prepared after the permissions are known to be sound. */
  addStep(step: PrepareStep): void {
    this.steps.push(step)
  }

  childrenOf(node: NodeState): readonly EdgeState[] {
    return this.#children.get(node) ?? node.children
  }

  *parentsOf(node: NodeState): Generator<EdgeState> {
    const delta = this.#parents.get(node)
    for (const edge of node.parents) if (delta === undefined || !delta.removed.has(edge)) yield edge
    if (delta !== undefined) yield* delta.added
  }

  targetOf(edge: EdgeState): NodeState {
    return this.#targets.get(edge) ?? edge.node
  }

  flagsOf(node: NodeState): OpenFlags {
    return this.#flags.get(node) ?? node.openFlags
  }

  /** What the user of a root edge asks for: the proposal, else what the edge has. */
  wishOf(edge: EdgeState): PermissionPair {
    return this.#wishes.get(edge) ?? { perm: edge.perm, shared: edge.shared }
  }

  /** Nodes at which permissions have to be computed anew. */
  get touched(): ReadonlySet<NodeState> {
    return this.#touched
  }

  get flagChanges(): ReadonlyMap<NodeState, OpenFlags> {
    return this.#flags
  }

  /** Whether another plan has meanwhile changed links that this one is about. */
  get outdated(): boolean {
    for (const change of this.changes) {
      if (change.kind === 'attach') {
        if (change.edge.parent instanceof BackendRoot && change.edge.parent.edge !== undefined) return true
        continue
      }
      if (!change.edge.linked || (change.kind === 'retarget' && change.edge.node !== change.from)) return true
    }
    for (const [node, seen] of this.#seen) {
      const { children } = node
      if (seen.length !== children.length || seen.some((edge, index) => children[index] !== edge)) return true
    }
    return false
  }

  #setChildren(node: NodeState, children: EdgeState[]): void {
    if (!this.#seen.has(node)) this.#seen.set(node, [...node.children])
    this.#children.set(node, children)
  }

  #touch(edge: EdgeState, child: NodeState): void {
    const parent = edge.parentNode
    if (parent !== undefined) this.#touched.add(parent)
    this.#touched.add(child)
  }

  #delta(node: NodeState): ParentDelta {
    let delta = this.#parents.get(node)
    if (delta === undefined) {
      delta = { added: new Set(), removed: new Set() }
      this.#parents.set(node, delta)
    }
    return delta
  }

  #removeParent(node: NodeState, edge: EdgeState): void {
    const delta = this.#delta(node)
    if (!delta.added.delete(edge)) delta.removed.add(edge)
  }
}
