// Read-only views of the graph for I/O: a node, an edge, and what an edge's parent wants to hear. Global state owns the
// objects behind them and is alone in changing them.

import type { ChildRole, DriverKind } from '../common/child-role.js'
import type { OpenFlags } from '../common/open-flags.js'
import type { DetectZeroes } from '../common/option-names.js'
import type { Permissions } from '../common/permissions.js'
import type { Offset } from '../common/units.js'
import type { NodeIo } from './node-io.js'
import type { RequestState } from './request-state.js'

/** What I/O needs to know of a driver. */
export interface DriverTraits {
  readonly name: string
  readonly kind: DriverKind
  /** Status 0 means unallocated: reads then come from the backing file, or are zero. */
  readonly supportsBacking: boolean
  readonly encrypted?: boolean
}

/** A node of the graph (the field's name for it; "node" in prose). */
export interface BlockDriverState {
  readonly nodeName: string
  readonly driver: DriverTraits
  readonly io: NodeIo
  readonly state: RequestState
  readonly openFlags: OpenFlags
  readonly detectZeroes: DetectZeroes
  /** RDWR is set. */
  readonly readOnly: boolean
  /** Another process owns the image for now: no writes. */
  readonly inactive: boolean
  /** The node has been closed; nothing but its name is of use. */
  readonly closed: boolean
  readonly children: readonly BlockChild[]
  readonly parents: ReadonlySet<BlockChild>
  /** The primary or filtered child, by the name the field gives it. */
  readonly file: BlockChild | undefined
  /** The COW child (or the filtered child of a filter that says so). */
  readonly backing: BlockChild | undefined
}

/** An edge: parent -> child, with a name, a role and permissions. */
export interface BlockChild {
  readonly name: string
  readonly role: ChildRole
  readonly node: BlockDriverState
  readonly perm: Permissions
  readonly shared: Permissions
  readonly parent: ParentHooks
  /** Set while the parent has been told to stop because of this edge; written by io/drained only. */
  quiesced: boolean
  /** A frozen edge is neither replaced nor detached. */
  readonly frozen: boolean
}

/** The parent side of an edge. Hooks are synchronous, issue no requests and change no graph. */
export interface ParentHooks {
  /** The parent where it is a node. */
  readonly node: BlockDriverState | undefined
  /** The parent never moves to another node (a job's edge). */
  readonly stayAtNode?: boolean
  /** For messages: "node 'top'", "block device 'virtio0'". */
  describe(): string
  /** Not called for node parents: those are quiesced through their own counter. */
  drainedBegin?(edge: BlockChild): void
  drainedEnd?(edge: BlockChild): void
  /** Whether requests or work of the parent itself are still under way; asked again at each wake-up of a drain. */
  busy?(edge: BlockChild): boolean
  /** The child's length changed. Called in a microtask after the request that changed it. */
  resized?(edge: BlockChild, length: Offset): void
}

/** The filtered child of a filter. */
export function filterChild(node: BlockDriverState): BlockChild | undefined {
  return node.driver.kind === 'filter' ? (node.file ?? node.backing) : undefined
}

/** The COW child of a format node. */
export function cowChild(node: BlockDriverState): BlockChild | undefined {
  return node.driver.kind === 'filter' ? undefined : node.backing
}

/** The child that shows the same data where this node has none of its own: filtered or COW. */
export function filterOrCowChild(node: BlockDriverState): BlockChild | undefined {
  return filterChild(node) ?? cowChild(node)
}

/** The first node at or below `node` that is no filter. */
export function skipFilters(node: BlockDriverState): BlockDriverState {
  let current = node
  for (let child = filterChild(current); child !== undefined; child = filterChild(current)) current = child.node
  return current
}

/** The next layer of the backing chain, filters left out. */
export function backingChainNext(node: BlockDriverState): BlockDriverState | undefined {
  const child = cowChild(skipFilters(node))
  return child === undefined ? undefined : skipFilters(child.node)
}
