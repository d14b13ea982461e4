// Opening a Disk: a graph where none is given, a node from options or a file name, a backend on top.

import {
  BLK_PERM_ALL,
  BLK_PERM_CONSISTENT_READ,
  BLK_PERM_RESIZE,
  BLK_PERM_WRITE,
  BLK_PERM_WRITE_UNCHANGED,
} from '../common/permissions.js'
import { createBackend } from '../global-state/backend.js'
import { closeNode } from '../global-state/close.js'
import type { BlockDriver } from '../global-state/driver.js'
import { BlockGraph, type BlockGraphOptions } from '../global-state/graph.js'
import { openNode } from '../global-state/open.js'
import { Disk } from './disk.js'

/** How a disk is opened. */
export interface OpenDiskOptions {
  /** Open on this graph; by default on one of its own. */
  graph?: BlockGraph
  /** Settings of the graph made for this disk. */
  graphOptions?: Partial<BlockGraphOptions>
  /** Format of a file name; `raw` by default, since a format is not guessed unless asked. */
  format?: string
  /** Guess the format. A guest that may write a raw disk can write any header into it: ask only for trusted images. */
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
  signal?: AbortSignal
}

/** Opens `target`, a file name or options of a node, with `drivers` known to the graph made for it. */
export async function openDiskWith(
  drivers: Iterable<BlockDriver>,
  target: string | Readonly<Record<string, unknown>>,
  options: OpenDiskOptions = {},
): Promise<Disk> {
  const graph = options.graph ?? new BlockGraph({ drivers, ...options.graphOptions })
  const settings = {
    probe: options.probe === true,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  }
  return graph.mainLoop(async (main) => {
    const node = await openNode(main, graph, nodeOptions(target, options), settings)
    try {
      const backend = await createBackend(main, graph, {
        node,
        perm: backendPermissions(node.readOnly),
        shared: options.forceShare === true ? BLK_PERM_ALL : BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED,
        ...(options.name === undefined ? {} : { name: options.name }),
      })
      return new Disk(graph, backend, { node: true })
    } catch (thrown) {
      await closeNode(main, graph, node)
      throw thrown
    }
  }, 'openDisk')
}

function nodeOptions(
  target: string | Readonly<Record<string, unknown>>,
  options: OpenDiskOptions,
): Record<string, unknown> {
  const generic: Record<string, unknown> = {
    'read-only': options.readOnly === true,
    discard: options.discard === false ? 'ignore' : 'unmap',
  }
  if (options.forceShare === true) generic['force-share'] = true
  if (typeof target !== 'string') return { ...generic, ...target, ...options.options }
  const format = options.format ?? (options.probe === true ? undefined : 'raw')
  return { ...generic, ...(format === undefined ? {} : { driver: format }), filename: target, ...options.options }
}

function backendPermissions(readOnly: boolean): number {
  if (readOnly) return BLK_PERM_CONSISTENT_READ
  return BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE | BLK_PERM_RESIZE
}
