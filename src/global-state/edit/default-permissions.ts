// What a node asks of a child by default, a pure function of the edge's role.

import {
  BDRV_CHILD_COW,
  BDRV_CHILD_DATA,
  BDRV_CHILD_FILTERED,
  BDRV_CHILD_METADATA,
  type ChildRole,
} from '../../common/child-role.js'
import { BDRV_O_NO_IO } from '../../common/open-flags.js'
import {
  BLK_PERM_CONSISTENT_READ,
  BLK_PERM_RESIZE,
  BLK_PERM_WRITE,
  BLK_PERM_WRITE_UNCHANGED,
  type PermissionPair,
} from '../../common/permissions.js'
import type { ChildPermissionContext } from '../driver.js'

const WRITE_AND_RESIZE = BLK_PERM_WRITE | BLK_PERM_RESIZE

/** The permissions of an edge with `role` whose parent is asked for `asked`. */
export function defaultChildPermissions(
  role: ChildRole,
  asked: PermissionPair,
  context: ChildPermissionContext,
): PermissionPair {
  if ((role & BDRV_CHILD_FILTERED) !== 0) return { perm: asked.perm, shared: asked.shared }
  if ((role & BDRV_CHILD_COW) !== 0) return cowPermissions(asked, context)
  let { perm, shared } = asked
  if ((role & BDRV_CHILD_METADATA) !== 0) {
    if (context.writable) perm |= WRITE_AND_RESIZE
    if ((context.openFlags & BDRV_O_NO_IO) === 0) perm |= BLK_PERM_CONSISTENT_READ
    shared &= ~WRITE_AND_RESIZE
  }
  if ((role & BDRV_CHILD_DATA) !== 0) {
    shared &= ~BLK_PERM_RESIZE
    if ((perm & BLK_PERM_WRITE_UNCHANGED) !== 0) perm |= BLK_PERM_WRITE
    if ((perm & BLK_PERM_WRITE) !== 0) perm |= BLK_PERM_RESIZE
  }
  if (context.inactive) shared |= WRITE_AND_RESIZE
  return { perm, shared }
}

function cowPermissions(asked: PermissionPair, context: ChildPermissionContext): PermissionPair {
  let shared = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED
  if ((asked.shared & BLK_PERM_WRITE) !== 0 || context.inactive) shared |= WRITE_AND_RESIZE
  return { perm: asked.perm & BLK_PERM_CONSISTENT_READ, shared }
}
