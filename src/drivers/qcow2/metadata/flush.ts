// Writing out what is only in memory. Tables go in the order their dependencies say; references that nothing on stable
// storage holds any more are dropped after that, and the host is told of free clusters last (rules O1 to O4, O13).

import type { Completion } from '../../../io/node-io.js'
import { passDiscards } from '../refcounts/freed-clusters.js'
import { applyOwedDecrements } from '../refcounts/refcounts.js'
import type { Qcow2State } from '../state.js'
import { barrier } from './barrier.js'
import { refuseCorrupt, settleCorruptBit } from './corruption.js'
import { clearDirtyBit } from './header-update.js'
import { postponesRefcounts } from './writing.js'

/** Hands all metadata to the files. Takes the image's lock. EIO where an image known to be corrupt has some. */
export function flushMetadata(state: Qcow2State): Completion {
  if (isClean(state)) return undefined
  return state.lock.runExclusive(() => settleMetadata(state, false))
}

function isClean(state: Qcow2State): boolean {
  return (
    !state.lock.isLocked() &&
    state.l2Cache.isClean &&
    state.refcountCache.isClean &&
    state.owedDecrements.size === 0 &&
    !state.freed.hasDiscards
  )
}

/** The same for who holds the lock. With `all`, postponed refcounts too. */
export async function settleMetadata(state: Qcow2State, all = true): Promise<void> {
  refuseCorrupt(state)
  await state.l2Cache.flush()
  if (!all && postponesRefcounts(state)) return
  if (state.owedDecrements.size > 0) {
    await barrier(state)
    await applyOwedDecrements(state)
  }
  await state.refcountCache.flush()
  if (state.freed.hasDiscards) await makeFreedStable(state)
}

async function makeFreedStable(state: Qcow2State): Promise<void> {
  await barrier(state)
  await passDiscards(state)
}

/**
 * Gives free clusters to a new owner: called before anything is written there. Where tables on stable storage may still name
 * them, those are written out first (rule O4).
 */
export function takeOver(state: Qcow2State, cluster: number, count: number): Completion {
  return state.freed.has(cluster, count) ? settleFreed(state) : undefined
}

async function settleFreed(state: Qcow2State): Promise<void> {
  await settleMetadata(state)
  // Discards have seen to it already where there were any.
  await makeFreedStable(state)
}

/** Leaves the image as one that nobody uses: all metadata durable, the dirty bit gone. */
export async function settleImage(state: Qcow2State): Promise<void> {
  await state.lock.runExclusive(async () => {
    await settleCorruptBit(state)
    if (state.corrupt || !state.writable) return
    await settleMetadata(state)
    await barrier(state)
    await clearDirtyBit(state)
  })
}
