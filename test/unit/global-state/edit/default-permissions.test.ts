import { describe, expect, it } from 'vitest'
import {
  BDRV_CHILD_COW,
  BDRV_CHILD_DATA,
  BDRV_CHILD_FILTERED,
  BDRV_CHILD_IMAGE,
  BDRV_CHILD_METADATA,
  BDRV_CHILD_PRIMARY,
} from '../../../../src/common/child-role.js'
import { BDRV_O_NO_IO } from '../../../../src/common/open-flags.js'
import {
  BLK_PERM_ALL,
  BLK_PERM_CONSISTENT_READ as R,
  BLK_PERM_WRITE_UNCHANGED as U,
  BLK_PERM_WRITE as W,
  BLK_PERM_RESIZE as Z,
} from '../../../../src/common/permissions.js'
import type { ChildPermissionContext } from '../../../../src/global-state/driver.js'
import { defaultChildPermissions } from '../../../../src/global-state/edit/default-permissions.js'
import { stubNode } from '../../../support/stub-node.js'

const node = stubNode('stub', 0)
const context = (over: Partial<ChildPermissionContext> = {}): ChildPermissionContext => ({
  writable: true,
  inactive: false,
  openFlags: 0,
  childNode: node,
  ...over,
})

describe('default permissions of a child', () => {
  it.each([
    ['nothing', 0, BLK_PERM_ALL],
    ['a writer that shares reads', R | W, R],
    ['everything', BLK_PERM_ALL, 0],
  ])('a filter passes on what it is asked: %s', (_what, perm, shared) => {
    const role = BDRV_CHILD_FILTERED | BDRV_CHILD_PRIMARY
    expect(defaultChildPermissions(role, { perm, shared }, context())).toEqual({ perm, shared })
  })

  it('a backing file is read, never written, and shares writing only where its overlay does', () => {
    const asked = { perm: R | W | Z, shared: R | U }
    expect(defaultChildPermissions(BDRV_CHILD_COW, asked, context())).toEqual({ perm: R, shared: R | U })
    const sharing = { perm: W, shared: BLK_PERM_ALL }
    expect(defaultChildPermissions(BDRV_CHILD_COW, sharing, context())).toEqual({ perm: 0, shared: BLK_PERM_ALL })
  })

  it('metadata is read always and written where the node is writable, with nobody beside', () => {
    const asked = { perm: 0, shared: BLK_PERM_ALL }
    expect(defaultChildPermissions(BDRV_CHILD_IMAGE, asked, context())).toEqual({ perm: R | W | Z, shared: R | U })
    expect(defaultChildPermissions(BDRV_CHILD_METADATA, asked, context({ writable: false }))).toEqual({
      perm: R,
      shared: R | U,
    })
    const noIo = context({ writable: false, openFlags: BDRV_O_NO_IO })
    expect(defaultChildPermissions(BDRV_CHILD_METADATA, asked, noIo)).toEqual({ perm: 0, shared: R | U })
  })

  it('data: unchanged writes imply writing, writing implies growing, and nobody else resizes', () => {
    const role = BDRV_CHILD_DATA | BDRV_CHILD_PRIMARY
    expect(defaultChildPermissions(role, { perm: U, shared: BLK_PERM_ALL }, context())).toEqual({
      perm: U | W | Z,
      shared: BLK_PERM_ALL & ~Z,
    })
    expect(defaultChildPermissions(role, { perm: R, shared: BLK_PERM_ALL }, context())).toEqual({
      perm: R,
      shared: BLK_PERM_ALL & ~Z,
    })
  })

  it('an inactive node lets the other process write', () => {
    const asked = { perm: 0, shared: R }
    const inactive = context({ inactive: true, writable: false })
    expect(defaultChildPermissions(BDRV_CHILD_IMAGE, asked, inactive).shared & (W | Z)).toBe(W | Z)
    expect(defaultChildPermissions(BDRV_CHILD_COW, asked, inactive).shared & (W | Z)).toBe(W | Z)
  })
})
