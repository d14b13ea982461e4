// What a device with a disk needs to know of the node at its root, besides the requests themselves.

import { BLK_PERM_WRITE } from '../../../common/permissions.js'
import type { Offset } from '../../../common/units.js'
import type { BackendRoot } from '../../../io/backend/root.js'

/** Length of the disk in bytes; 0 without a node. */
export function lengthOfRoot(root: BackendRoot): Offset {
  return root.edge?.node.state.length ?? 0
}

/** Whether the root may write: it has the permission, and the node is not read-only. */
export function isRootWritable(root: BackendRoot): boolean {
  const { edge } = root
  return edge !== undefined && (edge.perm & BLK_PERM_WRITE) !== 0 && !edge.node.readOnly
}
