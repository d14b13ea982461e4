// How a driver is declared: one exported value. The definition is global state; what `open` returns is its I/O half.

import { assert } from '../common/assert.js'
import type { BlockSizes, SnapshotInfo } from '../common/block-info.js'
import type { ChildRole, DriverKind } from '../common/child-role.js'
import type { ErrnoName } from '../common/errno.js'
import type { BlockLimits } from '../common/limits.js'
import type { OpenFlags } from '../common/open-flags.js'
import type { PermissionPair, Permissions } from '../common/permissions.js'
import type { RequestFlags } from '../common/request.js'
import type { Offset } from '../common/units.js'
import type { BlockChild, BlockDriverState } from '../io/block-node.js'
import type { DirtyBitmap } from '../io/dirty-bitmap.js'
import type { IoEnvironment } from '../io/environment.js'
import type { Completion, MaybePromise, NodeIo } from '../io/node-io.js'
import type { OptionSchema, OptionValues } from './options/option-schema.js'

/** What `open` may ask of the graph. Valid until `open` settles. */
export interface OpenContext {
  readonly nodeName: string
  /** The node being opened, to be named in status extents and copies later. Until `open` settles only its name is set. */
  readonly node: BlockDriverState
  readonly environment: IoEnvironment
  readonly openFlags: OpenFlags
  readonly readOnly: boolean
  /** Falls back to read-only where `auto-read-only` allows; otherwise throws `code`. */
  applyAutoReadOnly(code: ErrnoName, message: string): void
  /** Whether the child's options name something: a definition or a reference. `null` names nothing. */
  hasChild(name: string): boolean
  /**
   * Opens (or references) the child whose options stand under `name`, and attaches it. Rejects with EINVAL where there is
   * none, or null. `defaults` apply where the user says nothing else. A `filename` among them counts as found in the image:
   * it is taken from the image's folder, and only where the graph's `namePolicy` allows it. EACCES where it does not.
   */
  child(name: string, role: ChildRole, defaults?: Record<string, unknown>): Promise<BlockChild>
  /**
   * This driver was guessed from the first bytes of the image. A guessed raw node keeps its guest from turning the image
   * into another format, asking the probes of `drivers`.
   */
  readonly probed: boolean
  /** The image is in the making: opened by its own `create`, as far as it is written. */
  readonly creating: boolean
  /** Every driver the graph knows. */
  readonly drivers: readonly BlockDriver[]
  /** A copy of the graph's secret called `id`. EINVAL where there is none. */
  secret(id: string): Uint8Array
  /** Tells whoever listens something a person may want to know. */
  notice(message: string): void
  /** Tells whoever listens what the user of the image has to know of it. */
  warn(message: string): void
  readonly signal: AbortSignal | undefined
}

/** What `open` returns. Limits and supported flags are data. */
export interface OpenedNode<State> {
  io: NodeIo
  /** Handed to the definition's other methods and to `stateOf`. */
  state: State
  limits?: Partial<BlockLimits>
  readFlags?: RequestFlags
  writeFlags?: RequestFlags
  zeroFlags?: RequestFlags
  truncateFlags?: RequestFlags
}

/** What a driver is told when its permissions are asked for. */
export interface ChildPermissionContext {
  /** The node will be writable after the change under way. */
  readonly writable: boolean
  readonly inactive: boolean
  readonly openFlags: OpenFlags
  readonly childNode: BlockDriverState
}

/** What a reopen may ask. */
export interface ReopenContext<S extends OptionSchema> {
  readonly nodeName: string
  readonly node: BlockDriverState
  readonly options: OptionValues<S>
  readonly oldOptions: OptionValues<S>
  readonly openFlags: OpenFlags
  readonly readOnly: boolean
}

/** A change that is prepared and then either committed or aborted, each synchronously and once. */
export interface PreparedChange {
  commit(): void
  abort(): void
}

/** What `create` may use. `options` are creation options (`BLOCK_OPT_*`). */
export interface CreateContext {
  readonly environment: IoEnvironment
  readonly filename: string
  /**
   * Creates and opens the protocol layer below, of at least `size` bytes, for a format's `create`. With `filename` it is a
   * file beside the image, by a name as its user wrote it.
   */
  createFile(options: { size: Offset; preallocation?: string | undefined; filename?: string }): Promise<CreateFile>
  /**
   * Opens the image as far as it is written, without its backing file, for its driver to go on. Its children are files made
   * before, which are its own from then on: their edges are dead.
   */
  openImage(children: Readonly<Record<string, CreateFile>>): Promise<NewImageNode>
  /** A copy of the graph's secret called `id`. EINVAL where there is none. */
  secret(id: string): Uint8Array
  readonly signal: AbortSignal | undefined
}

