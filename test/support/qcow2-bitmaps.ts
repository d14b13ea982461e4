// Stored bitmaps as the crash harness sees them: those that may be trusted miss no write.

import { createDirtyBitmap } from '../../src/global-state/bitmaps/bitmaps.js'
import { isDirty } from '../../src/io/dirty-bitmap.js'
import type { CrashDisk } from '../../src/testing/crash/crash-target.js'

const SECTOR = 512

/** Gives an image that reads as zeroes bitmaps of two granularities. */
export async function addBitmaps({ graph, node }: CrashDisk): Promise<void> {
  await graph.mainLoop(async (main) => {
    for (const granularity of [512, 4096]) {
      await createDirtyBitmap(main, node, { name: `b${granularity}`, granularity, persistent: true })
    }
  })
}

/** A sector that is not zero, although a bitmap that may be trusted says that nothing was written there. */
export function missedWrite({ node }: CrashDisk, content: Uint8Array): string | undefined {
  // While the directory changes in its place, nobody may trust it: a crash there costs the bitmaps.
  if (![0, 2].includes(node.state.bitmaps.length)) return `there are ${node.state.bitmaps.length} bitmaps`
  for (const bitmap of node.state.bitmaps) {
    if (bitmap.inconsistent) continue
    for (let at = 0; at < content.byteLength; at += SECTOR) {
      const written = content.subarray(at, at + SECTOR).some((byte) => byte !== 0)
      if (written && !isDirty(bitmap, at)) return `bitmap '${bitmap.name ?? ''}' has missed what was written at ${at}`
    }
  }
  return undefined
}
