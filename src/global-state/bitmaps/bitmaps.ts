// Dirty bitmaps of a node: life and flags. Whoever changes a bitmap asks checkDirtyBitmap first: one in use
// by a job, a read-only and an inconsistent one are not to be touched. Errors leave everything as it was.

import { assert } from '../../common/assert.js'
import { BlockError, quoteOutside } from '../../common/error.js'
import { HBitmap } from '../../common/hbitmap.js'
import { BDRV_BITMAP_MAX_NAME_SIZE, BDRV_SECTOR_SIZE } from '../../common/limits.js'
import { isPowerOfTwo, KiB } from '../../common/units.js'
import type { BlockDriverState } from '../../io/block-node.js'
import {
  BDRV_BITMAP_ALLOW_RO,
  BDRV_BITMAP_BUSY,
  BDRV_BITMAP_RO,
  checkDirtyBitmap,
} from '../../io/check-dirty-bitmap.js'
import { type DirtyBitmap, newBitmap } from '../../io/dirty-bitmap.js'
import { setBitmaps } from '../../io/gates.js'
import { isWritable, nodeInfo } from '../../io/node-info.js'
import type { MainLoop } from '../main-loop.js'
import { refuseUnstorable, removeStored } from './stored-bitmaps.js'

export {
  BDRV_BITMAP_ALLOW_RO,
  BDRV_BITMAP_BUSY,
  BDRV_BITMAP_DEFAULT,
  BDRV_BITMAP_INCONSISTENT,
  BDRV_BITMAP_RO,
  checkDirtyBitmap,
} from '../../io/check-dirty-bitmap.js'

const MIN_DEFAULT_GRANULARITY = 4 * KiB
const MAX_DEFAULT_GRANULARITY = 64 * KiB
const MAX_GRANULARITY = 2 ** 31

/** How a bitmap is made. */
export interface DirtyBitmapOptions {
  /** Unset for an anonymous one; unique among the bitmaps of the node. */
  name?: string | undefined
  /** Bytes per bit: a power of two, 512 .. 2^31. Default: {@link defaultBitmapGranularity}. */
  granularity?: number | undefined
  /** To be stored in the image when it is closed; only a named one can be. */
  persistent?: boolean
  /** Records nothing until it is enabled. */
  disabled?: boolean
}

/** Makes a bitmap over the length of `node` and lets it record. EINVAL for bad options, EEXIST for a name that is taken. */
export function createDirtyBitmap(
  main: MainLoop,
  node: BlockDriverState,
  options: DirtyBitmapOptions = {},
): Promise<DirtyBitmap> {
  return main.call('createDirtyBitmap', node.state.environment, async (call) => {
    const granularity = options.granularity ?? (await defaultBitmapGranularity(node))
    call.resumed()
    return addDirtyBitmap(main, node, { ...options, granularity })
  })
}

/** {@link createDirtyBitmap} where the granularity is known: nothing is waited for. */
export function addDirtyBitmap(
  main: MainLoop,
  node: BlockDriverState,
  options: DirtyBitmapOptions & { granularity: number },
): DirtyBitmap {
  main.check('addDirtyBitmap', node.state.environment)
  const { name, granularity, persistent = false, disabled = false } = options
  if (node.closed) throw new BlockError('ENOMEDIUM', 'the node is closed', { node: node.nodeName, op: 'bitmap' })
  checkName(node, name, persistent)
  if (!isPowerOfTwo(granularity) || granularity < BDRV_SECTOR_SIZE || granularity > MAX_GRANULARITY) {
    throw invalid(node, 'Granularity must be power of 2 and at least 512')
  }
  if (persistent && name !== undefined) refuseUnstorable(node, name, granularity)
  const bitmap = { ...newBitmap(new HBitmap(node.state.length, granularity), !disabled), name, persistent }
  setBitmaps(node, [...node.state.bitmaps, bitmap])
  return bitmap
}

