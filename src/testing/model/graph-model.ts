// The graph as plain objects, edited the naive way: what a block graph should be, with no thought for cost. Nothing here looks at
// the real one.

import type { Permissions } from '../../common/permissions.js'

/** Drivers the model knows. `staged` stores data, `overlay` stores data over a backing file, the others show their file. */
export type ModelDriver = 'staged' | 'raw' | 'throttle' | 'overlay'

export interface ModelEdge {
  name: 'file' | 'backing'
  to: string
  frozen: boolean
}

export interface ModelNode {
  name: string
  driver: ModelDriver
  readOnly: boolean
  /** What the user said of `read-only`; undefined where it is inherited. */
  explicitReadOnly: boolean | undefined
  /** The node whose inline options made this one. */
  owner: string | undefined
  inactive: boolean
  forceShare: boolean
  children: ModelEdge[]
  holds: number
}

export interface ModelBackend {
  name: string
  perm: Permissions
  shared: Permissions
  node: string | undefined
}

/** A chain that somebody froze, from `top` to `base`. */
export interface ModelFreeze {
  top: string
  base: string
}

/** What a bitmap has to have recorded. */
export interface ModelBitmap {
  /** Sectors that were surely written while it recorded. */
  readonly dirty: Set<number>
  /** The step in which it was made. */
  readonly since: number
}

/** Sectors of a layer by stamp; 0 reads as zero, undefined is the backing file's. */
export type ModelLayer = (number | undefined)[]

export const MODEL_SECTORS = 8

/** Nodes, backends and data by name. */
export class GraphModel {
  nodes = new Map<string, ModelNode>()
  backends = new Map<string, ModelBackend>()
  freezes: ModelFreeze[] = []
  readonly layers = new Map<string, ModelLayer>()
  /** Bitmaps by node and name. */
  readonly bitmaps = new Map<string, Map<string, ModelBitmap>>()

  /** A copy of the structure; data and bitmaps are shared, since an edit does not touch them. */
  copy(): GraphModel {
    const copy = new GraphModel()
    for (const [name, node] of this.nodes) {
      copy.nodes.set(name, { ...node, children: node.children.map((edge) => ({ ...edge })) })
    }
    for (const [name, backend] of this.backends) copy.backends.set(name, { ...backend })
    copy.freezes = [...this.freezes]
    return copy
  }

  /** Takes the structure of a copy over. */
  adopt(copy: GraphModel): void {
    this.nodes = copy.nodes
    this.backends = copy.backends
    this.freezes = copy.freezes
  }

  node(name: string): ModelNode {
    const node = this.nodes.get(name)
    if (node === undefined) throw new Error(`the model has no node ${name}`)
    return node
  }

  /** Edges between nodes that lead to `name`, with their parents. */
  parentsOf(name: string): { parent: ModelNode; edge: ModelEdge }[] {
    const found: { parent: ModelNode; edge: ModelEdge }[] = []
    for (const parent of this.nodes.values()) {
      for (const edge of parent.children) if (edge.to === name) found.push({ parent, edge })
    }
    return found
  }

  /** Backends whose medium is `name`. */
  rootsOf(name: string): ModelBackend[] {
    return [...this.backends.values()].filter((backend) => backend.node === name)
  }

  references(name: string): number {
    return this.parentsOf(name).length + this.rootsOf(name).length + this.node(name).holds
  }

  /** Whether `to` is `from` or below it. */
  reaches(from: string, to: string): boolean {
    if (from === to) return true
    return this.node(from).children.some((edge) => this.reaches(edge.to, to))
  }

  /** Closes `name` and what goes with it, if nothing refers to it. */
  release(name: string): void {
    const node = this.nodes.get(name)
    if (node === undefined || this.references(name) > 0 || node.children.some((edge) => edge.frozen)) return
    this.nodes.delete(name)
    for (const edge of node.children) this.release(edge.to)
  }

  /** The chain from `name` down: file of a filter, backing of an overlay. */
  chain(name: string): string[] {
    const next = this.chainEdge(name)
    return next === undefined ? [name] : [name, ...this.chain(next.to)]
  }

  /** The filtered or COW edge of a node. A raw node is no filter. */
  chainEdge(name: string): ModelEdge | undefined {
    const node = this.node(name)
    return node.driver === 'throttle' || node.driver === 'overlay' ? node.children[0] : undefined
  }

  /** The nodes a request to `name` goes through, down to the layer that stores it. */
  path(name: string): string[] {
    const node = this.node(name)
    const [edge] = node.children
    if (node.driver === 'staged' || node.driver === 'overlay' || edge === undefined) return [name]
    return [name, ...this.path(edge.to)]
  }

  /** The layer that stores what is written to `name`. */
  layerOf(name: string): string {
    return this.path(name).at(-1) ?? name
  }

  /** What a read of a sector of `name` gives. */
  visible(name: string, sector: number): number {
    const layer = this.layerOf(name)
    const value = this.layers.get(layer)?.[sector]
    if (value !== undefined) return value
    const backing = this.node(layer).children[0]
    return backing === undefined ? 0 : this.visible(backing.to, sector)
  }
}
