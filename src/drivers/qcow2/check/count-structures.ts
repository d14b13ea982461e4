// Counting the structures of an image beside its active mapping: header, snapshots, snapshot table, encryption header, refcount
// table, stored bitmaps, and last the refcount blocks, which have to be where nothing else is.

import { BlockError } from '../../../common/error.js'
import { MiB, offsetFromHalves } from '../../../common/units.js'
import { AUTOCLEAR_BITMAPS, CRYPT_LUKS } from '../format/header.js'
import { ENTRY_BYTES } from '../format/layout.js'
import { OFFSET_LOW_MASK, Table64 } from '../format/table.js'
import { type CheckRun, readFileAt, readTable } from './check-run.js'
import { countMapping, MAX_L1_ENTRIES, wideOffset } from './count-mapping.js'
import { countRegion, doubtRegion, hex, hexOfHalves } from './count-region.js'

const DIRECTORY_ENTRY_BYTES = 24
const MAX_DIRECTORY_BYTES = 64 * MiB

/** Counts everything but refcount blocks. */
export async function countStructures(run: CheckRun): Promise<void> {
  const { header, layout, extensions } = run.image
  countRegion(run, 0, layout.clusterSize)
  await countMapping(run, header.l1TableOffset, header.l1Size, true)
  await countSnapshots(run)
  if (header.nbSnapshots > 0) countRegion(run, header.snapshotsOffset, run.snapshotTableBytes)
  const { crypto } = extensions
  if (header.cryptMethod === CRYPT_LUKS && crypto !== undefined) countRegion(run, crypto.offset, crypto.bytes)
  const tableBytes = header.refcountTableClusters * layout.clusterSize
  const { corruptions } = run.findings.counts
  countRegion(run, header.refcountTableOffset, tableBytes, undefined, run.refcountClusters)
  run.tableCorruptions = run.findings.counts.corruptions - corruptions
  await countBitmaps(run)
}

async function countSnapshots(run: CheckRun): Promise<void> {
  const { findings, image } = run
  for (const { snapshot, l1OffsetHalves } of run.snapshots) {
    const { id, name, l1TableOffset, l1Size } = snapshot
    const [high, low] = l1OffsetHalves
    const written = hexOfHalves(high, low)
    const wrong = (what: string) => {
      const who = `${shortened(id)} (${shortened(name)})`
      findings.corruption(`ERROR snapshot ${who} ${what}; snapshot table entry corrupted`)
      // Such an entry says nothing of what is to come behind the file.
      doubtRegion(run, l1TableOffset, Math.min(l1Size * ENTRY_BYTES, run.fileBytes - l1TableOffset))
    }
    if (low % image.layout.clusterSize !== 0) {
      wrong(`l1_offset=0x${written}: L1 table is not cluster aligned`)
    } else if (l1Size > MAX_L1_ENTRIES) wrong(`l1_size=0x${hex(l1Size)}: L1 table is too large`)
    else await countMapping(run, l1TableOffset, l1Size, false, written)
  }
}

/** What stands in an image is cut for people: it may be of any length. */
function shortened(text: string): string {
  return text.length > 256 ? `${text.slice(0, 253)}...` : text
}

/** Stored bitmaps are well-formed, or the image would not have been opened. */
async function countBitmaps(run: CheckRun): Promise<void> {
  const { header, extensions } = run.image
  const { bitmaps } = extensions
  if (bitmaps === undefined || (header.autoclearFeatures & AUTOCLEAR_BITMAPS) === 0n) return
  const { directoryOffset, directorySize, count } = bitmaps
  if (directorySize > MAX_DIRECTORY_BYTES) throw brokenDirectory()
  countRegion(run, directoryOffset, directorySize)
  const directory = await readFileAt(run.image, directoryOffset, directorySize)
  const view = new DataView(directory.buffer)
  let at = 0
  for (let index = 0; index < count; index++) {
    if (at + DIRECTORY_ENTRY_BYTES > directorySize) throw brokenDirectory()
    const tableOffset = offsetFromHalves(view.getUint32(at), view.getUint32(at + 4))
    if (tableOffset === undefined) throw brokenDirectory()
    await countBitmap(run, tableOffset, view.getUint32(at + 8))
    at += DIRECTORY_ENTRY_BYTES + view.getUint32(at + 20) + view.getUint16(at + 18)
    at = Math.ceil(at / 8) * 8
  }
}

async function countBitmap(run: CheckRun, offset: number, entries: number): Promise<void> {
  const { clusterSize } = run.image.layout
  countRegion(run, offset, entries * ENTRY_BYTES)
  const table = await readTable(run, offset, entries)
  for (let index = 0; index < table.length; index++) {
    const cluster = wideOffset(table.high(index), table.low(index))
    if (cluster !== 0) countRegion(run, cluster, clusterSize)
  }
}

function brokenDirectory(): BlockError {
  return new BlockError('EINVAL', 'Broken bitmap directory')
}

/** A refcount table as it stands in the file. */
export async function readRefcountTable(run: CheckRun): Promise<Table64> {
  const { header, layout } = run.image
  return new Table64(
    await readFileAt(run.image, header.refcountTableOffset, header.refcountTableClusters * layout.clusterSize),
  )
}

/** The offset of refcount block `index`, of up to 64 bits: inexact, and behind every file, where it is no safe integer. */
export function refcountBlockOffset(table: Table64, index: number): number {
  return table.high(index) * 0x1_0000_0000 + ((table.low(index) & OFFSET_LOW_MASK) >>> 0)
}

/** Whether refcount block `index` begins where a cluster does. */
export function isBlockAligned(run: CheckRun, table: Table64, index: number): boolean {
  return (table.low(index) & OFFSET_LOW_MASK & (run.image.layout.clusterSize - 1)) === 0
}

/** Counts the refcount blocks. Those that are not where they can be, or not alone there, make a new structure necessary. */
export function countRefcountBlocks(run: CheckRun, table: Table64): void {
  const { findings, counts } = run
  const { clusterSize } = run.image.layout
  for (let index = 0; index < table.length; index++) {
    const offset = refcountBlockOffset(table, index)
    const cluster = Math.floor(offset / clusterSize)
    if ((table.low(index) & ~OFFSET_LOW_MASK) !== 0) {
      findings.needsRebuild = true
      findings.corruption(`ERROR refcount table entry ${index} has reserved bits set`)
    } else if (offset === 0) continue
    else if (!isBlockAligned(run, table, index)) {
      findings.needsRebuild = true
      findings.corruption(`ERROR refcount block ${index} is not cluster aligned; refcount table entry corrupted`)
    } else if (cluster >= run.clusterCount) {
      if (findings.fixesErrors) findings.needsRebuild = true
      findings.damage(findings.fixesErrors, `refcount block ${index} is outside image`)
    } else {
      countRegion(run, offset, clusterSize, undefined, run.refcountClusters)
      const count = counts.get(cluster)
      if (count === 1) continue
      findings.needsRebuild = true
      findings.corruption(`ERROR refcount block ${index} refcount=${count}`)
    }
  }
}
