// The snapshot table as a check reads it: entry by entry, and in a repair without what exceeds the limits.

import { BlockError, toBlockError } from '../../../common/error.js'
import { nodeLength } from '../../../io/node-info.js'
import type { SnapshotEntry } from '../format/snapshot-table.js'
import {
  MAX_SNAPSHOT_EXTRA,
  MAX_SNAPSHOTS,
  REQUIRED_SNAPSHOT_EXTRA,
  readSnapshotTable,
} from '../format/snapshot-table.js'
import { type CheckedImage, readFileAt } from './check-run.js'
import type { Findings } from './findings.js'

/** Bytes of an entry that has neither extra data nor a name. */
const LEAST_ENTRY_BYTES = 40

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
  const surplus = nbSnapshots - Math.min(nbSnapshots, trim ? entriesInFile(image) : MAX_SNAPSHOTS)
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
  const table = await readTable(image, findings, nbSnapshots - surplus)
  let changed = surplus > 0
  for (const [index, { extraBytes }] of table.entries.entries()) {
    if (extraBytes <= MAX_SNAPSHOT_EXTRA) continue
    findings.say(
      `Discarding too much extra metadata in snapshot table entry ${index} (${extraBytes} > ${MAX_SNAPSHOT_EXTRA})`,
    )
    findings.counts.corruptionsFixed++
    changed = true
  }
  if (table.dropped > 0) {
    findings.say(`Discarding ${table.dropped} overhanging snapshots (snapshot table is too big)`)
    changed = true
  }
  findings.counts.corruptionsFixed += surplus + table.dropped
  for (const [index, { extraBytes }] of table.entries.entries()) {
    if (header.version < 3 || extraBytes >= REQUIRED_SNAPSHOT_EXTRA) continue
    findings.damage(trim, `snapshot table entry ${index} is incomplete`)
    if (trim) changed = true
  }
  return { entries: table.entries, bytes: table.bytes, changed }
}

/** The most entries of which something can stand in the file: what a repair keeps. */
function entriesInFile(image: CheckedImage): number {
  const bytes = Math.max(0, nodeLength(image.file.node) - image.header.snapshotsOffset)
  return Math.min(MAX_SNAPSHOTS, Math.ceil(bytes / LEAST_ENTRY_BYTES))
}

async function readTable(image: CheckedImage, findings: Findings, count: number) {
  const { snapshotsOffset } = image.header
  try {
    return await readSnapshotTable(
      (position, bytes) => readFileAt(image, snapshotsOffset + position, bytes),
      count,
      findings.fixesErrors,
    )
  } catch (thrown) {
    const error = toBlockError(thrown)
    findings.say(`ERROR failed to read the snapshot table: ${error.message}`)
    if (error.hint !== undefined) findings.say(error.hint)
    throw error
  }
}
