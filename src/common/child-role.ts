// Child roles: what an edge is for, and which combinations make sense.

/** A bit set of `BDRV_CHILD_*`. */
export type ChildRole = number

export const BDRV_CHILD_DATA = 1
export const BDRV_CHILD_METADATA = 2
export const BDRV_CHILD_FILTERED = 4
export const BDRV_CHILD_COW = 8
export const BDRV_CHILD_PRIMARY = 16
export const BDRV_CHILD_IMAGE = BDRV_CHILD_DATA | BDRV_CHILD_METADATA | BDRV_CHILD_PRIMARY

const CONTENT = BDRV_CHILD_DATA | BDRV_CHILD_METADATA | BDRV_CHILD_FILTERED | BDRV_CHILD_COW

/** Why `role` is no role of an edge between nodes; undefined where it is one. */
export function childRoleFault(role: ChildRole): string | undefined {
  if ((role & CONTENT) === 0) return 'needs one of data, metadata, filtered, cow'
  const others = role & CONTENT & ~BDRV_CHILD_FILTERED
  if ((role & BDRV_CHILD_FILTERED) !== 0 && others !== 0) return 'filtered excludes data, metadata and cow'
  if ((role & BDRV_CHILD_COW) !== 0 && (role & CONTENT & ~BDRV_CHILD_COW) !== 0) {
    return 'cow excludes data, metadata and filtered'
  }
  if ((role & BDRV_CHILD_COW) !== 0 && (role & BDRV_CHILD_PRIMARY) !== 0) return 'cow is never primary'
  return undefined
}

/** What kind of driver a node has, as far as roles care. */
export type DriverKind = 'protocol' | 'format' | 'filter'

/**
 * Why a node whose children have `roles` breaks the rules between siblings; undefined where it keeps them.
 * A filter has exactly one filtered child (which is primary), no COW child, and no other primary one.
 */
export function childRolesFault(roles: readonly ChildRole[], kind: DriverKind): string | undefined {
  for (const role of roles) {
    const fault = childRoleFault(role)
    if (fault !== undefined) return fault
  }
  const count = (bit: number) => roles.filter((role) => (role & bit) !== 0).length
  if (count(BDRV_CHILD_FILTERED) > 1) return 'more than one filtered child'
  if (count(BDRV_CHILD_COW) > 1) return 'more than one cow child'
  if (count(BDRV_CHILD_PRIMARY) > 1) return 'more than one primary child'
  if (kind !== 'filter') return undefined
  if (count(BDRV_CHILD_COW) > 0) return 'a filter has no cow child'
  const filtered = roles.find((role) => (role & BDRV_CHILD_FILTERED) !== 0)
  if (filtered === undefined) return 'a filter needs a filtered child'
  if ((filtered & BDRV_CHILD_PRIMARY) === 0) return 'the filtered child of a filter is primary'
  return undefined
}

const NAMES: ReadonlyArray<readonly [number, string]> = [
  [BDRV_CHILD_DATA, 'data'],
  [BDRV_CHILD_METADATA, 'metadata'],
  [BDRV_CHILD_FILTERED, 'filtered'],
  [BDRV_CHILD_COW, 'cow'],
  [BDRV_CHILD_PRIMARY, 'primary'],
]

/** The names of the roles in `role`, in the order of their bits. */
export function childRoleNames(role: ChildRole): string[] {
  return NAMES.filter(([bit]) => (role & bit) !== 0).map(([, name]) => name)
}
