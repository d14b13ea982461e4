// A node and an edge as global state owns them. Only global-state/edge.ts and the life-of-a-node files write the links,
// names and flags; everybody else sees the read-only views of io/block-node.ts.

import { BDRV_CHILD_FILTERED, type ChildRole } from '../common/child-role.js'
import { type BlockLimits, defaultLimits } from '../common/limits.js'
import type { BlockOpType } from '../common/op-types.js'
import { BDRV_O_INACTIVE, BDRV_O_RDWR, type OpenFlags } from '../common/open-flags.js'
import type { DetectZeroes } from '../common/option-names.js'
import { BLK_PERM_ALL, type Permissions } from '../common/permissions.js'
import { background } from '../io/background.js'
import type { BlockChild, BlockDriverState, DriverTraits, ParentHooks } from '../io/block-node.js'
import type { IoEnvironment } from '../io/environment.js'
import type { NodeIo } from '../io/node-io.js'
import { createRequestState, type RequestState } from '../io/request-state.js'
import { refreshLength } from '../io/truncate.js'
import type { BlockDriver } from './driver.js'
import type { BlockGraph } from './graph.js'
import type { FlatOptions } from './options/options.js'

/** Why an operation is blocked on a node; compared by identity. */
export interface BlockReason {
  readonly message: string
}

/** An edge; `parent` is a node's or a root's hooks. */
export class EdgeState implements BlockChild {
  readonly name: string
  readonly role: ChildRole
  readonly parent: ParentHooks
  node: NodeState
  perm: Permissions = 0
  shared: Permissions = BLK_PERM_ALL
  quiesced = false
  frozen = false
  /** Set between link and unlink. */
  linked = false

  constructor(parent: ParentHooks, node: NodeState, name: string, role: ChildRole) {
    this.parent = parent
    this.node = node
    this.name = name
    this.role = role
  }

  /** The parent where it is a node. */
  get parentNode(): NodeState | undefined {
    const { node } = this.parent
    return node instanceof NodeState ? node : undefined
  }
}

/** What a node is made from. */
export interface NodeSeed {
  graph: BlockGraph
  nodeName: string
  definition: BlockDriver
  openFlags: OpenFlags
  detectZeroes: DetectZeroes
}

const UNOPENED: NodeIo = {
  length: () => 0,
  read: () => {},
}

/** A node. It is its own parent hooks for the edges below it. */
export class NodeState implements BlockDriverState, ParentHooks {
  /** The graph it belongs to, for life. */
  readonly graph: BlockGraph
  readonly nodeName: string
  readonly definition: BlockDriver
  readonly driver: DriverTraits
  readonly state: RequestState
  io: NodeIo = UNOPENED
  /** What the driver's `open` returned as its state; undefined until then. */
  driverState: unknown = undefined
  /** The driver's `open` has returned. */
  opened = false
  openFlags: OpenFlags
  detectZeroes: DetectZeroes
  closed = false
  /** The last reference has gone and the node is being closed; stays set. */
  closing = false
  children: EdgeState[] = []
  readonly parents = new Set<EdgeState>()
  /** Named and temporary holds; together with the parent edges they keep the node open. */
  holds = 0
  /** What the user said, children left out; what is in force, inherited values included. */
  explicitOptions: FlatOptions = {}
  options: FlatOptions = {}
  /** The node whose inline options made this one; a reopen of that node reaches it. */
  inheritsFrom: NodeState | undefined
  /** Limits the driver stated when it opened. */
  ownLimits: Partial<BlockLimits> = {}
  /** Inserted by a job, not by a user: looked through when names are shown. */
  implicit = false
  /** The format was guessed from the image's first bytes. */
  probed = false
  #opBlockers: Map<BlockOpType, BlockReason[]> | undefined

  constructor(seed: NodeSeed) {
    this.nodeName = seed.nodeName
    this.definition = seed.definition
    this.driver = {
      name: seed.definition.name,
      kind: seed.definition.kind,
      supportsBacking: seed.definition.supportsBacking === true,
    }
    this.openFlags = seed.openFlags
    this.detectZeroes = seed.detectZeroes
    this.graph = seed.graph
    this.state = createRequestState(seed.graph.environment, this, defaultLimits())
  }

  get environment(): IoEnvironment {
    return this.graph.environment
  }

  get readOnly(): boolean {
    return (this.openFlags & BDRV_O_RDWR) === 0
  }

  get inactive(): boolean {
    return (this.openFlags & BDRV_O_INACTIVE) !== 0
  }

  get file(): EdgeState | undefined {
    return this.child('file') ?? (this.driver.kind === 'filter' ? this.#filtered() : undefined)
  }

  get backing(): EdgeState | undefined {
    return this.child('backing')
  }

  /** The child called `name`. */
  child(name: string): EdgeState | undefined {
    for (const edge of this.children) if (edge.name === name) return edge
    return undefined
  }

  /** A filter may name its child otherwise, as blkdebug does (`image`); `backing` is asked for by its own name. */
  #filtered(): EdgeState | undefined {
    return this.children.find((edge) => (edge.role & BDRV_CHILD_FILTERED) !== 0 && edge.name !== 'backing')
  }

  get node(): NodeState {
    return this
  }

  describe(): string {
    return `node '${this.nodeName}'`
  }

  resized(edge: BlockChild): void {
    // What shows all of a child has the child's length.
    if ((edge.role & BDRV_CHILD_FILTERED) === 0 || this.closed || !this.opened) return
    background(this, refreshLength(this))
  }

  /** Reasons by blocked operation; made when first asked for, since most nodes have none. */
  get opBlockers(): Map<BlockOpType, BlockReason[]> {
    this.#opBlockers ??= new Map()
    return this.#opBlockers
  }

  /** Whether any operation is blocked. */
  get hasOpBlockers(): boolean {
    return this.#opBlockers !== undefined && this.#opBlockers.size > 0
  }

  /** Parent edges plus holds; at 0 the node is closed. */
  get references(): number {
    return this.parents.size + this.holds
  }
}
