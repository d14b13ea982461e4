// BlockBackend: what a device, an export, a job or a tool holds. It has a name, permissions it asks for, and one
// root edge, which may be empty, or replaced live. Its requests are the functions of io/backend.

import { BDRV_CHILD_FILTERED, BDRV_CHILD_PRIMARY } from '../common/child-role.js'
import { BlockError } from '../common/error.js'
import type { Bytes } from '../common/io-vector.js'
import { BLK_PERM_ALL, BLK_PERM_CONSISTENT_READ, type PermissionPair, type Permissions } from '../common/permissions.js'
import type { Offset } from '../common/units.js'
import type { Accounting } from '../io/backend/accounting.js'
import { type BlockStatusOptions, backendBlockStatus } from '../io/backend/block-status.js'
import { backendDiscard } from '../io/backend/discard.js'
import { backendFlush } from '../io/backend/flush.js'
import type { RequestOptions } from '../io/backend/perform.js'
import { backendRead } from '../io/backend/read.js'
import { BackendRoot, type BackendRootOptions, closeRoot } from '../io/backend/root.js'
import { backendLength, backendTruncate } from '../io/backend/truncate.js'
import { backendWrite } from '../io/backend/write.js'
import { backendWriteZeroes } from '../io/backend/write-zeroes.js'
import type { BlockStatus } from '../io/block-status.js'
import { drained } from '../io/drained.js'
import type { TruncateOptions } from '../io/node-io.js'
import { applyPlan } from './edit/apply-plan.js'
import { GraphPlan } from './edit/plan.js'
import type { BlockGraph } from './graph.js'
import { releaseNode } from './life/close.js'
import type { MainLoop } from './main-loop.js'
import { EdgeState, type NodeState } from './node-state.js'

/** How a backend is made. */
export interface CreateBackendOptions extends Omit<BackendRootOptions, 'name' | 'environment'> {
  /** In the same namespace as nodes; unnamed where it is left out. */
  name?: string
  /** What it asks for; consistent reads by default. */
  perm?: Permissions
  /** What it lets others do; everything by default. */
  shared?: Permissions
  /** The node to begin with. */
  node?: NodeState
}

/** Makes a backend, at `node` where one is given. EEXIST for a name taken, EPERM for permissions that conflict. */
export function createBackend(
  main: MainLoop,
  graph: BlockGraph,
  options: CreateBackendOptions = {},
): Promise<BlockBackend> {
  return main.call('createBackend', graph.environment, async () => {
    const { name, perm = BLK_PERM_CONSISTENT_READ, shared = BLK_PERM_ALL, node, ...rootOptions } = options
    if (name !== undefined) graph.reserveName(main, name)
    const root = new BackendRoot({ ...rootOptions, name: name ?? 'unnamed', environment: graph.environment })
    const backend = new BlockBackend(graph, name, root, { perm, shared })
    graph.addBackend(main, backend)
    try {
      if (node !== undefined) await backend.insert(main, node)
    } catch (thrown) {
      graph.removeBackend(main, backend)
      throw thrown
    }
    return backend
  })
}

/** A backend. Request methods are I/O and may be called from anywhere; those that take `main` change the graph. */
export class BlockBackend {
  readonly graph: BlockGraph
  readonly name: string | undefined
  readonly root: BackendRoot
  #wish: PermissionPair

  /** Made by {@link createBackend}. */
  constructor(graph: BlockGraph, name: string | undefined, root: BackendRoot, wish: PermissionPair) {
    this.graph = graph
    this.name = name
    this.root = root
    this.#wish = wish
  }

  /** The node at its root, if it has a medium. */
  get node(): NodeState | undefined {
    return this.edge?.node
  }

  /** The root edge. */
  get edge(): EdgeState | undefined {
    const { edge } = this.root
    return edge instanceof EdgeState ? edge : undefined
  }

  /** What it asks for and shares, whether or not it has a medium. */
  get permissions(): Readonly<PermissionPair> {
    return this.#wish
  }

