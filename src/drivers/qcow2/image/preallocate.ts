// Host clusters ahead of data: every cluster of a guest range gets its place. By `metadata` the places are taken one table at
// a time and stay holes in the file; by `falloc` and `full` all of them stand in one new area at the end of the file, whose
// space the host allocates or fills first.

import { BlockError } from '../../../common/error.js'
import type { Preallocation } from '../../../common/option-names.js'
import { BDRV_REQ_MAY_UNMAP } from '../../../common/request.js'
import { truncate } from '../../../io/truncate.js'
import { writeZeroes } from '../../../io/write-zeroes.js'
import { COMPRESSED_HIGH, UNALLOCATED, ZERO_LOW, ZERO_PLAIN } from '../format/l2-entry.js'
import { clusterEnd, ENTRY_BYTES, type GuestOffset, guest, type HostOffset, host } from '../format/layout.js'
import { COPIED_HIGH } from '../format/table.js'
import { type ClusterEntry, entryAt, placeOf, putEntry } from '../metadata/clusters.js'
import { isWatched, reach } from '../metadata/debug-points.js'
import { cutFile, endOfWritten } from '../metadata/file-end.js'
import { findRun, newRun } from '../metadata/l2-map.js'
import { type HeldSlice, writableSlice } from '../metadata/l2-tables.js'
import { beginAllocating, beginWriting, postponesRefcounts } from '../metadata/writing.js'
import { allocateClusters, freeClusters } from '../refcounts/allocator.js'
import { writeRefcountArea } from '../refcounts/refcount-area.js'
import { blockOffset } from '../refcounts/refcounts.js'
import { hasDataFile, type Qcow2State } from '../state.js'

/** Gives a place to `count` clusters from `at` on: whole clusters in a row. The image's lock is held. */
type PlaceClusters = (at: GuestOffset, count: number) => Promise<HostOffset>

/**
 * Gives host clusters to those guest clusters that have none, from the boundary `from` up to the one in which the subcluster
 * ends that ends at `to`. What is there reads as zeroes. Codes as allocation has.
 */
export async function preallocate(
  state: Qcow2State,
  from: GuestOffset,
  to: GuestOffset,
  mode: Exclude<Preallocation, 'off'>,
): Promise<void> {
  state.preallocated = true
  const stop = clusterEnd(state.layout, to)
  if (hasDataFile(state)) await placeAll(state, from, stop, async (at) => host(at))
  else if (mode === 'metadata') await preallocateMetadata(state, from, to)
  else await preallocateArea(state, from, stop, mode)
}

async function preallocateMetadata(state: Qcow2State, from: GuestOffset, to: GuestOffset): Promise<void> {
  const { clusterSize } = state.layout
  await placeAll(state, from, clusterEnd(state.layout, to), async (at, count) => {
    const place = await allocateClusters(state, count * clusterSize)
    try {
      await clearReused(state, place, count * clusterSize)
      // The clusters are part of the file before a table names them.
      const end = place + Math.min(count * clusterSize, to - at)
      if (end > state.file.node.state.length) await truncate(state.file, end)
    } catch (error) {
      await freeClusters(state, place, count * clusterSize, 'never')
      throw error
    }
    return place
  })
}

/** A cluster that was in use before still holds what it held. */
async function clearReused(state: Qcow2State, place: HostOffset, bytes: number): Promise<void> {
  const end = Math.min(place + bytes, endOfWritten(state.file))
  if (end > place) await writeZeroes(state.file, place, end - place, BDRV_REQ_MAY_UNMAP)
}

async function preallocateArea(
  state: Qcow2State,
  from: GuestOffset,
  to: GuestOffset,
  mode: 'falloc' | 'full',
): Promise<void> {
  const { clusterSize } = state.layout
  const count = await countMissing(state, from, to)
  const first = await state.lock.runExclusive(async () => {
    await beginWriting(state)
    const start = await makeArea(state, count)
    try {
      if (isWatched(state)) await reach(state, 'cluster_alloc_space')
      await truncate(state.file, (start + count) * clusterSize, { preallocation: mode })
    } catch (error) {
      await freeClusters(state, host(start * clusterSize), count * clusterSize, 'never')
      throw error
    }
    return start
  })
  let used = 0
  try {
    await placeAll(state, from, to, async (_at, wanted) => {
      if (used + wanted > count) throw new BlockError('EIO', 'guest clusters were lost while their place was prepared')
      used += wanted
      return host((first + used - wanted) * clusterSize)
    })
  } finally {
    // Somebody may have written to the last cluster of the old disk meanwhile.
    const left = count - used
    const rest = host((first + used) * clusterSize)
    if (left > 0) await state.lock.runExclusive(() => freeClusters(state, rest, left * clusterSize, 'never'))
  }
}

