// Reference counts of everything that an L1 table names: its L2 tables and what these map. Taking, applying and deleting a
// snapshot counts one such tree up or down. The caller holds the image's lock and has settled its metadata.

import { BlockError } from '../../../common/error.js'
import { COMPRESSED_HIGH, decodeCompressed } from '../format/l2-entry.js'
import { clusterStart, type HostOffset, host, isClusterAligned } from '../format/layout.js'
import { COPIED_HIGH, entryOffset, OFFSET_HIGH_MASK, OFFSET_LOW_MASK, type Table64 } from '../format/table.js'
import type { CacheEntry } from '../metadata/cache-entries.js'
import { markCorrupt } from '../metadata/corruption.js'
import { changeRefcounts, type FreePurpose, refcountOf } from '../refcounts/refcounts.js'
import type { Qcow2State } from '../state.js'

/** Host clusters in a row that a table names. */
interface HostRun {
  offset: HostOffset
  bytes: number
}

/**
 * Counts one more reference to everything that `l1` names. Undone as a whole where that fails: EINVAL for a count that would
 * pass its width, EIO (and the image corrupt) for an entry that cannot be.
 */
export async function addTreeReferences(state: Qcow2State, l1: Table64): Promise<void> {
  const done: HostRun[] = []
  let index = 0
  try {
    for (; index < l1.length; index++) {
      for (const run of await runsOf(state, l1, index)) {
        await refuseUncounted(state, run)
        await changeRefcounts(state, run.offset, run.bytes, 1, 'never')
        done.push(run)
      }
      done.length = 0
    }
  } catch (error) {
    await takeBack(state, l1, index, done)
    throw error
  }
}

/** Counts one reference less. What fails leaves the rest counted: leaks, of which nothing is lost. */
export async function dropTreeReferences(state: Qcow2State, l1: Table64, purpose: FreePurpose): Promise<void> {
  let failure: unknown
  for (let index = 0; index < l1.length; index++) {
    try {
      for (const run of await runsOf(state, l1, index)) {
        await changeRefcounts(state, run.offset, run.bytes, -1, purpose)
      }
    } catch (error) {
      failure ??= error
    }
  }
  if (failure !== undefined) throw failure
}

/**
 * Makes the copied flags say what the counts say: in the L2 tables that `l1` names, and in `l1` itself. Tells whether `l1`
 * has changed.
 */
export async function restoreCopiedFlags(state: Qcow2State, l1: Table64): Promise<boolean> {
  const { clusterSize } = state.layout
  let changed = false
  for (let index = 0; index < l1.length; index++) {
    const offset = tableOffset(state, l1, index)
    if (offset === 0) continue
    const count = await refcountOf(state, offset / clusterSize)
    // What is free is nobody's to look at.
    if (count === 0) continue
    await restoreInTable(state, offset)
    changed = setCopied(l1, index, count === 1) || changed
  }
  return changed
}

/** The runs that the L2 table of an L1 entry names, in its order; the table itself comes last. */
async function runsOf(state: Qcow2State, l1: Table64, index: number): Promise<HostRun[]> {
  const { clusterSize } = state.layout
  const offset = tableOffset(state, l1, index)
  if (offset === 0) return []
  const runs: HostRun[] = []
  await eachSlice(state, offset, (entry) => {
    collectRuns(state, entry.table, runs)
  })
  runs.push({ offset, bytes: clusterSize })
  return runs
}

async function eachSlice(
  state: Qcow2State,
  table: HostOffset,
  visit: (entry: CacheEntry) => void | Promise<void>,
): Promise<void> {
  const { l2Cache, layout } = state
  for (let at = 0; at < layout.clusterSize; at += l2Cache.entryBytes) {
    const entry = await l2Cache.get(host(table + at))
    try {
      await visit(entry)
    } finally {
      l2Cache.release(entry)
    }
  }
}

function collectRuns(state: Qcow2State, table: Table64, runs: HostRun[]): void {
  const { layout } = state
  const { clusterSize } = layout
  const words = layout.l2EntryBytes / 8
  for (let word = 0; word < table.length; word += words) {
    const [high, low] = [table.high(word), table.low(word)]
    if ((high & COMPRESSED_HIGH) !== 0) {
      runs.push(compressedRun(state, high, low))
      continue
    }
    if ((high & OFFSET_HIGH_MASK) === 0 && (low & OFFSET_LOW_MASK) === 0) continue
    const offset = clusterOffset(state, high, low)
    const last = runs.at(-1)
    if (last !== undefined && last.offset + last.bytes === offset) last.bytes += clusterSize
    else runs.push({ offset, bytes: clusterSize })
  }
}

