// Permission bits of an edge: `perm` is what a user of the child does, `shared` what it lets others do.

/** A bit set of `BLK_PERM_*`. */
export type Permissions = number

/** The view is complete and self-consistent. */
export const BLK_PERM_CONSISTENT_READ = 0x1
/** May change visible content. */
export const BLK_PERM_WRITE = 0x2
/** May write what does not change visible content; implied by WRITE for checks on requests. */
export const BLK_PERM_WRITE_UNCHANGED = 0x4
export const BLK_PERM_RESIZE = 0x8
// 0x10 was GRAPH_MOD and is not to be reused.
export const BLK_PERM_ALL = 0xf
/** Permissions a filter or format passes through to its child by default. */
export const DEFAULT_PERM_PASSTHROUGH = BLK_PERM_ALL
export const DEFAULT_PERM_UNCHANGED = BLK_PERM_ALL & ~DEFAULT_PERM_PASSTHROUGH

/** What an edge uses and what it lets others use. */
export interface PermissionPair {
  perm: Permissions
  shared: Permissions
}

/** A permission by its name in options and management interfaces. */
export type PermissionName = 'consistent-read' | 'write' | 'write-unchanged' | 'resize'

const BY_NAME: Record<PermissionName, Permissions> = {
  'consistent-read': BLK_PERM_CONSISTENT_READ,
  write: BLK_PERM_WRITE,
  'write-unchanged': BLK_PERM_WRITE_UNCHANGED,
  resize: BLK_PERM_RESIZE,
}

/** The permissions in `perm` as people read them: "consistent read, write"; empty for none. */
export function permissionNames(perm: Permissions): string {
  return permissionList(perm)
    .map((name) => name.replace('-', ' '))
    .join(', ')
}

/** The option names of the permissions in `perm`, in the order of their bits. */
export function permissionList(perm: Permissions): PermissionName[] {
  return (Object.keys(BY_NAME) as PermissionName[]).filter((name) => (perm & BY_NAME[name]) !== 0)
}

/** The bit of an option name. */
export function permissionFromName(name: PermissionName): Permissions {
  return BY_NAME[name]
}

/** Whether `name` names a permission. */
export function isPermissionName(name: string): name is PermissionName {
  return Object.hasOwn(BY_NAME, name)
}
