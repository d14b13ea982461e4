// Questions about and acts on the image behind a node that its driver alone can answer.

import type { BlockSizes } from '../common/block-info.js'
import { BlockError, toBlockError } from '../common/error.js'
import { BLK_PERM_WRITE, BLK_PERM_WRITE_UNCHANGED } from '../common/permissions.js'
import { cowChild, filterChild } from '../io/block-node.js'
import type { MainLoop } from './main-loop.js'
import { type EdgeState, NodeState } from './node-state.js'

/** Drops everything an overlay holds of its own. EPERM without a write permission on `edge`, ENOTSUP where the driver cannot. */
export function makeEmpty(main: MainLoop, edge: EdgeState): Promise<void> {
  return main.call('makeEmpty', edge.node.environment, async () => {
    const { node } = edge
    if ((edge.perm & (BLK_PERM_WRITE | BLK_PERM_WRITE_UNCHANGED)) === 0) {
      throw new BlockError('EPERM', `${edge.parent.describe()} may not write it`, {
        node: node.nodeName,
        op: 'makeEmpty',
      })
    }
    if (node.definition.makeEmpty === undefined) throw unsupported(node, 'makeEmpty')
    await node.definition.makeEmpty(node.driverState)
  })
}

/**
 * Writes another backing file name into the image. EINVAL for a format without a name, or (with `requireFormat`) a name
 * without a format; ENOSPC where the header is full; ENOTSUP where the driver cannot.
 */
export function changeBackingFile(
  main: MainLoop,
  node: NodeState,
  filename: string | undefined,
  format: string | undefined,
  requireFormat = true,
): Promise<void> {
  return main.call('changeBackingFile', node.environment, async () => {
    const refuse = (message: string) => {
      throw new BlockError('EINVAL', message, { node: node.nodeName, op: 'changeBackingFile' })
    }
    if (filename === undefined && format !== undefined) refuse('a backing format without a backing file')
    if (requireFormat && filename !== undefined && format === undefined) refuse('a backing file without its format')
    if (node.definition.changeBackingFile === undefined) throw unsupported(node, 'changeBackingFile')
    try {
      await node.definition.changeBackingFile(node.driverState, filename, format)
    } catch (thrown) {
      const { code, message, hint } = toBlockError(thrown, { node: node.nodeName })
      throw new BlockError(code, message, { op: 'changeBackingFile', hint, cause: thrown })
    }
  })
}

/** Whether a new image of this node reads as zero before anything is written. False in doubt. */
export function hasZeroInit(node: NodeState): boolean {
  for (let at: NodeState | undefined = node; at !== undefined; ) {
    if (cowChild(at) !== undefined) return false
    if (at.definition.hasZeroInit !== undefined) return at.definition.hasZeroInit(at.driverState)
    at = filteredNode(at)
  }
  return false
}

/** Physical and logical block size of what is below. ENOTSUP where no driver knows. */
export async function probeBlocksizes(node: NodeState): Promise<BlockSizes> {
  for (let at: NodeState | undefined = node; at !== undefined; at = filteredNode(at)) {
    if (at.definition.probeBlocksizes !== undefined) return at.definition.probeBlocksizes(at.driverState)
  }
  throw unsupported(node, 'probeBlocksizes')
}

function filteredNode(node: NodeState): NodeState | undefined {
  const child: unknown = filterChild(node)?.node
  return child instanceof NodeState ? child : undefined
}

function unsupported(node: NodeState, op: string): BlockError {
  return new BlockError('ENOTSUP', `driver '${node.driver.name}' does not support it`, { node: node.nodeName, op })
}
