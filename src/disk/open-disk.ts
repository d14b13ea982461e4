// Opening a Disk: a graph where none is given, a node from options or a file name, a backend on top.

import { BlockError } from '../common/error.js'
import {
  BLK_PERM_ALL,
  BLK_PERM_CONSISTENT_READ,
  BLK_PERM_RESIZE,
  BLK_PERM_WRITE,
  BLK_PERM_WRITE_UNCHANGED,
} from '../common/permissions.js'
import { createBackend } from '../global-state/backend.js'
import type { BlockDriver } from '../global-state/driver.js'
import { BlockGraph, type BlockGraphOptions } from '../global-state/graph.js'
import { dropHold } from '../global-state/life/close.js'
import { openNode } from '../global-state/life/open.js'
import { Disk, type DiskParts } from './disk.js'

/** How a disk is opened. */
export interface OpenDiskOptions {
  /** Open on this graph; by default on one of its own. */
  graph?: BlockGraph
  /** Settings of the graph made for this disk. */
  graphOptions?: Partial<BlockGraphOptions>
  /** Format of a file name; `raw` by default, since a format is not guessed unless asked. Not with `json:` names and options. */
  format?: string
  /** Guess the format of a file name. A guest that may write a raw disk can write any header into it: ask only for trusted images. */
  probe?: boolean
  /** Default: read-write. */
  readOnly?: boolean
  /** Let other users of the image do what they like; needs `readOnly`. */
  forceShare?: boolean
  /** Honour discards; default true. */
  discard?: boolean
  /** Other options of the node, nested or dotted. */
  options?: Readonly<Record<string, unknown>>
  /** Name of the backend, by which events and errors call the disk. */
  name?: string
  /** Ends the opening with ECANCELED between two of its steps. */
  signal?: AbortSignal
}

/** What is opened: a file name, a `json:` name, or options of a node, nested or dotted. */
export type DiskTarget = string | Readonly<Record<string, unknown>>

/** Opens `target` with `drivers` known to the graph made for it. Rejects as `openNode` does, everything closed again. */
export async function openDiskWith(
  drivers: Iterable<BlockDriver>,
  target: DiskTarget,
  options: OpenDiskOptions = {},
): Promise<Disk> {
  return new Disk(await openParts(() => new BlockGraph({ drivers, ...options.graphOptions }), target, options))
}

/** Opens the node and the backend of a disk, on a graph from `makeGraph` where the options name none. */
export function openParts(
  makeGraph: () => BlockGraph,
  target: DiskTarget,
  options: OpenDiskOptions,
): Promise<DiskParts> {
  const ownsGraph = options.graph === undefined
  const graph = options.graph ?? makeGraph()
  return graph.mainLoop(async (main) => {
    refuseAborted(options.signal)
    const settings = {
      probe: options.probe === true,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    }
    const opened = await openNode(main, graph, nodeOptions(target, options), settings)
    try {
      refuseAborted(options.signal)
      const backend = await createBackend(main, graph, {
        node: opened,
        perm: backendPermissions(opened.readOnly),
        shared: options.forceShare === true ? BLK_PERM_ALL : BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED,
        ...(options.name === undefined ? {} : { name: options.name }),
      })
      return { graph, backend, opened, ownsGraph }
    } catch (thrown) {
      await dropHold(main, opened)
      throw thrown
    }
  }, 'openDisk')
}

function refuseAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new BlockError('ECANCELED', 'the opening of a disk was aborted', { op: 'open' })
}

function nodeOptions(target: DiskTarget, options: OpenDiskOptions): Record<string, unknown> {
  const { readOnly, forceShare, discard = true, format } = options
  const generic: Record<string, unknown> = { discard: discard ? 'unmap' : 'ignore' }
  if (readOnly !== undefined) generic['read-only'] = readOnly
  if (forceShare === true) generic['force-share'] = true
  const isName = typeof target === 'string' && !target.startsWith('json:')
  if (!isName && format !== undefined) {
    throw new BlockError('EINVAL', "'format' is for file names: options name their driver themselves", { op: 'open' })
  }
  if (typeof target !== 'string') return { ...generic, ...target, ...options.options }
  // What a json: name says itself is not to be overruled by a default.
  if (!isName && options.discard === undefined) delete generic.discard
  const driver = format ?? (isName && options.probe !== true ? 'raw' : undefined)
  return { ...generic, ...(driver === undefined ? {} : { driver }), filename: target, ...options.options }
}

function backendPermissions(readOnly: boolean): number {
  if (readOnly) return BLK_PERM_CONSISTENT_READ
  return BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE | BLK_PERM_RESIZE
}
