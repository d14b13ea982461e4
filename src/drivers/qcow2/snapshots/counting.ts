// Around the counting of a snapshot's references. A count and the copied flag that follows from it stand in different places, so
// a crash may leave one of them without the other, whichever is written first. Where the version knows the dirty bit it is set
// meanwhile, and the next opening makes both right (rule O7).

import { barrier } from '../metadata/barrier.js'
import { settleMetadata } from '../metadata/flush.js'
import { clearDirtyBit, isDirty, setDirtyBit } from '../metadata/header-update.js'
import { beginWriting } from '../metadata/writing.js'
import type { Qcow2State } from '../state.js'

/** All that was changed before is written out, and the disk says that counts are about to change. The caller holds the lock. */
export async function beginCounting(state: Qcow2State): Promise<void> {
  await beginWriting(state)
  await settleMetadata(state)
  if (state.header.version >= 3 && !isDirty(state)) await setDirtyBit(state)
}

/** Counts and flags are what they should be: makes them durable, and then says so. After a failure the image's close does it. */
export async function endCounting(state: Qcow2State): Promise<void> {
  await settleMetadata(state)
  await barrier(state)
  if (!state.settings.lazyRefcounts) await clearDirtyBit(state)
}

/** Runs `act`, of which nothing is taken back: where it fails the dirty bit stays, and the next opening finishes the counting. */
export async function countToTheEnd(state: Qcow2State, act: () => Promise<void>): Promise<void> {
  try {
    await act()
  } catch (error) {
    state.repairOwed = true
    throw error
  }
}