/** The file a format driver writes its new image to. Closed when `create` settles. */
export interface CreateFile {
  readonly edge: BlockChild
}

/** What a new snapshot is to say of itself. */
export interface NewSnapshot {
  name: string
  /** Bytes of VM state that were stored before; 0 by default. */
  vmStateSize?: number
  vmClockNanoseconds?: bigint
  /** Instructions the guest had run. Default: 0. */
  icount?: bigint
}

/**
 * Snapshots inside an image. Snapshots are named by their index in `list`; the node and its parents are drained, and it is
 * writable (for `load` it is not). On failure the image shows what it showed before.
 */
export interface SnapshotSupport<State> {
  /** Throws ENOTSUP where this image can hold none. */
  refuse?(state: State): void
  list(state: State): readonly SnapshotInfo[]
  create(state: State, snapshot: NewSnapshot): Promise<void>
  /** Makes the disk what it was when the snapshot was taken, its length included. */
  apply(state: State, index: number): Promise<void>
  delete(state: State, index: number): Promise<void>
  /** Shows the snapshot in place of the disk until the node is closed. The length stays. */
  load(state: State, index: number): Promise<void>
}

/**
 * Dirty bitmaps that an image keeps. While a node is writable its persistent bitmaps are in memory and what is stored is marked
 * as in use, so that a crash leaves no bitmap that misses a write.
 */
export interface BitmapSupport<State> {
  /** Whether this image can keep bitmaps at all. */
  supported(state: State): boolean
  /** What is stored, for a node that was opened or activated. Marked as in use where it is writable, read-only otherwise. */
  load(state: State): MaybePromise<readonly DirtyBitmap[]>
  /** The node has become writable: marks what is stored as in use. */
  markInUse(state: State): Promise<void>
  /** Writes the persistent bitmaps of the node, which is about to be closed, inactive or read-only. */
  store(state: State): Promise<void>
  /** Throws, and says why, where a new bitmap could not be stored. Granularity in bytes. */
  refuseUnstorable(state: State, name: string, granularity: number): void
  /** Takes a bitmap out of the image, if it is stored there. */
  remove(state: State, name: string): Promise<void>
}

/** A new image that is open for its driver. Closed when `create` settles. */
export interface NewImageNode {
  readonly edge: BlockChild
  /** What the driver's `open` gave as its state. */
  readonly state: unknown
}

/** What `measure` is asked about. */
export interface MeasureContext {
  readonly environment: IoEnvironment
  /** The node whose data a new image is to hold; its length is in the options. Undefined: an image without data. */
  readonly source: BlockDriverState | undefined
  /** The bitmaps that the image of the source keeps; undefined where it keeps none. */
  readonly bitmaps: readonly DirtyBitmap[] | undefined
  /** A copy of the graph's secret called `id`. EINVAL where there is none. */
  secret(id: string): Uint8Array
}

/** The space a new image takes. In bytes. */
export interface ImageMeasure {
  /** For what it is to hold. */
  readonly required: number
  /** With every cluster allocated. */
  readonly fullyAllocated: number
  /** For the stored bitmaps of the source; undefined where source and image do not both have them. */
  readonly bitmaps?: number
}

/** What `amend` may use. */
export interface AmendContext {
  /** Also does what may end the access to data (passwords). */
  readonly force: boolean
  /** Told how far the change is: `done` of `total`, in units of the driver's. */
  progress(done: number, total: number): void
  /** A copy of the graph's secret called `id`. EINVAL where there is none. */
  secret(id: string): Uint8Array
  readonly signal: AbortSignal | undefined
}

