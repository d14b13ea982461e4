// What the crash harness is told about a format: how a new image is made on storages in memory, how it is opened over them, and
// what else it can do.

import type { ErrnoName } from '../../common/errno.js'
import { BLK_PERM_ALL, BLK_PERM_CONSISTENT_READ, BLK_PERM_RESIZE, BLK_PERM_WRITE } from '../../common/permissions.js'
import type { Offset } from '../../common/units.js'
import { type BlockBackend, createBackend } from '../../global-state/backend.js'
import type { BlockDriver } from '../../global-state/driver.js'
import { BlockGraph, type BlockGraphOptions } from '../../global-state/graph.js'
import { closeNode } from '../../global-state/life/close.js'
import { openNode } from '../../global-state/life/open.js'
import type { NodeState } from '../../global-state/node-state.js'
import { type ChunkStore, storageDriver } from '../storage/memory-storage.js'
import type { CrashCommand } from './crash-commands.js'

/** An open image under test. */
export interface CrashDisk {
  readonly graph: BlockGraph
  readonly node: NodeState
  readonly backend: BlockBackend
}

/** An act on the image that is not the guest's: what a tool asks of it. */
export interface CrashOperation {
  readonly name: string
  /** What the guest may see of it: everything is discarded, or the disk has another length. Nothing by default. */
  readonly effect?: 'discards' | { readonly length: Offset }
  run(disk: CrashDisk): Promise<void>
}

/** Options of a node, nested. */
export type NodeOptions = Readonly<Record<string, unknown>>

/** A format driver as the harness uses it. */
export interface CrashTarget {
  readonly name: string
  /** Every driver that `options` names, but for the storages. */
  readonly drivers: readonly BlockDriver[]
  /** What else its graphs are made with. */
  readonly graph?: Partial<BlockGraphOptions>
  /** The storages an image lies on; one called `disk` by default. */
  readonly storages?: readonly string[]
  /** Length of a new image in bytes, a multiple of 512. */
  readonly bytes: Offset
  /** Allocation unit in bytes, a multiple of 512. */
  readonly clusterBytes: number
  /** Makes a new image on empty stores. */
  create(stores: ReadonlyMap<string, ChunkStore>): Promise<void>
  /** Options of the node under test; `storages` holds the options of each storage's node by name. */
  options(storages: Readonly<Record<string, NodeOptions>>): NodeOptions
  /** Compressed writes of whole clusters. */
  readonly compressed?: boolean
  /** Changes of length to any multiple of 512. */
  readonly resize?: boolean
  /** Internal snapshots. */
  readonly snapshots?: boolean
  /** Persistent dirty bitmaps. */
  readonly bitmaps?: boolean
  /** What tools do to it. */
  readonly operations?: readonly CrashOperation[]
  /** Clusters that a new image leaks on purpose; 0 by default. */
  readonly leaks?: number
  /** Whether a healthy image may refuse `command` with `code`; ENOTSUP it always may. The command then counts as failed. */
  refuses?(command: CrashCommand, code: ErrnoName): boolean
  /** Whether a line that the check reports tells of a corruption that costs nothing, as a crash may leave it. */
  harmless?(line: string): boolean
  /**
   * A second opinion on an image that nobody has open, beside the driver's own check: what is wrong with it; undefined where
   * nothing is. With `noLeaks`, leaks are wrong as well.
   */
  inspect?(stores: ReadonlyMap<string, ChunkStore>, noLeaks: boolean): string | undefined
}

/** The storages of a target. */
export function storageNames(target: CrashTarget): readonly string[] {
  return target.storages ?? ['disk']
}

/** Empty stores for a new image. */
export function emptyStores(target: CrashTarget, make: () => ChunkStore): Map<string, ChunkStore> {
  return new Map(storageNames(target).map((name) => [name, make()]))
}

/** How an image under test is opened. */
export interface OpenCrashDiskOptions {
  readOnly?: boolean
  /** Drivers beside those of the target. */
  drivers?: readonly BlockDriver[]
  /** Puts further nodes between a storage and the format. */
  wrap?(name: string, storage: NodeOptions): NodeOptions
}

/** Opens the image on `stores`, read-write by default. */
export async function openCrashDisk(
  target: CrashTarget,
  stores: ReadonlyMap<string, ChunkStore>,
  options: OpenCrashDiskOptions = {},
): Promise<CrashDisk> {
  const { readOnly = false, drivers = [], wrap } = options
  const storages: Record<string, NodeOptions> = {}
  const storageDrivers: BlockDriver[] = []
  for (const [name, store] of stores) {
    storageDrivers.push(storageDriver(store, `storage-${name}`))
    const storage = { driver: `storage-${name}` }
    storages[name] = wrap === undefined ? storage : wrap(name, storage)
  }
  const graph = new BlockGraph({ ...target.graph, drivers: [...target.drivers, ...drivers, ...storageDrivers] })
  return await graph.mainLoop(async (main) => {
    const access = readOnly ? { 'read-only': true } : { discard: 'unmap' }
    const node = await openNode(main, graph, { ...access, ...target.options(storages) })
    try {
      const perm = BLK_PERM_CONSISTENT_READ | (readOnly ? 0 : BLK_PERM_WRITE | BLK_PERM_RESIZE)
      const backend = await createBackend(main, graph, { perm, shared: BLK_PERM_ALL, node })
      return { graph, node, backend }
    } catch (thrown) {
      await closeNode(main, node)
      throw thrown
    }
  }, 'open the image under test')
}

/** Closes the image, whatever fails on the way, and then rejects with that, or where something is left behind. */
export async function closeCrashDisk({ graph, node, backend }: CrashDisk): Promise<void> {
  const errors: unknown[] = []
  await graph.mainLoop(async (main) => {
    await backend.close(main).catch((error: unknown) => errors.push(error))
    await closeNode(main, node).catch((error: unknown) => errors.push(error))
  }, 'close the image under test')
  if (graph.nodes.size > 0) throw new Error(`nodes are left after close: ${[...graph.nodes.keys()].join(', ')}`)
  if (node.state.inFlight > 0) throw new Error(`${node.state.inFlight} requests are in flight after close`)
  if (errors.length > 0) throw errors[0]
}

/** Everything the guest sees. */
export async function readDisk({ backend }: CrashDisk): Promise<Uint8Array> {
  const content = new Uint8Array(backend.length)
  if (content.byteLength > 0) await backend.read(0, content)
  return content
}
