// Checks of images that a test holds in memory.

import type { BdrvCheckResult } from '../../src/common/block-info.js'
import { BDRV_O_CHECK, BDRV_O_NO_BACKING } from '../../src/common/open-flags.js'
import { checkImage } from '../../src/global-state/check-image.js'
import { nodeServices } from '../../src/platform/services.js'
import { contentOf, storageDriver, storageOf } from '../../src/testing/storage/memory-storage.js'
import { openRig } from './driver-rig.js'
import { ImageBytes } from './qcow2-bytes.js'

/** What a check came to: findings, lines, and the bytes it left. */
export interface CheckRunResult {
  result: BdrvCheckResult
  lines: string[]
  after: ImageBytes
}

/** Opens the image for a check and runs it; `fix` is a set of `BDRV_FIX_*`. */
export async function runCheck(image: ImageBytes, fix = 0): Promise<CheckRunResult> {
  const store = storageOf(image.bytes)
  const options = { driver: 'qcow2', 'read-only': fix === 0, file: { driver: 'storage' } }
  const rig = await openRig(options, {
    drivers: [storageDriver(store)],
    services: nodeServices,
    settings: { flags: BDRV_O_CHECK | BDRV_O_NO_BACKING },
    ...(fix === 0 ? { perm: 1 } : {}),
  })
  const lines: string[] = []
  try {
    const result = await rig.graph.mainLoop((main) => checkImage(main, rig.node, fix, (line) => lines.push(line)))
    return { result, lines, after: new ImageBytes(contentOf(store)) }
  } finally {
    await rig.close()
  }
}
