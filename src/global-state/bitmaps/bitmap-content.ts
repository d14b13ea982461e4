// Changing what dirty bitmaps hold, in a way that can be taken back: clear and merge. Bits may be more than needed, never
// fewer: where the node was written since, taking back keeps what that recorded.

import { BlockError } from '../../common/error.js'
import { HBitmap } from '../../common/hbitmap.js'
import type { BlockDriverState } from '../../io/block-node.js'
import type { DirtyBitmap } from '../../io/dirty-bitmap.js'
import type { MainLoop } from '../main-loop.js'
import { assertOf, BDRV_BITMAP_ALLOW_RO, checkDirtyBitmap } from './bitmaps.js'

/** What a bitmap held before it was cleared or merged into. */
export interface BitmapBackup {
  readonly bits: HBitmap
  /** Write generation of the node at that time. */
  readonly generation: number
}

/** Makes the bitmap clean. EBUSY, EPERM or EINVAL where it is in use, read-only or inconsistent. */
export function clearDirtyBitmap(main: MainLoop, node: BlockDriverState, bitmap: DirtyBitmap): BitmapBackup {
  main.check('clearDirtyBitmap', node.state.environment)
  assertOf(node, bitmap)
  checkDirtyBitmap(node, bitmap)
  return exchange(node, bitmap, new HBitmap(bitmap.bits.length, bitmap.bits.granularity))
}

/** Takes back what {@link clearDirtyBitmap} or {@link mergeDirtyBitmap} did. */
export function restoreDirtyBitmap(
  main: MainLoop,
  node: BlockDriverState,
  bitmap: DirtyBitmap,
  backup: BitmapBackup,
): void {
  main.check('restoreDirtyBitmap', node.state.environment)
  assertOf(node, bitmap)
  const { bits, generation } = backup
  bits.truncate(bitmap.bits.length)
  if (node.state.writeGeneration !== generation) bits.merge(bitmap.bits)
  bitmap.bits = bits
}

/** A bitmap to merge from, of this node or of another. */
export interface BitmapSource {
  node: BlockDriverState
  bitmap: DirtyBitmap
}

/**
 * Makes dirty in `target` what is dirty in any of `sources`; granularities may differ. Throws, nothing changed, where the
 * target may not be changed, a source is in use or inconsistent, or one covers another length (EINVAL).
 */
export function mergeDirtyBitmap(
  main: MainLoop,
  node: BlockDriverState,
  target: DirtyBitmap,
  sources: readonly BitmapSource[],
): BitmapBackup {
  main.check('mergeDirtyBitmap', node.state.environment)
  assertOf(node, target)
  checkDirtyBitmap(node, target)
  for (const source of sources) {
    assertOf(source.node, source.bitmap)
    checkDirtyBitmap(source.node, source.bitmap, BDRV_BITMAP_ALLOW_RO)
    if (source.bitmap.bits.length === target.bits.length) continue
    const sizes = `destination size is ${target.bits.length}, source size is ${source.bitmap.bits.length}`
    throw new BlockError('EINVAL', `Bitmaps are of different sizes (${sizes}) and can't be merged`, {
      node: node.nodeName,
      op: 'bitmap',
    })
  }
  const merged = target.bits.copy()
  for (const { bitmap } of sources) merged.merge(bitmap.bits)
  return exchange(node, target, merged)
}

function exchange(node: BlockDriverState, bitmap: DirtyBitmap, bits: HBitmap): BitmapBackup {
  const backup = { bits: bitmap.bits, generation: node.state.writeGeneration }
  bitmap.bits = bits
  return backup
}
