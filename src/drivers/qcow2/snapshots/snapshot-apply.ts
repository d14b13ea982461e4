// Going back to a snapshot, and looking at one. Going back: references of the snapshot are counted, its L1 table overwrites the
// active one, references of what was active before are dropped (rule O7).

import { BDRV_SECTOR_SIZE, MAX_LENGTH } from '../../../common/limits.js'
import type { TruncateOptions } from '../../../io/node-io.js'
import { ENTRY_BYTES, l1EntriesFor, MAX_L1_BYTES } from '../format/layout.js'
import type { Snapshot } from '../format/snapshot-table.js'
import { Table64 } from '../format/table.js'
import { truncateImage } from '../image/resize.js'
import { barrier } from '../metadata/barrier.js'
import { settleMetadata } from '../metadata/flush.js'
import { growL1 } from '../metadata/grow-l1.js'
import { mapActiveTables } from '../metadata/overlap.js'
import { imageError, type Qcow2State } from '../state.js'
import { beginCounting, countToTheEnd, endCounting } from './counting.js'
import { addTreeReferences, dropTreeReferences, restoreCopiedFlags } from './snapshot-refcounts.js'
import { mapSnapshotTables, readSnapshotL1, writeL1 } from './snapshot-tables.js'
import { snapshotAt } from './snapshots.js'

/**
 * Makes the disk what it was when the snapshot was taken, its length included. EINVAL or EFBIG for a snapshot whose tables or
 * length cannot be; the disk is as before then. Nothing else is in flight.
 */
export async function applySnapshot(state: Qcow2State, index: number): Promise<void> {
  const { size, l1 } = await state.lock.runExclusive(() => holdSnapshot(state, index))
  try {
    // What only the present disk has is dropped in the order of a disk that shrinks.
    if (size !== state.header.size) await truncateImage(state, size, PLAIN)
    await state.lock.runExclusive(async () => {
      await growL1(state, l1.length)
      await makeReferencesDurable(state)
    })
  } catch (error) {
    await state.lock.runExclusive(() => countToTheEnd(state, () => dropTreeReferences(state, l1, 'never')))
    throw error
  }
  await state.lock.runExclusive(async () => {
    await countToTheEnd(state, () => exchange(state, l1))
    await endCounting(state)
    await mapSnapshotTables(state)
  })
}

const PLAIN: TruncateOptions = { exact: true, preallocation: 'off', flags: 0 }

/** Counts the references of a snapshot once more, for the disk that it is to become. */
async function holdSnapshot(state: Qcow2State, index: number): Promise<{ size: number; l1: Table64 }> {
  const snapshot = snapshotAt(state, index)
  const size = sizeOf(state, snapshot)
  const l1 = await readSnapshotL1(state, snapshot)
  await beginCounting(state)
  await addTreeReferences(state, l1)
  try {
    if (await restoreCopiedFlags(state, l1)) await writeL1(state, snapshot.l1TableOffset, l1, false)
    await makeReferencesDurable(state)
  } catch (error) {
    await countToTheEnd(state, () => dropTreeReferences(state, l1, 'never'))
    throw error
  }
  return { size, l1 }
}

/** Before an L1 table takes over what it names, and before the disk gives up what it shares with it (rule O7). */
async function makeReferencesDurable(state: Qcow2State): Promise<void> {
  await settleMetadata(state)
  await barrier(state)
}

/** What `l1` names becomes the disk. Its references are counted and durable. */
async function exchange(state: Qcow2State, l1: Table64): Promise<void> {
  const before = state.l1
  const active = Table64.ofEntries(before.length)
  active.bytes.set(l1.bytes)
  await writeL1(state, state.header.l1TableOffset, active, true)
  await barrier(state)
  state.l1 = active
  mapActiveTables(state)
  await dropTreeReferences(state, before, 'snapshot')
  if (await restoreCopiedFlags(state, active)) await writeL1(state, state.header.l1TableOffset, active, true)
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
