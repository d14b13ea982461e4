// What a repair keeps its hands off when it writes into a table where it stands: structures of another kind, whatever a damaged
// entry says.

import { AUTOCLEAR_BITMAPS } from '../format/header.js'
import { ENTRY_BYTES } from '../format/layout.js'
import type { CheckRun } from './check-run.js'

/** What is written: part of the active L1 table, or of an L2 table. */
export type RepairedTable = 'l1' | 'l2'

/** Whether a range touches a structure other than the `table` that is written. */
export function isGuarded(run: CheckRun, table: RepairedTable, offset: number, bytes: number): boolean {
  const { header, layout, extensions } = run.image
  const { clusterSize } = layout
  const meets = (start: number, length: number) => offset < start + length && start < offset + bytes
  const { crypto, bitmaps } = extensions
  const hasBitmaps = bitmaps !== undefined && (header.autoclearFeatures & AUTOCLEAR_BITMAPS) !== 0n
  return (
    offset + bytes > run.fileBytes ||
    meets(0, clusterSize) ||
    (table === 'l2' && meets(header.l1TableOffset, header.l1Size * ENTRY_BYTES)) ||
    meets(header.refcountTableOffset, header.refcountTableClusters * clusterSize) ||
    (header.nbSnapshots > 0 && meets(header.snapshotsOffset, run.snapshotTableBytes)) ||
    run.snapshots.some(({ snapshot }) => meets(snapshot.l1TableOffset, snapshot.l1Size * ENTRY_BYTES)) ||
    (crypto !== undefined && meets(crypto.offset, crypto.bytes)) ||
    (hasBitmaps && meets(bitmaps.directoryOffset, bitmaps.directorySize))
  )
}
