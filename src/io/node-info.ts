// What users of a node ask about it: sizes, facts of its format, alignment of memory, names.

import type { BlockDriverInfo } from '../common/block-info.js'
import { BDRV_CHILD_DATA, BDRV_CHILD_FILTERED, BDRV_CHILD_METADATA } from '../common/child-role.js'
import { BlockError } from '../common/error.js'
import { BDRV_MAX_ALIGNMENT } from '../common/limits.js'
import { BDRV_O_UNMAP } from '../common/open-flags.js'
import { BDRV_REQ_MAY_UNMAP } from '../common/request.js'
import { alignDown, alignUp, type Offset } from '../common/units.js'
import { type BlockDriverState, cowChild, filterChild } from './block-node.js'
import { nodeError } from './node-error.js'
import { settleAll } from './settle-all.js'
import { checkOpen } from './stages/check.js'

/** The cached length of the node in bytes. ENOMEDIUM for a closed one. */
export function nodeLength(node: BlockDriverState): Offset {
  checkOpen(node, 'length')
  return node.state.length
}

/** Facts of the node; a filter without its own shows its child's. ENOTSUP where the format has none. */
export async function nodeInfo(node: BlockDriverState): Promise<BlockDriverInfo> {
  for (let current: BlockDriverState | undefined = node; current !== undefined; current = filterChild(current)?.node) {
    checkOpen(current, 'info')
    if (current.io.info === undefined) continue
    const info = await guarded(current, current.io.info())
    if (info.clusterSize <= BDRV_MAX_ALIGNMENT) return info
    throw new BlockError('EINVAL', `clusters of ${info.clusterSize} bytes`, { node: current.nodeName, op: 'info' })
  }
  throw new BlockError('ENOTSUP', `driver '${node.driver.name}' has no such facts`, { node: node.nodeName, op: 'info' })
}

/** Facts that only this format has, as plain data; undefined where there are none. */
export async function nodeSpecificInfo(node: BlockDriverState): Promise<Record<string, unknown> | undefined> {
  checkOpen(node, 'info')
  return node.io.specificInfo === undefined ? undefined : guarded(node, node.io.specificInfo())
}

/**
 * Bytes allocated on the host: what the driver says; of a filter its child's; of a format the sum over the children that
 * hold its data and metadata. ENOTSUP for a protocol that cannot tell.
 */
export async function allocatedSize(node: BlockDriverState): Promise<number> {
  checkOpen(node, 'allocated-size')
  if (node.io.allocatedSize !== undefined) return guarded(node, node.io.allocatedSize())
  if (node.driver.kind === 'protocol') {
    const details = { node: node.nodeName, op: 'allocated-size' }
    throw new BlockError('ENOTSUP', `driver '${node.driver.name}' cannot tell what is allocated`, details)
  }
  const own = BDRV_CHILD_DATA | BDRV_CHILD_METADATA | BDRV_CHILD_FILTERED
  const children = node.children.filter((edge) => (edge.role & own) !== 0)
  const sizes = await settleAll(children, (edge) => allocatedSize(edge.node))
  return sizes.reduce((sum, size) => sum + size, 0)
}

/** A range widened to whole clusters of the format; itself where the format has none. */
export async function roundToClusters(
  node: BlockDriverState,
  offset: Offset,
  bytes: number,
): Promise<{ offset: Offset; bytes: number }> {
  const clusterSize = await clusterSizeOf(node)
  if (clusterSize === 0) return { offset, bytes }
  const start = alignDown(offset, clusterSize)
  return { offset: start, bytes: alignUp(offset + bytes, clusterSize) - start }
}

/** Alignment that buffers need to have at least, in bytes; 4096 for a closed node. */
export function minMemAlignment(node: BlockDriverState): number {
  return node.closed ? 4096 : node.state.limits.minMemAlignment
}

/** Alignment at which buffers are passed on without a copy, in bytes; 4096 for a closed node. */
export function optMemAlignment(node: BlockDriverState): number {
  return node.closed ? 4096 : node.state.limits.optMemAlignment
}

/** Whether requests may change the node now. */
export function isWritable(node: BlockDriverState): boolean {
  return !node.closed && !node.readOnly && !node.inactive
}

/** Whether zero writes may free space. */
export function canWriteZeroesWithUnmap(node: BlockDriverState): boolean {
  return (node.openFlags & BDRV_O_UNMAP) !== 0 && (node.state.zeroFlags & BDRV_REQ_MAY_UNMAP) !== 0
}

/** Whether compressed writes succeed; those of a filter need its child to take them as well. */
export function supportsCompressedWrites(node: BlockDriverState): boolean {
  if (node.io.writeCompressed === undefined) return false
  const child = filterChild(node)
  return child === undefined || supportsCompressedWrites(child.node)
}

/** What uses the node directly, for messages: "node 'top'", "block device 'virtio0'". */
export function parentNames(node: BlockDriverState): string[] {
  return [...node.parents].map((edge) => edge.parent.describe())
}

/** The name of the backing node. */
export function backingNodeName(node: BlockDriverState): string | undefined {
  return cowChild(node)?.node.nodeName
}

async function clusterSizeOf(node: BlockDriverState): Promise<number> {
  try {
    return (await nodeInfo(node)).clusterSize
  } catch (error) {
    if (error instanceof BlockError && error.code === 'ENOTSUP') return 0
    throw error
  }
}

async function guarded<T>(node: BlockDriverState, value: T | Promise<T>): Promise<T> {
  try {
    return await value
  } catch (error) {
    throw nodeError(error, node, 'info')
  }
}
