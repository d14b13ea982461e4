// The successor of a dirty bitmap, for incremental backups: while a backup reads the bitmap, an anonymous
// successor records new writes. Success: the successor takes its place. Failure: both become one again. No write is lost.

import { assert } from '../../common/assert.js'
import { HBitmap } from '../../common/hbitmap.js'
import type { BlockDriverState } from '../../io/block-node.js'
import { type DirtyBitmap, newBitmap } from '../../io/dirty-bitmap.js'
import { setBitmaps } from '../../io/gates.js'
import type { MainLoop } from '../main-loop.js'
import { assertOf, checkDirtyBitmap } from './bitmaps.js'

/**
 * Freezes the bitmap and lets a successor record in its place, if the bitmap did. EBUSY, EPERM or EINVAL where it is in
 * use, read-only or inconsistent.
 */
export function createBitmapSuccessor(main: MainLoop, node: BlockDriverState, bitmap: DirtyBitmap): DirtyBitmap {
  main.check('createBitmapSuccessor', node.state.environment)
  assertOf(node, bitmap)
  checkDirtyBitmap(node, bitmap)
  const successor = newBitmap(new HBitmap(bitmap.bits.length, bitmap.bits.granularity), bitmap.enabled)
  bitmap.enabled = false
  bitmap.busy = true
  bitmap.successor = successor
  return successor
}

/** The backup succeeded: the successor takes name, persistence and place of the bitmap, which is gone. */
export function abdicateBitmap(main: MainLoop, node: BlockDriverState, bitmap: DirtyBitmap): DirtyBitmap {
  main.check('abdicateBitmap', node.state.environment)
  const successor = successorOf(node, bitmap)
  successor.name = bitmap.name
  successor.persistent = bitmap.persistent
  bitmap.successor = undefined
  bitmap.persistent = false
  bitmap.busy = false
  setBitmaps(
    node,
    node.state.bitmaps.map((other) => (other === bitmap ? successor : other)),
  )
  return successor
}

/** The backup failed: what the successor recorded joins the bitmap, which records again if the successor did. */
export function reclaimBitmap(main: MainLoop, node: BlockDriverState, bitmap: DirtyBitmap): DirtyBitmap {
  main.check('reclaimBitmap', node.state.environment)
  const successor = successorOf(node, bitmap)
  bitmap.bits.merge(successor.bits)
  bitmap.enabled = successor.enabled
  bitmap.successor = undefined
  bitmap.busy = false
  return bitmap
}

function successorOf(node: BlockDriverState, bitmap: DirtyBitmap): DirtyBitmap {
  assertOf(node, bitmap)
  assert(bitmap.successor !== undefined, `bitmap '${bitmap.name ?? ''}' has no successor`)
  return bitmap.successor
}
