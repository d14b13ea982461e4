// States in which a dirty bitmap is not to be touched: in use by a job or export, read-only, inconsistent.

import { BlockError, quoteOutside } from '../common/error.js'
import type { BlockDriverState } from './block-node.js'
import type { DirtyBitmap } from './dirty-bitmap.js'

/** What {@link checkDirtyBitmap} refuses. */
export const BDRV_BITMAP_BUSY = 1
export const BDRV_BITMAP_RO = 2
export const BDRV_BITMAP_INCONSISTENT = 4
export const BDRV_BITMAP_DEFAULT = BDRV_BITMAP_BUSY | BDRV_BITMAP_RO | BDRV_BITMAP_INCONSISTENT
export const BDRV_BITMAP_ALLOW_RO = BDRV_BITMAP_BUSY | BDRV_BITMAP_INCONSISTENT

/** Throws EBUSY, EPERM or EINVAL where the bitmap is in a state that `mask` (`BDRV_BITMAP_*`) names. */
export function checkDirtyBitmap(node: BlockDriverState, bitmap: DirtyBitmap, mask = BDRV_BITMAP_DEFAULT): void {
  const details = { node: node.nodeName, op: 'bitmap' }
  const called = `Bitmap ${quoteOutside(bitmap.name ?? '')}`
  if ((mask & BDRV_BITMAP_BUSY) !== 0 && (bitmap.busy || bitmap.successor !== undefined)) {
    throw new BlockError('EBUSY', `${called} is currently in use by another operation and cannot be used`, details)
  }
  if ((mask & BDRV_BITMAP_RO) !== 0 && bitmap.readonly) {
    throw new BlockError('EPERM', `${called} is readonly and cannot be modified`, details)
  }
  if ((mask & BDRV_BITMAP_INCONSISTENT) !== 0 && bitmap.inconsistent) {
    throw new BlockError('EINVAL', `${called} is inconsistent and cannot be used`, {
      ...details,
      hint: 'Try block-dirty-bitmap-remove to delete this bitmap from disk',
    })
  }
}
