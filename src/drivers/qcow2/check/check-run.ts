// What the parts of a check share: the image, the references counted so far, the findings. A check reads the file itself, not
// through caches, and takes no table for what it should be.

import { BDRV_SECTOR_SIZE } from '../../../common/limits.js'
import { SparseBits } from '../../../common/sparse-bits.js'
import { alignUp } from '../../../common/units.js'
import { nodeLength } from '../../../io/node-info.js'
import { read } from '../../../io/read.js'
import { ENTRY_BYTES } from '../format/layout.js'
import type { SnapshotEntry } from '../format/snapshot-table.js'
import { Table64 } from '../format/table.js'
import type { HeaderOwner } from '../metadata/header-update.js'
import type { Qcow2State } from '../state.js'
import type { FindingCounts, Findings } from './findings.js'
import { ReferenceCounts } from './reference-counts.js'

/** The parts of an open image that a check looks at. */
export type CheckedImage = Pick<Qcow2State, 'layout' | 'extensions'> & HeaderOwner

/** One pass over an image. */
export interface CheckRun {
  readonly image: CheckedImage
  readonly findings: Findings
  /** What was found before anything was counted: of the snapshot table. */
  readonly earlier: Readonly<FindingCounts>
  readonly counts: ReferenceCounts
  /** Length of the file in whole sectors, in bytes. */
  readonly fileBytes: number
  /** Clusters to be compared: those of the file, and those that references reach into behind it. */
  clusterCount: number
  /** Clusters that something names which could not be counted: never taken, and never freed by a repair. */
  readonly doubtful: SparseBits
  /** Damage of the refcount table as a whole, which a new one ends. */
  tableCorruptions: number
  /** Clusters of the refcount table and its blocks, once for each time they were counted as such. */
  readonly refcountClusters: number[]
  /** Entries of the snapshot table; bytes of the table. */
  readonly snapshots: readonly SnapshotEntry[]
  readonly snapshotTableBytes: number
}

/** A pass that has counted nothing yet. */
export function createCheckRun(
  image: CheckedImage,
  findings: Findings,
  snapshots: readonly SnapshotEntry[],
  snapshotTableBytes: number,
): CheckRun {
  const fileBytes = alignUp(nodeLength(image.file.node), BDRV_SECTOR_SIZE)
  return {
    image,
    findings,
    earlier: { ...findings.counts },
    counts: new ReferenceCounts(image.layout),
    fileBytes,
    clusterCount: Math.ceil(fileBytes / image.layout.clusterSize),
    doubtful: new SparseBits(),
    tableCorruptions: 0,
    refcountClusters: [],
    snapshots,
    snapshotTableBytes,
  }
}

/** Offsets from here on are no place of any file: what is said to stand there cannot be read. */
export const UNREADABLE_FROM = 2 ** 63 - 2 ** 30

/** Whether guest data stands in a file of its own. */
export function isExternal(image: CheckedImage): boolean {
  return image.dataFile !== image.file
}

/** `bytes` bytes of the file from `offset` on, which may be larger than any request's; zeroes behind the end. */
export async function readFileAt(image: CheckedImage, offset: number, bytes: number): Promise<Uint8Array> {
  const into = new Uint8Array(bytes)
  const present = Math.min(bytes, Math.max(0, nodeLength(image.file.node) - offset))
  if (present > 0) await read(image.file, offset, present === bytes ? into : into.subarray(0, present))
  return into
}

/** The entries of a table as far as the file holds it; behind its end they are 0. */
export async function readTable(run: CheckRun, offset: number, entries: number): Promise<Table64> {
  const present = Math.min(entries, Math.ceil(Math.max(0, run.fileBytes - offset) / ENTRY_BYTES))
  return new Table64(await readFileAt(run.image, offset, present * ENTRY_BYTES))
}