/** A driver. `S` is the schema of its options, `State` what its open node keeps. */
export interface DriverDefinition<S extends OptionSchema = OptionSchema, State = unknown> {
  readonly name: string
  readonly kind: DriverKind
  readonly options: S
  /** `nbd` in `nbd:...`; the driver then takes file names with that prefix. */
  readonly protocolName?: string
  readonly supportsBacking?: boolean
  /** Its nodes may take compressed writes. */
  readonly compresses?: boolean
  /** A filter whose filtered child stands under `backing`. Kept for filters that jobs insert. */
  readonly filteredChildIsBacking?: boolean
  readonly needsFilename?: boolean
  /** All its data is encrypted, so that no host can copy a range of it from file to file. */
  readonly encrypted?: boolean
  /** May not be frozen into a chain by a job. */
  readonly neverFreeze?: boolean
  /** Options that change what data is seen: they force a `json:` name. A trailing dot means a prefix. */
  readonly strongOptions?: readonly string[]
  /** Options that a reopen may leave out, which resets them to their default. */
  readonly mutableOptions?: readonly string[]
  /** Names of the children the driver may open; the options under them are not its own. */
  readonly childNames?: readonly string[]
  /** Score 0..100 that this header (512 bytes or fewer) is an image of this format. */
  probe?(header: Uint8Array, filename: string): number
  /** Turns a file name into options. By default `{ filename }`. */
  parseFilename?(filename: string): Record<string, unknown>
  /** The exact name of the open node, if its options can be said in one. */
  filename?(options: OptionValues<S>): string | undefined
  open(context: OpenContext, options: OptionValues<S>): MaybePromise<OpenedNode<State>>
  /** Frees what `open` took. Nothing is in flight; every child is still attached. */
  close?(state: State): Completion
  /** What the driver asks of a child, given what its own users ask of it. Default: by role. */
  childPermissions?(
    state: State,
    child: { name: string; role: ChildRole },
    asked: PermissionPair,
    context: ChildPermissionContext,
  ): PermissionPair
  /** `check` may veto or prepare (file locks); then exactly one of `set` and `abort` follows. */
  readonly permissions?: {
    check(state: State, perm: Permissions, shared: Permissions): Completion
    set(state: State, perm: Permissions, shared: Permissions): void
    abort(state: State): void
  }
  refreshLimits?(state: State, limits: BlockLimits): void
  /** Stage a change of options. Absent: the node cannot be reopened with changed options of its own. */
  reopen?(state: State, context: ReopenContext<S>): MaybePromise<PreparedChange>
  activate?(state: State): Completion
  inactivate?(state: State): Completion
  /** Says whether a child may be added, and as what. */
  addChild?(state: State, child: BlockDriverState): { name: string; role: ChildRole }
  /** Vetoes by throwing. */
  delChild?(state: State, child: BlockChild): void
  /** Whether a new image reads as zero before anything is written. */
  hasZeroInit?(state: State): boolean
  /** Of a protocol: what tells the file that is open from all others, whatever its name. */
  identity?(state: State): string
  probeBlocksizes?(state: State): MaybePromise<BlockSizes>
  readonly createOptions?: OptionSchema
  create?(context: CreateContext, options: Record<string, unknown>): Promise<void>
  /** Of a protocol: deletes a file that was made for an image whose making failed. */
  deleteFile?(filename: string): Promise<void>
  /** Says how large a new image would be, by its creation options. */
  measure?(context: MeasureContext, options: Record<string, unknown>): MaybePromise<ImageMeasure>
  readonly amendOptions?: OptionSchema
  /** Changes what was chosen at creation. Options that were not given are undefined. */
  amend?(state: State, context: AmendContext, options: Record<string, unknown>): Promise<void>
  readonly snapshots?: SnapshotSupport<State>
  readonly bitmaps?: BitmapSupport<State>
  /** Debug points of a test driver (blkdebug). */
  readonly debug?: {
    breakpoint(state: State, event: string, tag: string): void
    removeBreakpoint(state: State, tag: string): void
    resume(state: State, tag: string): void
    isSuspended(state: State, tag: string): boolean
  }
  /** Whether `other`, found below this node, surely shows the same data (for replacing it). */
  recurseCanReplace?(state: State, node: BlockDriverState, other: BlockDriverState): boolean
  changeBackingFile?(state: State, filename: string | undefined, format: string | undefined): Completion
  makeEmpty?(state: State): Completion
}

/** Any driver, its types forgotten. */
export type BlockDriver = DriverDefinition<OptionSchema, unknown>

/** Declares a driver; checks what its types cannot say. */
export function defineDriver<S extends OptionSchema, State>(
  definition: DriverDefinition<S, State>,
): DriverDefinition<S, State> {
  assert(/^[a-z][a-z0-9-]*$/.test(definition.name), `driver name '${definition.name}' is not well-formed`)
  assert(!(definition.kind === 'filter' && definition.supportsBacking === true), 'a filter has no backing file')
  return definition
}

/** The drivers a graph knows, by name. */
export class DriverRegistry {
  readonly #drivers = new Map<string, BlockDriver>()

  constructor(drivers: Iterable<BlockDriver> = []) {
    for (const driver of drivers) this.register(driver)
  }

  /** Adds a driver; its name must be new. */
  register(driver: BlockDriver): void {
    assert(!this.#drivers.has(driver.name), `driver '${driver.name}' is registered already`)
    this.#drivers.set(driver.name, driver)
  }

  /** The driver called `name`. */
  find(name: string): BlockDriver | undefined {
    return this.#drivers.get(name)
  }

  /** The driver that takes file names with `prefix` before their colon. */
  findProtocol(prefix: string): BlockDriver | undefined {
    for (const driver of this.#drivers.values()) if (driver.protocolName === prefix) return driver
    return undefined
  }

  /** All drivers, sorted by name. */
  list(): BlockDriver[] {
    return [...this.#drivers.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
  }
}