/** The cluster size of `node`, within 4 KiB .. 64 KiB; 64 KiB where clusters mean nothing. Rejects as `nodeInfo` does. */
export async function defaultBitmapGranularity(node: BlockDriverState): Promise<number> {
  const clusterSize = await clusterSizeOf(node)
  if (!isPowerOfTwo(clusterSize)) return MAX_DEFAULT_GRANULARITY
  return Math.min(Math.max(clusterSize, MIN_DEFAULT_GRANULARITY), MAX_DEFAULT_GRANULARITY)
}

/** Takes a bitmap away from its node. EBUSY while it is in use. */
export function releaseDirtyBitmap(main: MainLoop, node: BlockDriverState, bitmap: DirtyBitmap): void {
  main.check('releaseDirtyBitmap', node.state.environment)
  assertOf(node, bitmap)
  checkDirtyBitmap(node, bitmap, BDRV_BITMAP_BUSY)
  setBitmaps(
    node,
    node.state.bitmaps.filter((other) => other !== bitmap),
  )
}

/**
 * Takes a bitmap away from its node and, where it is stored, from the image. EBUSY while it is in use, EPERM where it is stored
 * in an image that is read-only, and what the driver says; the bitmap stays then.
 */
export function removeDirtyBitmap(main: MainLoop, node: BlockDriverState, bitmap: DirtyBitmap): Promise<void> {
  return main.call('removeDirtyBitmap', node.state.environment, async (call) => {
    assertOf(node, bitmap)
    checkDirtyBitmap(node, bitmap, BDRV_BITMAP_BUSY | BDRV_BITMAP_RO)
    if (bitmap.persistent) {
      const details = { node: node.nodeName, op: 'bitmap' }
      if (!isWritable(node)) throw new BlockError('EPERM', 'the node does not take writes', details)
      await removeStored(node, bitmap.name ?? '')
      call.resumed()
    }
    releaseDirtyBitmap(main, node, bitmap)
  })
}

/** Takes every named bitmap away, as when the node is closed. EBUSY, nothing changed, while one of them is in use. */
export function releaseNamedDirtyBitmaps(main: MainLoop, node: BlockDriverState): void {
  main.check('releaseNamedDirtyBitmaps', node.state.environment)
  const named = node.state.bitmaps.filter((bitmap) => bitmap.name !== undefined)
  for (const bitmap of named) checkDirtyBitmap(node, bitmap, BDRV_BITMAP_BUSY)
  setBitmaps(
    node,
    node.state.bitmaps.filter((bitmap) => bitmap.name === undefined),
  )
}

/** The bitmap of `node` called `name`. */
export function findDirtyBitmap(node: BlockDriverState, name: string): DirtyBitmap | undefined {
  return node.state.bitmaps.find((bitmap) => bitmap.name === name)
}

/** As {@link findDirtyBitmap}; ENOENT where there is none. */
export function requireDirtyBitmap(node: BlockDriverState, name: string): DirtyBitmap {
  const bitmap = findDirtyBitmap(node, name)
  if (bitmap !== undefined) return bitmap
  throw new BlockError('ENOENT', `Dirty bitmap ${quoteOutside(name)} not found`, { node: node.nodeName, op: 'bitmap' })
}

/** The bitmaps of `node` in the order they were made, anonymous ones included. */
export function dirtyBitmaps(node: BlockDriverState): readonly DirtyBitmap[] {
  return node.state.bitmaps
}

/** Lets a bitmap record. It may be read-only, but neither in use nor inconsistent. */
export function enableDirtyBitmap(main: MainLoop, node: BlockDriverState, bitmap: DirtyBitmap): void {
  setRecording(main, node, bitmap, true)
}

/** Stops a bitmap from recording; what it holds stays. */
export function disableDirtyBitmap(main: MainLoop, node: BlockDriverState, bitmap: DirtyBitmap): void {
  setRecording(main, node, bitmap, false)
}

/** Says that a job or export uses the bitmap, or no longer does. EBUSY where another one does. */
export function setBitmapBusy(main: MainLoop, node: BlockDriverState, bitmap: DirtyBitmap, busy: boolean): void {
  main.check('setBitmapBusy', node.state.environment)
  assertOf(node, bitmap)
  if (busy) checkDirtyBitmap(node, bitmap, BDRV_BITMAP_BUSY)
  assert(bitmap.successor === undefined, 'a bitmap with a successor is released by abdicate or reclaim')
  bitmap.busy = busy
}

