// The tables of snapshots on disk: reading and replacing the snapshot table, and the L1 tables of snapshots. The caller holds
// the image's lock.

import { BlockError } from '../../../common/error.js'
import { MAX_LENGTH } from '../../../common/limits.js'
import { read } from '../../../io/read.js'
import { write } from '../../../io/write.js'
import type { BlkdebugEvent } from '../../filters/blkdebug/events.js'
import { ENTRY_BYTES, type HostOffset, host, isClusterAligned, MAX_L1_BYTES } from '../format/layout.js'
import {
  encodeSnapshotTable,
  MAX_SNAPSHOT_TABLE_BYTES,
  readSnapshotTable,
  type Snapshot,
} from '../format/snapshot-table.js'
import { Table64 } from '../format/table.js'
import { barrier } from '../metadata/barrier.js'
import { isWatched, reach } from '../metadata/debug-points.js'
import { settleMetadata } from '../metadata/flush.js'
import { writeHeaderFields } from '../metadata/header-update.js'
import { mapInactiveTables, refuseOverlap, setSnapshots } from '../metadata/overlap.js'
import { allocateClusters, freeClusters } from '../refcounts/allocator.js'
import { imageError, type Qcow2State } from '../state.js'

/** Reads the snapshots of an image that is being opened. EINVAL or EFBIG for a table that cannot be. */
export async function loadSnapshots(state: Qcow2State): Promise<void> {
  const { header, layout, file } = state
  const { nbSnapshots, snapshotsOffset } = header
  if (nbSnapshots === 0) return
  if (!isClusterAligned(layout, snapshotsOffset) || snapshotsOffset > MAX_LENGTH - MAX_SNAPSHOT_TABLE_BYTES) {
    throw new BlockError('EINVAL', 'Snapshot table offset invalid')
  }
  const table = await readSnapshotTable(async (position, bytes) => {
    const into = new Uint8Array(bytes)
    await read(file, snapshotsOffset + position, into)
    return into
  }, nbSnapshots)
  const snapshots = table.entries.map((entry) => entry.snapshot)
  setSnapshots(state, snapshots, table.bytes)
}

/** The L1 table of a snapshot. EINVAL or EFBIG for one that cannot be (threats I05). */
export async function readSnapshotL1(state: Qcow2State, snapshot: Snapshot): Promise<Table64> {
  const { l1TableOffset, l1Size } = snapshot
  const bytes = l1Size * ENTRY_BYTES
  if (bytes > MAX_L1_BYTES) throw imageError(state, 'EFBIG', 'Snapshot L1 table too large')
  if (!isClusterAligned(state.layout, l1TableOffset) || l1TableOffset > MAX_LENGTH - MAX_L1_BYTES) {
    throw imageError(state, 'EINVAL', 'Snapshot L1 table offset invalid')
  }
  const table = new Uint8Array(bytes)
  if (bytes > 0) await read(state.file, l1TableOffset, table)
  return new Table64(table)
}

/** Writes an L1 table that was changed in memory back to where it stands. */
export async function writeL1(state: Qcow2State, offset: HostOffset, l1: Table64, active: boolean): Promise<void> {
  if (l1.length === 0) return
  refuseOverlap(state, offset, l1.bytes.byteLength, [active ? 'active-l1' : 'inactive-l1'])
  await write(state.file, offset, l1.bytes)
}

/** Writes `bytes` to clusters of their own; `point` is reached before that. What fails gives them back. */
export async function writeToNewClusters(
  state: Qcow2State,
  bytes: Uint8Array,
  point: BlkdebugEvent = 'none',
): Promise<HostOffset> {
  // Nothing has no place.
  if (bytes.byteLength === 0) return host(0)
  const offset = await allocateClusters(state, bytes.byteLength)
  try {
    refuseOverlap(state, offset, bytes.byteLength, [])
    if (isWatched(state)) await reach(state, point)
    await write(state.file, offset, bytes)
  } catch (error) {
    await freeClusters(state, offset, bytes.byteLength, 'never')
    throw error
  }
  return offset
}

/** A snapshot table on disk that the header does not name yet. */
export interface PreparedSnapshots {
  snapshots: readonly Snapshot[]
  offset: HostOffset
  bytes: number
}

/** Writes a table of `snapshots` and makes it, and all metadata before it, durable. On failure nothing is left of it. */
export async function prepareSnapshots(state: Qcow2State, snapshots: readonly Snapshot[]): Promise<PreparedSnapshots> {
  const table = encodeSnapshotTable(snapshots, state.header.size)
  const bytes = table.byteLength
  const offset = await writeToNewClusters(state, table)
  try {
    await settleMetadata(state)
    await barrier(state)
  } catch (error) {
    await freeClusters(state, offset, bytes, 'never')
    throw error
  }
  return { snapshots, offset, bytes }
}

/**
 * Lets the header name a prepared table; the old one is free then (rule O7). Where that fails nobody knows which of the two the
 * disk names: both stay, and the snapshots in memory are the old ones.
 */
export async function takeSnapshots(state: Qcow2State, prepared: PreparedSnapshots): Promise<void> {
  const { snapshotsOffset } = state.header
  const oldBytes = state.snapshotTableBytes
  const { snapshots, offset, bytes } = prepared
  await writeHeaderFields(state, 'snapshots', { nbSnapshots: snapshots.length, snapshotsOffset: offset })
  setSnapshots(state, snapshots, bytes)
  if (snapshotsOffset > 0) await freeClusters(state, snapshotsOffset, oldBytes, 'snapshot')
}

/** Takes the L2 tables that only snapshots name into the map of metadata, where they are checked. */
export async function mapSnapshotTables(state: Qcow2State): Promise<void> {
  if (!state.settings.overlapChecks.has('inactive-l2')) return
  const tables: Table64[] = []
  for (const snapshot of state.snapshots) {
    try {
      tables.push(await readSnapshotL1(state, snapshot))
    } catch (thrown) {
      // A table that cannot be is not used either; who asks for that snapshot is told.
      if (!(thrown instanceof BlockError)) throw thrown
    }
  }
  mapInactiveTables(state, tables)
}
