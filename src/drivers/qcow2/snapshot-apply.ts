// Going back to a snapshot, and looking at one. Going back: references of the snapshot are counted, its L1 table overwrites the
// active one, references of what was active before are dropped (rule O7).

import { BDRV_SECTOR_SIZE, MAX_LENGTH } from '../../common/limits.js'
import { barrier } from './barrier.js'
import { settleMetadata } from './flush.js'
import { growL1 } from './grow-l1.js'
import { writeHeaderFields } from './header-update.js'
import { ENTRY_BYTES, l1EntriesFor, MAX_L1_BYTES } from './layout.js'
import { mapActiveTables } from './overlap.js'
import { addTreeReferences, dropTreeReferences, restoreCopiedFlags } from './snapshot-refcounts.js'
import type { Snapshot } from './snapshot-table.js'
import { mapSnapshotTables, readSnapshotL1, writeL1 } from './snapshot-tables.js'
import { snapshotAt } from './snapshots.js'
import { imageError, type Qcow2State } from './state.js'
import { Table64 } from './table.js'
import { beginWriting } from './writing.js'

/**
 * Makes the disk what it was when the snapshot was taken, its length included. EINVAL or EFBIG for a snapshot whose tables or
 * length cannot be; the disk is as before then.
 */
export async function applySnapshot(state: Qcow2State, index: number): Promise<void> {
  await state.lock.runExclusive(async () => {
    const snapshot = snapshotAt(state, index)
    const size = sizeOf(state, snapshot)
    const l1 = await readSnapshotL1(state, snapshot)
    await beginWriting(state)
    await settleMetadata(state)
    await addTreeReferences(state, l1)
    try {
      if (await restoreCopiedFlags(state, l1)) await writeL1(state, snapshot.l1TableOffset, l1, false)
      await growL1(state, Math.max(l1.length, l1EntriesFor(state.layout, size)))
      await settleMetadata(state)
      await barrier(state)
    } catch (error) {
      await dropTreeReferences(state, l1, 'never')
      throw error
    }
    await exchange(state, l1, size)
  })
}

/** What `l1` names becomes the disk. Its references are counted and durable. */
async function exchange(state: Qcow2State, l1: Table64, size: number): Promise<void> {
  const before = state.l1
  const active = Table64.ofEntries(before.length)
  active.bytes.set(l1.bytes)
  // The disk is never longer than what an L1 table on disk was made for.
  if (size < state.header.size) await writeHeaderFields(state, 'size', { size })
  await writeL1(state, state.header.l1TableOffset, active, true)
  await barrier(state)
  state.l1 = active
  mapActiveTables(state)
  if (size > state.header.size) await writeHeaderFields(state, 'size', { size })
  await dropTreeReferences(state, before, 'snapshot')
  if (await restoreCopiedFlags(state, active)) await writeL1(state, state.header.l1TableOffset, active, true)
  await settleMetadata(state)
  await barrier(state)
  await mapSnapshotTables(state)
}

/** The length that the disk had. An image that does not say keeps its own. */
function sizeOf(state: Qcow2State, snapshot: Snapshot): number {
  const { diskSize } = snapshot
  if (diskSize === undefined || diskSize === state.header.size) return state.header.size
  if (diskSize % BDRV_SECTOR_SIZE !== 0) {
    throw imageError(state, 'EINVAL', `The new size must be a multiple of ${BDRV_SECTOR_SIZE}`)
  }
  if (diskSize > MAX_LENGTH || l1EntriesFor(state.layout, diskSize) > MAX_L1_BYTES / ENTRY_BYTES) {
    throw imageError(state, 'EFBIG', 'the length of the disk in the snapshot is too large')
  }
  return diskSize
}

/** Shows a snapshot in place of the disk, in memory alone: the image is not written to. Its length stays. */
export async function loadSnapshot(state: Qcow2State, index: number): Promise<void> {
  await state.lock.runExclusive(async () => {
    state.l1 = await readSnapshotL1(state, snapshotAt(state, index))
    state.loadedSnapshot = true
  })
}
