// Writing the snapshot table anew, in a repair of an image whose refcounts are right again.

import { flush } from '../../../io/flush.js'
import { write } from '../../../io/write.js'
import { host } from '../format/layout.js'
import { encodeSnapshotTable } from '../format/snapshot-table.js'
import { settleMetadata } from '../metadata/flush.js'
import { repairHeaderFields } from '../metadata/header-update.js'
import { setSnapshots } from '../metadata/overlap.js'
import { allocateClusters } from '../refcounts/allocator.js'
import { mapSnapshotTables } from '../snapshots/snapshot-tables.js'
import type { Qcow2State } from '../state.js'
import type { CheckedSnapshots } from './snapshot-entries.js'

/**
 * Replaces the table by one of the entries that were found. It is durable before the header names it (order rule O7). The old one
 * stays allocated, a leak. The caller holds the image's lock.
 */
export async function rewriteSnapshots(state: Qcow2State, { entries }: CheckedSnapshots): Promise<void> {
  const { header } = state
  const snapshots = entries.map(({ snapshot }) => snapshot)
  const table = encodeSnapshotTable(snapshots, header.size)
  let offset = host(0)
  if (table.byteLength > 0) {
    offset = await allocateClusters(state, table.byteLength)
    await write(state.file, offset, table)
  }
  await settleMetadata(state)
  await flush(state.file)
  await repairHeaderFields(state, 'snapshots', { nbSnapshots: snapshots.length, snapshotsOffset: offset })
  setSnapshots(state, snapshots, table.byteLength)
  await mapSnapshotTables(state)
}