/** Makes room for `count` clusters at the end of the file, all of them used from the start. Gives the first one. */
async function makeArea(state: Qcow2State, count: number): Promise<number> {
  const { clusterSize, l2Entries, refcountBlockEntries } = state.layout
  const start = await cutFile(state)
  // Tables that map the clusters come behind them and find their counts prepared.
  const described = count + Math.ceil(count / l2Entries)
  let blocks: number[] = []
  let tableClusters = 0
  for (;;) {
    const end = start + blocks.length + tableClusters + described
    const indices = Math.max(Math.ceil(end / refcountBlockEntries), lastBlock(state) + 1)
    const wanted: number[] = []
    for (let index = Math.floor(start / refcountBlockEntries); index < indices; index++) {
      if (blockOffset(state, index) === undefined) wanted.push(index)
    }
    const wantedTable = Math.ceil((indices * ENTRY_BYTES) / clusterSize)
    if (wanted.length === blocks.length && wantedTable === tableClusters) break
    blocks = wanted
    tableClusters = wantedTable
  }
  await writeRefcountArea(state, { start, blocks, tableClusters, dataClusters: count })
  return start + blocks.length + tableClusters
}

function lastBlock(state: Qcow2State): number {
  let index = state.refcountTable.length - 1
  while (index >= 0 && blockOffset(state, index) === undefined) index--
  return index
}

/** Clusters of a range that have no place. */
async function countMissing(state: Qcow2State, from: GuestOffset, to: GuestOffset): Promise<number> {
  const run = newRun()
  let bytes = 0
  for (let at = from as number; at < to; at += run.bytes) {
    await findRun(state, guest(at), to - at, run)
    if (run.kind === UNALLOCATED || run.kind === ZERO_PLAIN) bytes += run.bytes
  }
  return bytes / state.layout.clusterSize
}

/** Lets `place` find places for the clusters of a range that have none, and the tables name them. */
async function placeAll(state: Qcow2State, from: GuestOffset, to: GuestOffset, place: PlaceClusters): Promise<void> {
  for (let at = from; at < to; ) {
    const next = await state.lock.runExclusive(async () => {
      const found = state.allocations.conflict(at, guest(at + state.layout.clusterSize))
      return found === undefined ? await placeRun(state, at, to, place) : found
    })
    if (typeof next === 'number') at = next
    else await next.ended
  }
}

/** Does so for the first run of such clusters in the slice that maps `at`. Gives where to go on. */
async function placeRun(
  state: Qcow2State,
  at: GuestOffset,
  to: GuestOffset,
  place: PlaceClusters,
): Promise<GuestOffset> {
  await beginWriting(state)
  await beginAllocating(state)
  const { clusterSize } = state.layout
  const slice = await writableSlice(state, at)
  try {
    const end = Math.min(slice.entries, slice.index + (to - at) / clusterSize)
    let first = slice.index
    while (first < end && !isMissing(state, slice, first)) first++
    let last = first
    while (last < end && isMissing(state, slice, last)) last++
    const start = guest(at + (first - slice.index) * clusterSize)
    if (last > first) await linkRun(state, slice, first, last, await place(start, last - first))
    return guest(at + (last - slice.index) * clusterSize)
  } finally {
    state.l2Cache.release(slice.entry)
  }
}

function isMissing(state: Qcow2State, slice: HeldSlice, index: number): boolean {
  const entry = entryAt(state.layout, slice, index)
  return (entry.high & COMPRESSED_HIGH) === 0 && Number.isNaN(placeOf(state, entry))
}

/** Lets the entries from `first` to `last` name the clusters from `place` on. Nothing but zeroes is there. */
async function linkRun(
  state: Qcow2State,
  slice: HeldSlice,
  first: number,
  last: number,
  place: HostOffset,
): Promise<void> {
  const { l2Cache, refcountCache, layout } = state
  if (!postponesRefcounts(state)) await l2Cache.dependOn(refcountCache)
  l2Cache.dependOnFlush()
  for (let index = first; index < last; index++) {
    const offset = place + (index - first) * layout.clusterSize
    putEntry(layout, slice, index, placedEntry(state, entryAt(layout, slice, index), offset))
  }
  l2Cache.markDirty(slice.entry)
}

/** An entry with a place. Zeroes on the host are no zeroes to the guest of an encrypted image: its entries say so. */
function placedEntry(state: Qcow2State, before: ClusterEntry, offset: number): ClusterEntry {
  const { layout, cipher } = state
  const high = (Math.floor(offset / 0x1_0000_0000) | COPIED_HIGH) >>> 0
  const low = offset >>> 0
  if (layout.extendedL2) return { ...before, high, low }
  const zero = cipher !== undefined || (before.low & ZERO_LOW) !== 0
  return { ...before, high, low: zero ? (low | ZERO_LOW) >>> 0 : low }
}