/** A read-only bitmap makes writes and discards of its node fail with EPERM. */
export function setBitmapReadonly(
  main: MainLoop,
  node: BlockDriverState,
  bitmap: DirtyBitmap,
  readonly: boolean,
): void {
  main.check('setBitmapReadonly', node.state.environment)
  assertOf(node, bitmap)
  bitmap.readonly = readonly
}

/** Whether the bitmap is stored in the image when that is closed. EINVAL for an anonymous one. */
export function setBitmapPersistence(
  main: MainLoop,
  node: BlockDriverState,
  bitmap: DirtyBitmap,
  persistent: boolean,
): void {
  main.check('setBitmapPersistence', node.state.environment)
  assertOf(node, bitmap)
  if (persistent && bitmap.name === undefined) throw invalid(node, 'a bitmap without a name cannot be stored')
  if (persistent && !bitmap.persistent) refuseUnstorable(node, bitmap.name ?? '', bitmap.bits.granularity)
  bitmap.persistent = persistent
}

/** Marks a stored bitmap that a crash left in use: it records nothing and can only be removed. */
export function setBitmapInconsistent(main: MainLoop, node: BlockDriverState, bitmap: DirtyBitmap): void {
  main.check('setBitmapInconsistent', node.state.environment)
  assertOf(node, bitmap)
  assert(
    bitmap.persistent && !bitmap.busy && bitmap.successor === undefined,
    'only a stored, idle bitmap is inconsistent',
  )
  bitmap.enabled = false
  bitmap.inconsistent = true
}

/** Keeps a persistent bitmap from being stored, for one that is about to be removed. */
export function setBitmapSkipStore(main: MainLoop, node: BlockDriverState, bitmap: DirtyBitmap, skip: boolean): void {
  main.check('setBitmapSkipStore', node.state.environment)
  assertOf(node, bitmap)
  bitmap.skipStore = skip
}

/** Asserts that `bitmap` is one of `node`. */
export function assertOf(node: BlockDriverState, bitmap: DirtyBitmap): void {
  assert(node.state.bitmaps.includes(bitmap), `bitmap '${bitmap.name ?? ''}' is none of node '${node.nodeName}'`)
}

async function clusterSizeOf(node: BlockDriverState): Promise<number> {
  try {
    return (await nodeInfo(node)).clusterSize
  } catch (error) {
    if (error instanceof BlockError && error.code === 'ENOTSUP') return 0
    throw error
  }
}

function setRecording(main: MainLoop, node: BlockDriverState, bitmap: DirtyBitmap, enabled: boolean): void {
  main.check(enabled ? 'enableDirtyBitmap' : 'disableDirtyBitmap', node.state.environment)
  assertOf(node, bitmap)
  checkDirtyBitmap(node, bitmap, BDRV_BITMAP_ALLOW_RO)
  bitmap.enabled = enabled
}

function checkName(node: BlockDriverState, name: string | undefined, persistent: boolean): void {
  if (name === undefined) {
    if (persistent) throw invalid(node, 'a bitmap without a name cannot be stored')
    return
  }
  if (name === '') throw invalid(node, 'Bitmap name cannot be empty')
  // Of a persistent one the image says how long it may be.
  if (!persistent && new TextEncoder().encode(name).byteLength > BDRV_BITMAP_MAX_NAME_SIZE) {
    throw invalid(node, `the name of a bitmap has at most ${BDRV_BITMAP_MAX_NAME_SIZE} bytes`)
  }
  if (findDirtyBitmap(node, name) !== undefined) {
    throw new BlockError('EEXIST', `Bitmap already exists: ${name}`, {
      node: node.nodeName,
      op: 'bitmap',
    })
  }
}

function invalid(node: BlockDriverState, message: string): BlockError {
  return new BlockError('EINVAL', message, { node: node.nodeName, op: 'bitmap' })
}
