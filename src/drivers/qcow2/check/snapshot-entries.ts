// The snapshot table as a check reads it: entry by entry, and in a repair without what exceeds the limits.

import { BlockError, toBlockError } from '../../../common/error.js'
import type { SnapshotEntry } from '../snapshot-table.js'
import { MAX_SNAPSHOT_EXTRA, MAX_SNAPSHOTS, REQUIRED_SNAPSHOT_EXTRA, readSnapshotTable } from '../snapshot-table.js'
import { type CheckedImage, readFileAt } from './check-run.js'
import type { Findings } from './findings.js'

/** The entries of a table, and whether it has to be written anew. */
export interface CheckedSnapshots {
  entries: readonly SnapshotEntry[]
  /** Of the table as it stands, from its start to the end of the last entry. */
  bytes: number
  changed: boolean
}

/** Reads and judges the table. EINVAL and EFBIG where it is beyond reading; only a repair of errors goes on then. */
export async function checkSnapshotEntries(image: CheckedImage, findings: Findings): Promise<CheckedSnapshots> {
  const { header, layout } = image
  const { nbSnapshots, snapshotsOffset } = header
  const trim = findings.fixesErrors
  const surplus = Math.max(0, nbSnapshots - MAX_SNAPSHOTS)
  if (surplus > 0) {
    if (!trim) {
      findings.say('ERROR snapshot table too large')
      findings.say(`You can force-remove all ${surplus} overhanging snapshots with blockgraph-img check -r all`)
      throw new BlockError('EFBIG', 'snapshot table too large')
    }
    findings.say(`Discarding ${surplus} overhanging snapshots`)
  }
  if (snapshotsOffset % layout.clusterSize !== 0) {
    findings.say('ERROR snapshot table offset invalid')
    throw new BlockError('EINVAL', 'snapshot table offset invalid')
  }
  const table = await readTable(image, findings, trim)
  let changed = surplus > 0
  for (const [index, { extraBytes }] of table.entries.entries()) {
    if (extraBytes <= MAX_SNAPSHOT_EXTRA) continue
    findings.say(
      `Discarding too much extra metadata in snapshot table entry ${index} (${extraBytes} > ${MAX_SNAPSHOT_EXTRA})`,
    )
    findings.counts.corruptionsFixed++
    changed = true
  }
  if (table.dropped > surplus) {
    findings.say(`Discarding ${table.dropped - surplus} overhanging snapshots (snapshot table is too big)`)
    changed = true
  }
  findings.counts.corruptionsFixed += table.dropped
  for (const [index, { extraBytes }] of table.entries.entries()) {
    if (header.version < 3 || extraBytes >= REQUIRED_SNAPSHOT_EXTRA) continue
    findings.damage(trim, `snapshot table entry ${index} is incomplete`)
    if (trim) changed = true
  }
  return { entries: table.entries, bytes: table.bytes, changed }
}

async function readTable(image: CheckedImage, findings: Findings, trim: boolean) {
  const { nbSnapshots, snapshotsOffset } = image.header
  try {
    return await readSnapshotTable(
      (position, bytes) => readFileAt(image, snapshotsOffset + position, bytes),
      nbSnapshots,
      trim,
    )
  } catch (thrown) {
    const error = toBlockError(thrown)
    findings.say(`ERROR failed to read the snapshot table: ${error.message}`)
    if (error.hint !== undefined) findings.say(error.hint)
    throw error
  }
}
