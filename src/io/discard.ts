// Discards: advice that a range is no longer needed. Its content may stay or become zero; the node never grows.

import { BDRV_O_UNMAP } from '../common/open-flags.js'
import type { Offset } from '../common/units.js'
import type { BlockChild } from './block-node.js'
import { MAX_NESTING, nesting, unwound } from './nesting.js'
import { nodeError } from './node-error.js'
import type { Completion } from './node-io.js'
import { checkOpen, checkRange, checkWritable } from './stages/check.js'
import { discardDriver } from './stages/dispatch.js'
import { waitForConflicts } from './stages/serialise.js'
import { settleDiscard } from './stages/settle.js'
import { enter, leave } from './stages/track.js'

/**
 * Says that `bytes` bytes from byte `offset` on are not needed. Does nothing where the node was not opened to honour it
 * or its driver cannot. Fails with EPERM, EINVAL, EFBIG and ENOMEDIUM as a write does; a range behind the end is cut off.
 */
export function discard(edge: BlockChild, offset: Offset, bytes: number): Completion {
  const { node } = edge
  checkOpen(node, 'discard')
  checkRange(node, offset, bytes, 'discard')
  const inside = Math.min(bytes, node.state.length - offset)
  checkWritable(edge, offset, Math.max(inside, 0), 0, 'discard')
  if (inside <= 0 || (node.openFlags & BDRV_O_UNMAP) === 0 || node.io.discard === undefined) return undefined
  return nesting.depth < MAX_NESTING ? carefulDiscard(edge, offset, inside) : deepDiscard(edge, offset, inside)
}

async function carefulDiscard(edge: BlockChild, offset: Offset, bytes: number): Promise<void> {
  const { state } = edge.node
  const request = enter(state, 'discard', offset, bytes)
  try {
    await waitForConflicts(request)
    checkWritable(edge, offset, Math.min(bytes, Math.max(state.length - offset, 0)), 0, 'discard')
    await discardDriver(state, offset, Math.min(bytes, Math.max(state.length - offset, 0)))
  } catch (error) {
    throw nodeError(error, edge.node, 'discard')
  } finally {
    settleDiscard(state, offset, bytes)
    leave(request)
  }
}

async function deepDiscard(edge: BlockChild, offset: Offset, bytes: number): Promise<void> {
  await unwound()
  await discard(edge, offset, bytes)
}
