// The second half of the demo: a qcow2 overlay on what the first half left behind. The guest goes on; a snapshot is taken under
// it in a drained section; the overlay is committed into its base; the image is checked, by us and by qemu-img where that is
// there.

import { spawnSync } from 'node:child_process'
import { performance } from 'node:perf_hooks'
import {
  BDRV_FIX_LEAKS,
  BLK_PERM_CONSISTENT_READ,
  BLK_PERM_WRITE,
  type BlockBackend,
  BlockError,
  type BlockGraph,
  checkImage,
  closeNode,
  commitImage,
  createBackend,
  createImage,
  createSnapshot,
  drained,
  listSnapshots,
  openNode,
} from 'blockgraph/node'

const NODE = 'overlay'

/** Makes an overlay on `base`, a raw image in the same folder, and opens it under a device. */
export function openOverlay(graph: BlockGraph, filename: string, base: string): Promise<BlockBackend> {
  return graph.mainLoop(async (main) => {
    await createImage(main, graph, { filename, format: 'qcow2', backingFile: base, backingFormat: 'raw' })
    const file = { driver: 'file', filename }
    const node = await openNode(main, graph, { driver: 'qcow2', 'node-name': NODE, discard: 'unmap', file })
    return createBackend(main, graph, {
      name: 'vdb',
      node,
      perm: BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE,
      shared: BLK_PERM_CONSISTENT_READ,
    })
  }, 'open the overlay')
}

/** Takes a snapshot inside the overlay while the guest runs. How long the section lasted, in milliseconds. */
export function snapshotOverlay(graph: BlockGraph, name: string): Promise<number> {
  return graph.mainLoop(async (main) => {
    const node = graph.node(NODE)
    const began = performance.now()
    const quiet = await drained(node)
    try {
      await createSnapshot(main, quiet, node, { name })
    } finally {
      quiet.end()
    }
    return performance.now() - began
  }, 'take a snapshot')
}

/** Closes the device's backend, commits the overlay into its base, and checks it. What was found, as a line. */
export function commitAndCheck(graph: BlockGraph, backend: BlockBackend, filename: string): Promise<string> {
  return graph.mainLoop(async (main) => {
    const node = graph.node(NODE)
    const snapshots = listSnapshots(node).map(({ name }) => name)
    await backend.close(main)
    await commitImage(main, node)
    const { corruptions, leaks, fragmentation } = await checkImage(main, node, BDRV_FIX_LEAKS)
    await closeNode(main, node)
    if (corruptions > 0 || leaks > 0) {
      throw new BlockError('EIO', `${filename}: ${corruptions} corruptions, ${leaks} leaked clusters`)
    }
    return `clean, ${fragmentation.allocatedClusters} clusters in use, snapshots: ${snapshots.join(', ')}; ${theirWord(filename)}`
  }, 'commit the overlay')
}

/** What qemu-img says of the image. */
function theirWord(filename: string): string {
  const { status, error, stderr } = spawnSync('qemu-img', ['check', '-q', '-f', 'qcow2', filename], {
    encoding: 'utf8',
  })
  if (error !== undefined) return 'qemu-img is not here to agree'
  if (status !== 0) throw new BlockError('EIO', `qemu-img finds ${filename} damaged: ${stderr}`)
  return 'qemu-img agrees'
}