/** The clusters that compressed data touches: others may have data in them as well, and each counts. */
function compressedRun(state: Qcow2State, high: number, low: number): HostRun {
  const range = decodeCompressed(state.layout, high, low)
  if (range === undefined) throw markCorrupt(state, 'a compressed cluster lies beyond the largest offset')
  const offset = clusterStart(state.layout, range.offset)
  return { offset, bytes: range.offset + range.bytes - offset }
}

function clusterOffset(state: Qcow2State, high: number, low: number): HostOffset {
  const offset = entryOffset(high, low)
  if (!Number.isNaN(offset) && isClusterAligned(state.layout, offset)) return host(offset)
  throw markCorrupt(state, `Cluster allocation offset 0x${hex(high, low)} unaligned`)
}

/** Where the L2 table of an L1 entry stands; 0 where there is none. */
function tableOffset(state: Qcow2State, l1: Table64, index: number): HostOffset {
  const offset = l1.offset(index)
  if (!Number.isNaN(offset) && isClusterAligned(state.layout, offset)) return host(offset)
  const place = hex(l1.high(index), l1.low(index))
  throw markCorrupt(state, `L2 table offset 0x${place} unaligned (L1 index: 0x${index.toString(16)})`)
}

function hex(high: number, low: number): string {
  const digits = (BigInt(high & OFFSET_HIGH_MASK) << 32n) | BigInt((low & OFFSET_LOW_MASK) >>> 0)
  return digits.toString(16)
}

/** A cluster that is named and not counted must not be: to count it might make room for it far behind the file. */
async function refuseUncounted(state: Qcow2State, run: HostRun): Promise<void> {
  const { clusterSize } = state.layout
  for (let at = 0; at < run.bytes; at += clusterSize) {
    const cluster = (run.offset + at) / clusterSize
    const count = refcountOf(state, cluster)
    if ((typeof count === 'number' ? count : await count) > 0) continue
    throw markCorrupt(state, `cluster ${cluster} is in use, but its reference count is 0`)
  }
}

/** Takes back what was counted: tables before `end`, and the runs of that one in `part`. A failure leaves leaks. */
async function takeBack(state: Qcow2State, l1: Table64, end: number, part: readonly HostRun[]): Promise<void> {
  try {
    for (const run of part) await changeRefcounts(state, run.offset, run.bytes, -1, 'never')
    for (let index = 0; index < end; index++) {
      for (const run of await runsOf(state, l1, index)) {
        await changeRefcounts(state, run.offset, run.bytes, -1, 'never')
      }
    }
  } catch (error) {
    if (!(error instanceof BlockError)) throw error
    state.repairOwed = true
  }
}

async function restoreInTable(state: Qcow2State, table: HostOffset): Promise<void> {
  const { l2Cache, refcountCache, layout } = state
  const words = layout.l2EntryBytes / 8
  await eachSlice(state, table, async (entry) => {
    for (let word = 0; word < entry.table.length; word += words) {
      const [high, low] = [entry.table.high(word), entry.table.low(word)]
      if ((high & COMPRESSED_HIGH) !== 0) continue
      if ((high & OFFSET_HIGH_MASK) === 0 && (low & OFFSET_LOW_MASK) === 0) continue
      const counted = refcountOf(state, clusterOffset(state, high, low) / layout.clusterSize)
      const single = (typeof counted === 'number' ? counted : await counted) === 1
      if (single === ((high & COPIED_HIGH) !== 0)) continue
      // A flag must not say so before the count does.
      await l2Cache.dependOn(refcountCache)
      setCopied(entry.table, word, single)
      l2Cache.markDirty(entry)
    }
  })
}

/** Sets or clears the copied flag of an entry; tells whether that changed it. */
function setCopied(table: Table64, index: number, copied: boolean): boolean {
  const high = table.high(index)
  const flagged = copied ? (high | COPIED_HIGH) >>> 0 : (high & ~COPIED_HIGH) >>> 0
  if (flagged === high) return false
  table.set(index, flagged, table.low(index))
  return true
}
