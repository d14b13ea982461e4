// openDisk for Node: all drivers of the library and the host's files, events on diagnostics channels.

import { type DiskTarget, type OpenDiskOptions, openParts } from '../disk/open-disk.js'
import { fileDriver } from '../drivers/file/index.js'
import { builtinDrivers } from '../drivers/index.js'
import type { BlockDriver } from '../global-state/driver.js'
import { BlockGraph, type BlockGraphOptions } from '../global-state/graph.js'
import { createContextTracker } from './async-context.js'
import { publishEvents } from './diagnostics.js'
import { realFolderPolicy } from './name-policy.js'
import { NodeDisk } from './node-disk.js'
import { nodeServices } from './services.js'

/** Every driver of the library that runs on Node. */
export const nodeDrivers: readonly BlockDriver[] = [...builtinDrivers, fileDriver]

/** How a graph is made on Node. */
export interface NodeGraphOptions extends Partial<BlockGraphOptions> {
  /** Turn mistakes of waiting order into errors at once (EDEADLK); costs about 0.2 us a request. Default false. */
  contextTracking?: boolean
}

/** How a disk is opened on Node. */
export interface NodeDiskOptions extends OpenDiskOptions {
  /** Settings of the graph made for this disk. */
  graphOptions?: NodeGraphOptions
}

/**
 * A graph that knows every driver, has the services of Node and tells its events on diagnostics channels. Of files that an image
 * names it opens those in the folder of the image.
 */
export function createGraph(options: NodeGraphOptions = {}): BlockGraph {
  const { contextTracking = false, ...rest } = options
  const graph = new BlockGraph({
    drivers: nodeDrivers,
    services: nodeServices,
    namePolicy: realFolderPolicy,
    ...(contextTracking ? { tracker: createContextTracker() } : {}),
    ...rest,
  })
  publishEvents(graph)
  return graph
}

/**
 * Opens an image: a file name (`raw` unless `format` says otherwise) or options of a node. `await using` closes it.
 * Rejects with a BlockError: ENOENT, EACCES, EAGAIN where another process holds the image, EINVAL for options.
 */
export async function openDisk(target: DiskTarget, options: NodeDiskOptions = {}): Promise<NodeDisk> {
  return new NodeDisk(await openParts(() => createGraph(options.graphOptions), target, options))
}
