// Persistent dirty bitmaps of an image under test, through the public interface. They cover single sectors.

import { BDRV_SECTOR_SIZE } from '../../common/limits.js'
import { mergeDirtyBitmap } from '../../global-state/bitmaps/bitmap-content.js'
import {
  addDirtyBitmap,
  dirtyBitmaps,
  removeDirtyBitmap,
  requireDirtyBitmap,
} from '../../global-state/bitmaps/bitmaps.js'
import type { CrashDisk } from './crash-target.js'

/** A persistent bitmap as an image shows it. */
export interface FoundBitmap {
  /** Left in use by a crash: it says nothing. */
  inconsistent: boolean
  /** Whether it says that sector `index` has changed. */
  isDirty(index: number): boolean
}

/** Adds a persistent bitmap that records from now on. */
export async function addBitmap({ graph, node }: CrashDisk, name: string): Promise<void> {
  await graph.mainLoop(async (main) => {
    addDirtyBitmap(main, node, { name, granularity: BDRV_SECTOR_SIZE, persistent: true })
  })
}

/** Removes a bitmap, from the image as well. */
export async function removeBitmap({ graph, node }: CrashDisk, name: string): Promise<void> {
  await graph.mainLoop((main) => removeDirtyBitmap(main, node, requireDirtyBitmap(node, name)))
}

/** Makes dirty in `target` what is dirty in `source`. */
export async function mergeBitmaps({ graph, node }: CrashDisk, target: string, source: string): Promise<void> {
  await graph.mainLoop(async (main) => {
    mergeDirtyBitmap(main, node, requireDirtyBitmap(node, target), [{ node, bitmap: requireDirtyBitmap(node, source) }])
  })
}

/** The persistent bitmaps of an open image, by name. */
export function findBitmaps({ node }: CrashDisk): ReadonlyMap<string, FoundBitmap> {
  const found = new Map<string, FoundBitmap>()
  for (const { name, persistent, inconsistent, bits } of dirtyBitmaps(node)) {
    if (name === undefined || !persistent) continue
    found.set(name, { inconsistent, isDirty: (index) => bits.get(index * BDRV_SECTOR_SIZE) })
  }
  return found
}