  /** Length of the medium in bytes; ENOMEDIUM without one. */
  get length(): Offset {
    return backendLength(this.root)
  }

  get accounting(): Accounting {
    return this.root.accounting
  }

  /** Puts `node` at the root. EBUSY where there is one, EPERM where permissions conflict. */
  insert(main: MainLoop, node: NodeState): Promise<void> {
    return main.call('BlockBackend.insert', this.graph.environment, async (call) => {
      if (this.root.closed) throw new BlockError('ENODEV', `${this.root.describe()} is closed`, { op: 'insert' })
      if (this.root.edge !== undefined)
        throw new BlockError('EBUSY', `${this.root.describe()} has a medium already`, { op: 'insert' })
      const plan = new GraphPlan()
      plan.attach(this.root, node, 'root', BDRV_CHILD_FILTERED | BDRV_CHILD_PRIMARY, this.#wish)
      await applyPlan(call, plan, undefined, 'insert')
      if (!this.root.closed) return
      // Closed by another call meanwhile, which found no medium to take away.
      await this.remove(main)
      throw new BlockError('ENODEV', `${this.root.describe()} is closed`, { op: 'insert' })
    })
  }

  /** Takes the node away, once its requests are done. Later requests fail with ENOMEDIUM. */
  remove(main: MainLoop): Promise<void> {
    return main.call('BlockBackend.remove', this.graph.environment, async (call) => {
      const { edge } = this
      if (edge === undefined) return
      const { node } = edge
      const quiet = await drained(node)
      try {
        const plan = new GraphPlan()
        plan.unconditional = true
        plan.detach(edge)
        await applyPlan(call, plan, quiet, 'remove')
      } finally {
        quiet.end()
      }
      await releaseNode(main, node, call)
    })
  }

  /** Changes what it asks for and shares. EPERM, nothing changed, where that conflicts. */
  setPermissions(main: MainLoop, perm: Permissions, shared: Permissions): Promise<void> {
    return main.call('BlockBackend.setPermissions', this.graph.environment, async (call) => {
      const wish = { perm, shared }
      const { edge } = this
      if (edge !== undefined) {
        const plan = new GraphPlan()
        plan.setRootPermissions(edge, wish)
        await applyPlan(call, plan, undefined, 'setPermissions')
      }
      this.#wish = wish
    })
  }

  /** Ends the backend: waits for its requests, rejects those still held (ECANCELED), lets go of its node. */
  close(main: MainLoop): Promise<void> {
    return main.call('BlockBackend.close', this.graph.environment, async () => {
      if (this.root.closed) return
      closeRoot(this.root)
      try {
        await this.remove(main)
      } finally {
        this.graph.removeBackend(main, this)
      }
    })
  }

  /** Fills `into` from byte `offset`. */
  read(offset: Offset, into: Bytes, options?: RequestOptions): Promise<void> {
    return backendRead(this.root, offset, into, options)
  }

  /** Writes `data` at byte `offset`; the buffer is the request's until it settles. */
  write(offset: Offset, data: Bytes, options?: RequestOptions): Promise<void> {
    return backendWrite(this.root, offset, data, options)
  }

  writeZeroes(offset: Offset, bytes: number, options?: RequestOptions): Promise<void> {
    return backendWriteZeroes(this.root, offset, bytes, options)
  }

  discard(offset: Offset, bytes: number, options?: RequestOptions): Promise<void> {
    return backendDiscard(this.root, offset, bytes, options)
  }

  flush(options?: RequestOptions): Promise<void> {
    return backendFlush(this.root, options)
  }

  truncate(length: Offset, options?: RequestOptions & { truncate?: Partial<TruncateOptions> }): Promise<void> {
    return backendTruncate(this.root, length, options)
  }

  /** Status of the longest run of one kind at `offset`, looked for through the whole backing chain. */
  blockStatus(offset: Offset, bytes: number, options?: BlockStatusOptions): Promise<BlockStatus> {
    return backendBlockStatus(this.root, offset, bytes, options)
  }
}
