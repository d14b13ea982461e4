// Setting and reading the bits of a dirty bitmap. Creating, freezing, merging and releasing one is global state's.

import type { HBitmap } from '../common/hbitmap.js'

/** A record of which parts of a node changed since the bitmap was enabled. */
export interface DirtyBitmap {
  /** Unset for an anonymous one, such as a successor. */
  name: string | undefined
  bits: HBitmap
  /** Records writes. */
  enabled: boolean
  /** Used by a job or export: not to be changed by others. */
  busy: boolean
  /** Forbids writes and discards to the node. */
  readonly: boolean
  persistent: boolean
  /** Left in use by a crash: never trusted, only removable. */
  inconsistent: boolean
  skipStore: boolean
  /** Records in its place while the bitmap is in use by a backup. */
  successor: DirtyBitmap | undefined
}
