// The door to VM state, which formats store behind the guest's data. Offsets count from the start of the state.

import { BDRV_CHILD_PRIMARY } from '../common/child-role.js'
import { BlockError } from '../common/error.js'
import type { Bytes } from '../common/io-vector.js'
import type { Offset } from '../common/units.js'
import type { BlockDriverState } from './block-node.js'
import { nested } from './nesting.js'
import { nodeError } from './node-error.js'
import type { Completion } from './node-io.js'
import { checkData } from './stages/check.js'
import { enter, leave } from './stages/track.js'

/** Stores VM state. EPERM for a read-only node, ENOTSUP where neither the driver nor its primary children can. */
export function saveVmstate(node: BlockDriverState, offset: Offset, data: Bytes): Promise<void> {
  return atDoor(node, offset, data, true)
}

/** Reads VM state back. ENOTSUP as {@link saveVmstate}. */
export function loadVmstate(node: BlockDriverState, offset: Offset, into: Bytes): Promise<void> {
  return atDoor(node, offset, into, false)
}

async function atDoor(top: BlockDriverState, offset: Offset, bytes: Bytes, save: boolean): Promise<void> {
  checkData(top, offset, bytes.length, 'vmstate')
  const node = withDoor(top)
  if (save && node.readOnly) {
    throw new BlockError('EPERM', 'the node is read-only', { node: node.nodeName, op: 'vmstate' })
  }
  const request = enter(node.state, 'vmstate', offset, bytes.length)
  try {
    await nested((): Completion => (save ? node.io.vmstate?.save(offset, bytes) : node.io.vmstate?.load(offset, bytes)))
  } catch (error) {
    throw nodeError(error, node, 'vmstate')
  } finally {
    if (save) node.state.writeGeneration++
    leave(request)
  }
}

/** The first node from `top` down its primary children that has the door. */
function withDoor(top: BlockDriverState): BlockDriverState {
  for (let node: BlockDriverState | undefined = top; node !== undefined; node = primaryChild(node)) {
    if (node.io.vmstate !== undefined) return node
  }
  throw new BlockError('ENOTSUP', 'the format stores no VM state', { node: top.nodeName, op: 'vmstate' })
}

function primaryChild(node: BlockDriverState): BlockDriverState | undefined {
  return node.children.find((edge) => (edge.role & BDRV_CHILD_PRIMARY) !== 0)?.node
}
