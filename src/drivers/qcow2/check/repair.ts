// Check and repair of an image that is open: what stands in memory is written out first, and tables are read anew after a
// repair. An image whose refcounts may lag behind (dirty bit) is repaired when it is opened for writing (threats.md I25).

import { BDRV_FIX_ERRORS, BDRV_FIX_LEAKS, type BdrvCheckResult } from '../../../common/block-info.js'
import { BlockError } from '../../../common/error.js'
import { barrier } from '../metadata/barrier.js'
import { settleCorruptBit } from '../metadata/corruption.js'
import { settleMetadata } from '../metadata/flush.js'
import { isDirty } from '../metadata/header-update.js'
import { reloadTables } from '../metadata/reload-tables.js'
import { imageError, type Qcow2State } from '../state.js'
import { checkFile, clearDamageBits } from './check.js'
import { rewriteSnapshots } from './rewrite-snapshots.js'
import type { CheckedSnapshots } from './snapshot-entries.js'

/**
 * Checks the image, and repairs it as `fix` (a set of `BDRV_FIX_*`) says. Nothing else is in flight while it is repaired. Codes
 * as `checkFile`; EPERM for a repair of an image that is not writable.
 */
export function checkImage(state: Qcow2State, fix: number, report: (line: string) => void): Promise<BdrvCheckResult> {
  if (fix !== 0 && state.node.readOnly) throw imageError(state, 'EPERM', 'a read-only image is not repaired')
  return state.lock.runExclusive(async () => {
    await settleCorruptBit(state)
    // Of an image found corrupt nothing is written but what a repair writes.
    if (!state.corrupt) await settleMetadata(state)
    if (fix === 0) return (await checkFile(state, 0, report)).result
    await barrier(state)
    try {
      return await repair(state, fix, report)
    } finally {
      await reloadTables(state)
    }
  })
}

async function repair(state: Qcow2State, fix: number, report: (line: string) => void): Promise<BdrvCheckResult> {
  const { result: found, snapshots } = await checkFile(state, fix, report)
  const result = snapshots.changed ? await replaceSnapshots(state, snapshots, found) : found
  if (result.corruptions === 0 && result.checkErrors === 0) {
    await clearDamageBits(state)
    state.corrupt = false
    state.repairOwed = false
  }
  return result
}

/** Writes the snapshot table anew, then frees the old one, and whatever else was kept for its sake. */
async function replaceSnapshots(
  state: Qcow2State,
  snapshots: CheckedSnapshots,
  found: BdrvCheckResult,
): Promise<BdrvCheckResult> {
  const { corrupt } = state
  await reloadTables(state)
  state.corrupt = false
  try {
    await rewriteSnapshots(state, snapshots)
  } finally {
    state.corrupt ||= corrupt
  }
  const { result } = await checkFile(state, BDRV_FIX_LEAKS | BDRV_FIX_ERRORS, () => {})
  const leaksFixed = found.leaksFixed + Math.max(0, found.leaks - result.leaks)
  return { ...result, leaksFixed, corruptionsFixed: found.corruptionsFixed + result.corruptionsFixed }
}

/** Repairs an image that says its refcounts may be wrong. `state` is complete but nothing was written yet. EIO where that fails. */
export async function repairOnOpen(state: Qcow2State, report: (line: string) => void): Promise<void> {
  if (!isDirty(state)) return
  let result: BdrvCheckResult
  try {
    result = await checkImage(state, BDRV_FIX_LEAKS | BDRV_FIX_ERRORS, report)
  } catch (thrown) {
    const code = thrown instanceof BlockError ? thrown.code : 'EIO'
    throw imageError(state, code, 'Could not repair dirty image', thrown)
  }
  if (result.checkErrors > 0) throw imageError(state, 'EIO', 'Could not repair dirty image')
}
