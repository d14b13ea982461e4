// Internal snapshots (qcow2 specification, "Snapshots"): other L1 tables over the same clusters. Taking one copies the L1 table and
// counts a reference more to all it names, deleting one counts them less; what order keeps a crash harmless is rule O7.

import type { SnapshotInfo } from '../../../common/block-info.js'
import { BlockError } from '../../../common/error.js'
import type { NewSnapshot } from '../../../global-state/driver.js'
import { vmstateOffset } from '../data/vmstate.js'
import { discardClusters } from '../data/zero.js'
import { encodeText } from '../format/extensions.js'
import { ENTRY_BYTES, guest } from '../format/layout.js'
import { fitsSnapshotText, MAX_SNAPSHOTS, type Snapshot } from '../format/snapshot-table.js'
import { freeClusters } from '../refcounts/allocator.js'
import { hasDataFile, imageError, type Qcow2State } from '../state.js'
import { beginCounting, countToTheEnd, endCounting } from './counting.js'
import { addTreeReferences, dropTreeReferences, restoreCopiedFlags } from './snapshot-refcounts.js'
import {
  mapSnapshotTables,
  prepareSnapshots,
  readSnapshotL1,
  takeSnapshots,
  writeL1,
  writeToNewClusters,
} from './snapshot-tables.js'

/** The snapshots of an image as others see them. */
export function listSnapshots(state: Qcow2State): readonly SnapshotInfo[] {
  return state.snapshots.map((snapshot) => {
    const { id, name, dateSeconds, dateNanoseconds, vmClockNanoseconds, vmStateSize, icount, diskSize } = snapshot
    return { id, name, dateSeconds, dateNanoseconds, vmClockNanoseconds, vmStateSize, icount, diskSize }
  })
}

/**
 * Takes a snapshot of the disk. EINVAL for a name that is too long or where a reference
 * count would pass its width, EFBIG where the table is full. On failure everything is as before.
 */
export async function createSnapshot(state: Qcow2State, wanted: NewSnapshot): Promise<void> {
  await state.lock.runExclusive(() => takeSnapshot(state, wanted))
  await dropVmstate(state, wanted.vmStateSize ?? 0)
}

async function takeSnapshot(state: Qcow2State, wanted: NewSnapshot): Promise<void> {
  const { l1, header } = state
  if (state.snapshots.length >= MAX_SNAPSHOTS) throw imageError(state, 'EFBIG', 'there is no room for another snapshot')
  const snapshot = newSnapshot(state, wanted)
  await beginCounting(state)
  const bytes = l1.length * ENTRY_BYTES
  snapshot.l1TableOffset = await writeToNewClusters(state, l1.bytes)
  let counted = false
  let prepared: Awaited<ReturnType<typeof prepareSnapshots>>
  try {
    await addTreeReferences(state, l1)
    counted = true
    if (await restoreCopiedFlags(state, l1)) await writeL1(state, header.l1TableOffset, l1, true)
    prepared = await prepareSnapshots(state, [...state.snapshots, snapshot])
  } catch (error) {
    await takeBack(state, counted)
    await attempt(state, () => freeClusters(state, snapshot.l1TableOffset, bytes, 'never'))
    throw error
  }
  await takeSnapshots(state, prepared)
  await endCounting(state)
  await mapSnapshotTables(state)
}

/** Undoes what taking a snapshot has counted, as far as that can be done: what is left are leaks. */
async function takeBack(state: Qcow2State, counted: boolean): Promise<void> {
  const { l1, header } = state
  if (!counted) return
  await attempt(state, async () => {
    await dropTreeReferences(state, l1, 'never')
    if (await restoreCopiedFlags(state, l1)) await writeL1(state, header.l1TableOffset, l1, true)
  })
}

/** For what is undone after a failure: that one is reported. */
async function attempt(state: Qcow2State, act: () => Promise<void>): Promise<void> {
  try {
    await countToTheEnd(state, act)
  } catch (error) {
    if (!(error instanceof BlockError)) throw error
  }
}

/** Removes a snapshot. EINVAL or EFBIG where its L1 table cannot be, with nothing changed. */
export async function deleteSnapshot(state: Qcow2State, index: number): Promise<void> {
  await state.lock.runExclusive(async () => {
    const snapshot = snapshotAt(state, index)
    const l1 = await readSnapshotL1(state, snapshot)
    await beginCounting(state)
    await takeSnapshots(state, await prepareSnapshots(state, without(state.snapshots, index)))
    await countToTheEnd(state, async () => {
      await dropTreeReferences(state, l1, 'snapshot')
      await freeClusters(state, snapshot.l1TableOffset, l1.length * ENTRY_BYTES, 'snapshot')
      // Counts that fell to 1 let clusters be written in place again.
      if (await restoreCopiedFlags(state, state.l1)) await writeL1(state, state.header.l1TableOffset, state.l1, true)
    })
    await endCounting(state)
    await mapSnapshotTables(state)
  })
}

function without(snapshots: readonly Snapshot[], index: number): Snapshot[] {
  return snapshots.filter((_, at) => at !== index)
}

/** The snapshot at `index` of the image's list. */
export function snapshotAt(state: Qcow2State, index: number): Snapshot {
  const snapshot = state.snapshots[index]
  if (snapshot === undefined) throw imageError(state, 'ENOENT', `there is no snapshot ${index}`)
  return snapshot
}

/** Clusters of an external data file are not counted, so no snapshot can share them. */
export function refuseDataFile(state: Qcow2State): void {
  if (hasDataFile(state)) throw imageError(state, 'ENOTSUP', 'no snapshots with an external data file')
}

function newSnapshot(state: Qcow2State, wanted: NewSnapshot): Snapshot {
  const { l1, header, environment } = state
  const nameBytes = encodeText(wanted.name)
  if (!fitsSnapshotText(nameBytes)) throw imageError(state, 'EINVAL', 'the name of the snapshot is too long')
  const id = nextId(state.snapshots)
  const now = environment.services.wallClock?.() ?? { seconds: 0, nanoseconds: 0 }
  return {
    l1TableOffset: header.l1TableOffset,
    l1Size: l1.length,
    id,
    name: wanted.name,
    idBytes: encodeText(id),
    nameBytes,
    dateSeconds: now.seconds % 2 ** 32,
    dateNanoseconds: now.nanoseconds,
    vmClockNanoseconds: wanted.vmClockNanoseconds ?? 0n,
    vmStateSize: wanted.vmStateSize ?? 0,
    diskSize: header.size,
    icount: wanted.icount ?? 0n,
    unknownExtra: new Uint8Array(0),
  }
}

/** One more than the largest number that an id begins with. */
function nextId(snapshots: readonly Snapshot[]): string {
  let largest = 0n
  for (const { id } of snapshots) {
    const number = BigInt(/^\d+/.exec(id)?.[0] ?? '0')
    if (number > largest) largest = number
  }
  return String(largest + 1n)
}

/** The VM state is the snapshot's now: the disk as it goes on has none. */
async function dropVmstate(state: Qcow2State, bytes: number): Promise<void> {
  if (bytes === 0) return
  const { clusterSize, l2Coverage } = state.layout
  const start = vmstateOffset(state)
  const stop = Math.min(start + Math.ceil(bytes / clusterSize) * clusterSize, state.l1.length * l2Coverage)
  if (stop > start) await discardClusters(state, start, guest(stop), 'unallocate', 'never')
}
