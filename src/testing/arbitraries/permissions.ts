// Permissions as users ask for them: mostly what a reader, a writer or a job would, sometimes anything.

import * as fc from 'fast-check'
import {
  BLK_PERM_ALL,
  BLK_PERM_CONSISTENT_READ,
  BLK_PERM_RESIZE,
  BLK_PERM_WRITE,
  type PermissionPair,
} from '../../common/permissions.js'

const WRITER = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE | BLK_PERM_RESIZE

/** Any set of permissions. */
export const anyPermissions = (): fc.Arbitrary<number> => fc.integer({ min: 0, max: BLK_PERM_ALL })

/** What a user does and lets others do. */
export function permissionPair(): fc.Arbitrary<PermissionPair> {
  return fc.oneof(
    { weight: 5, arbitrary: fc.constant({ perm: WRITER, shared: BLK_PERM_ALL }) },
    { weight: 3, arbitrary: fc.constant({ perm: BLK_PERM_CONSISTENT_READ, shared: BLK_PERM_ALL }) },
    { weight: 1, arbitrary: fc.constant({ perm: WRITER, shared: BLK_PERM_CONSISTENT_READ }) },
    { weight: 1, arbitrary: fc.constant({ perm: BLK_PERM_CONSISTENT_READ, shared: BLK_PERM_CONSISTENT_READ }) },
    { weight: 1, arbitrary: fc.record({ perm: anyPermissions(), shared: anyPermissions() }) },
  )
}
