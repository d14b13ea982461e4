// The check of an image: counts every reference, compares with the refcounts, looks at flags and entries, and repairs what it is
// asked to. It works on the file alone; whoever calls it has written out what stands in memory, and reads the tables anew
// after a repair.

import type { BdrvCheckResult } from '../../../common/block-info.js'
import { BlockError } from '../../../common/error.js'
import { discard } from '../../../io/discard.js'
import { flush } from '../../../io/flush.js'
import { INCOMPATIBLE_CORRUPT, INCOMPATIBLE_DIRTY } from '../format/header.js'
import { repairHeaderFields } from '../metadata/header-update.js'
import { type CheckedImage, type CheckRun, createCheckRun } from './check-run.js'
import { type CompareFixes, compareRefcounts } from './compare-refcounts.js'
import { checkCopiedFlags } from './copied-flags.js'
import { countRefcountBlocks, countStructures, readRefcountTable } from './count-structures.js'
import { Findings } from './findings.js'
import { rebuildRefcounts } from './rebuild-refcounts.js'
import { RefcountBlocks } from './refcount-blocks.js'
import { type CheckedSnapshots, checkSnapshotEntries } from './snapshot-entries.js'

/** What a check of the file came to. */
export interface FileCheck {
  result: BdrvCheckResult
  /** Snapshots as they were found; to be written anew where `changed`. */
  snapshots: CheckedSnapshots
}

const NO_FIXES: CompareFixes = { leaks: false, errors: false }

/**
 * Checks the image in `image.file`; `fix` is a set of `BDRV_FIX_*`, `report` gets each line for people. EIO where only a repair
 * of errors would do; EFBIG, EINVAL for a snapshot table beyond reading; ENOMEM for more references than can be counted.
 */
export async function checkFile(image: CheckedImage, fix: number, report: (line: string) => void): Promise<FileCheck> {
  const findings = new Findings(fix, report)
  const { header, layout } = image
  findings.fragmentation.totalClusters = Math.ceil((header.size - (header.size % 512)) / layout.clusterSize)
  const snapshots = await checkSnapshotEntries(image, findings)
  const run = createCheckRun(image, findings, snapshots.entries, snapshots.bytes)
  const blocks = await checkRefcounts(run)
  await checkCopiedFlags(run, blocks)
  if (fix !== 0) await flush(image.file)
  return { result: findings.result(layout.clusterSize), snapshots }
}

/** Counts references and compares; the refcounts as they are afterwards. */
async function checkRefcounts(run: CheckRun): Promise<RefcountBlocks> {
  const { findings, image } = run
  const table = await readRefcountTable(run)
  await countStructures(run)
  const mapped = { ...findings.counts }
  countRefcountBlocks(run, table)
  const counted = { ...findings.counts }
  const blocks = new RefcountBlocks(run, table)
  await compareRefcounts(run, blocks, NO_FIXES)
  const { fixesErrors, fixesLeaks } = findings
  if (findings.needsRebuild && fixesErrors) {
    const { corruptions, leaks, corruptionsFixed } = findings.counts
    // What stands in tables elsewhere is as it was; whatever was wrong with refcounts is right in the new structure.
    const left = mapped.corruptions - run.tableCorruptions
    findings.counts = {
      corruptions: left,
      leaks: 0,
      checkErrors: 0,
      corruptionsFixed: corruptionsFixed + corruptions - left,
      leaksFixed: leaks,
    }
    return new RefcountBlocks(run, await rebuildRefcounts(run))
  }
  if (!fixesErrors && !fixesLeaks) return blocks
  if (findings.needsRebuild) {
    findings.say('ERROR need to rebuild refcount structures')
    throw new BlockError('EIO', 'the refcount structures have to be built anew')
  }
  const { leaks, corruptions } = findings.counts
  if (leaks === 0 && corruptions === 0) return blocks
  findings.counts = counted
  // Entries that a repair has dropped are gone before the clusters they named are free (order rule O4).
  await flush(image.file)
  const freed = await compareRefcounts(run, blocks, { leaks: fixesLeaks, errors: fixesErrors })
  if (findings.counts.corruptions === 0) await discardFreed(run, freed)
  return blocks
}

/** Gives the space of freed clusters back, once their refcounts are durable. Advisory. */
async function discardFreed(run: CheckRun, freed: readonly number[]): Promise<void> {
  if (freed.length === 0) return
  const { image } = run
  const { clusterSize } = image.layout
  await flush(image.file)
  for (let at = 0; at < freed.length; ) {
    const first = freed[at] ?? 0
    let count = 1
    while (freed[at + count] === first + count) count++
    at += count
    try {
      await discard(image.file, first * clusterSize, count * clusterSize)
    } catch {
      // The clusters are free whether the host has taken them back or not.
    }
  }
}

/** Says in the header that the image is neither dirty nor corrupt. Everything a repair has written is durable. */
export async function clearDamageBits(image: CheckedImage): Promise<void> {
  const { header } = image
  const features = header.incompatibleFeatures & ~(INCOMPATIBLE_DIRTY | INCOMPATIBLE_CORRUPT)
  if (features === header.incompatibleFeatures) return
  await repairHeaderFields(image, 'features', { incompatibleFeatures: features })
}
