// What the demo does to the graph: every change in the main loop, in a drained section that covers what it touches. Each
// function returns how long its section lasted, in milliseconds, with the wait for it.

import { performance } from 'node:perf_hooks'
import {
  BLK_PERM_CONSISTENT_READ,
  BLK_PERM_WRITE,
  type BlockBackend,
  BlockError,
  type BlockGraph,
  blockStatusAbove,
  closeNode,
  copyRange,
  createBackend,
  type DrainedSection,
  drained,
  dropFilter,
  insertNode,
  type MainLoop,
  MiB,
  type NodeState,
  openNode,
  replaceNode,
} from 'blockgraph/node'

/** Opens a file as a raw disk, and a backend for a device on it. */
export function openUnderDevice(graph: BlockGraph, filename: string): Promise<BlockBackend> {
  return graph.mainLoop(async (main) => {
    const file = { driver: 'file', 'node-name': 'disk-file', filename }
    const node = await openNode(main, graph, { driver: 'raw', 'node-name': 'disk', discard: 'unmap', file })
    return createBackend(main, graph, {
      name: 'vda',
      node,
      perm: BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE,
      shared: BLK_PERM_CONSISTENT_READ,
    })
  }, 'open the disk')
}

/** Puts a throttle between the device and the disk. */
export function insertThrottle(graph: BlockGraph): Promise<number> {
  return graph.mainLoop((main) => {
    const disk = graph.node('disk')
    const options = { driver: 'throttle', 'node-name': 'limit', file: 'disk', 'limits.iops-total': 20_000 }
    return inSection([disk], (quiet) => insertNode(main, quiet, disk, options))
  }, 'insert a throttle')
}

/** Copies the disk inside a drained section, so that nothing changes meanwhile, and puts the copy in its place. */
export function moveToReplacement(graph: BlockGraph, filename: string, draw: () => Promise<void>): Promise<number> {
  return graph.mainLoop(async (main) => {
    const source = graph.node('disk')
    const file = { driver: 'file', 'node-name': 'disk2-file', filename }
    const target = await openNode(main, graph, { driver: 'raw', 'node-name': 'disk2', discard: 'unmap', file })
    const ms = await inSection([source, target], async (quiet) => {
      await copyNode(main, graph, source, target, draw)
      await replaceNode(main, quiet, source, target)
    })
    await closeNode(main, source)
    return ms
  }, 'replace the disk')
}

/** Takes the throttle out again. */
export function dropThrottle(graph: BlockGraph): Promise<number> {
  return graph.mainLoop((main) => {
    const filter = graph.node('limit')
    return inSection([filter, graph.node('disk2')], (quiet) => dropFilter(main, quiet, filter))
  }, 'drop the throttle')
}

async function inSection(nodes: NodeState[], edit: (quiet: DrainedSection) => Promise<unknown>): Promise<number> {
  const began = performance.now()
  const quiet = await drained(...nodes)
  try {
    await edit(quiet)
  } finally {
    quiet.end()
  }
  return performance.now() - began
}

/** Copies what the source has data for. A client that does its own holding may work inside a section it opened. */
async function copyNode(
  main: MainLoop,
  graph: BlockGraph,
  from: NodeState,
  to: NodeState,
  draw: () => Promise<void>,
): Promise<void> {
  const source = await createBackend(main, graph, { name: 'copy-from', node: from, holdWhileDrained: false })
  const target = await createBackend(main, graph, {
    name: 'copy-to',
    node: to,
    perm: BLK_PERM_WRITE,
    holdWhileDrained: false,
  })
  try {
    for (let at = 0; at < source.length; ) {
      const { bytes } = await blockStatusAbove(from, undefined, at, Math.min(source.length - at, MiB))
      await copyPiece(source, target, at, bytes)
      at += bytes
    }
    await target.flush()
    await draw()
  } finally {
    await target.close(main)
    await source.close(main)
  }
}

async function copyPiece(source: BlockBackend, target: BlockBackend, offset: number, bytes: number): Promise<void> {
  const { edge: from } = source
  const { edge: to } = target
  if (from === undefined || to === undefined) throw new BlockError('ENOMEDIUM', 'nothing to copy')
  try {
    await copyRange(from, offset, to, offset, bytes)
  } catch (error) {
    if (!(error instanceof BlockError) || error.code !== 'ENOTSUP') throw error
    const buffer = new Uint8Array(bytes)
    await source.read(offset, buffer)
    await target.write(offset, buffer)
  }
}
