// Taking and freeing host clusters. Where the specification leaves a choice, clusters are taken as the field's tools take
// them: the first that are free in a row, from a hint on that goes back to whatever is freed. The caller holds the image's
// lock.

import { settleRange } from '../../../io/settle-range.js'
import { COMPRESSED_HIGH, decodeCompressed } from '../format/l2-entry.js'
import { clusterStart, type HostOffset, host, isClusterAligned } from '../format/layout.js'
import { entryOffset } from '../format/table.js'
import { markCorrupt } from '../metadata/corruption.js'
import { isWatched, reach } from '../metadata/debug-points.js'
import { takeOver } from '../metadata/flush.js'
import { hasDataFile, type Qcow2State } from '../state.js'
import { addRefcountBlock } from './refcount-growth.js'
import {
  changeBack,
  changeRefcounts,
  type FreePurpose,
  raiseRefcountsNow,
  refcountOf,
  searchFreeClusters,
  searchFreeNow,
  tryChangeRefcounts,
} from './refcounts.js'

/** Takes `count` clusters in a row where nothing has to be read or written for it; undefined, with nothing changed, where so. */
export function allocateNow(state: Qcow2State, count: number): HostOffset | undefined {
  if (isWatched(state)) return undefined
  const { freeClusterIndex } = state
  const first = searchFreeNow(state, count)
  if (first !== undefined && first > 0 && !state.freed.has(first, count) && raiseRefcountsNow(state, first, count)) {
    return host(first * state.layout.clusterSize)
  }
  state.freeClusterIndex = freeClusterIndex
  return undefined
}

/** Takes clusters for `bytes` bytes in a row; their count is 1. ENOSPC and others as writing refcounts fails. */
export async function allocateClusters(state: Qcow2State, bytes: number): Promise<HostOffset> {
  const { clusterSize } = state.layout
  const count = Math.ceil(bytes / clusterSize)
  if (isWatched(state)) await reach(state, 'cluster_alloc')
  for (;;) {
    const first = await searchFreeClusters(state, count)
    const offset = host(first * clusterSize)
    if (first === 0) throw markCorrupt(state, 'the header cluster is free by its reference count')
    await takeOver(state, first, count)
    if (await raiseRefcounts(state, offset, count * clusterSize)) return offset
  }
}

/** False where a block had to be made first: free clusters are others now, and these may be looked at again. */
async function raiseRefcounts(state: Qcow2State, offset: HostOffset, bytes: number): Promise<boolean> {
  const missing = await tryChangeRefcounts(state, offset, bytes, 1, 'never')
  if (missing === undefined) return true
  const first = Math.floor(offset / state.layout.clusterSize)
  try {
    await addRefcountBlock(state, missing)
  } finally {
    await changeBack(state, first, missing, 1)
    state.freeClusterIndex = Math.min(state.freeClusterIndex, first)
  }
  return false
}

/** Takes as many of `count` clusters at `offset` as are free there in a row; returns how many, which may be 0. */
export async function allocateClustersAt(state: Qcow2State, offset: HostOffset, count: number): Promise<number> {
  const { clusterSize } = state.layout
  const first = offset / clusterSize
  for (;;) {
    let free = 0
    while (free < count && (await refcountOf(state, first + free)) === 0) free++
    if (free === 0) return 0
    await takeOver(state, first, free)
    // A new block may land among these.
    if (await raiseRefcounts(state, offset, free * clusterSize)) return free
  }
}

/**
 * Takes `bytes` bytes for a compressed cluster, behind the last one where they fit. Every host cluster they touch counts one
 * reference more.
 */
export async function allocateBytes(state: Qcow2State, bytes: number): Promise<HostOffset> {
  const { clusterSize, maxRefcount } = state.layout
  if (isWatched(state)) await reach(state, 'cluster_alloc_bytes')
  let offset: number = state.freeByteOffset
  if (offset !== 0 && (await refcountOf(state, Math.floor(offset / clusterSize))) >= maxRefcount) offset = 0
  for (;;) {
    const left = offset === 0 ? 0 : clusterSize - (offset % clusterSize)
    if (left < bytes) {
      const next = (await searchFreeClusters(state, 1)) * clusterSize
      if (next === 0) throw markCorrupt(state, 'the header cluster is free by its reference count')
      await takeOver(state, next / clusterSize, 1)
      if (offset === 0 || offset + left !== next) offset = next
    }
    if (await raiseRefcounts(state, host(offset), bytes)) break
    offset = 0
  }
  const end = offset + bytes
  state.freeByteOffset = host(end % clusterSize === 0 ? 0 : end)
  // A sector may be written twice, by this cluster and the next; what was read of it before is old.
  state.decompressed.clear()
  return host(offset)
}

/**
 * Drops one reference of each cluster that `bytes` bytes at `offset` touch. Requests on their way to clusters that become
 * free are let through first. Nothing in memory names the clusters any more.
 */
export async function freeClusters(
  state: Qcow2State,
  offset: HostOffset,
  bytes: number,
  purpose: FreePurpose,
): Promise<void> {
  const { clusterSize } = state.layout
  const first = Math.floor(offset / clusterSize)
  const last = Math.floor((offset + bytes - 1) / clusterSize)
  if (isWatched(state)) await reach(state, 'cluster_free')
  for (let cluster = first; cluster <= last; cluster++) {
    const owed = state.owedDecrements.get(cluster) ?? 0
    if ((await refcountOf(state, cluster)) - owed > 1) {
      // Nobody can take it, so its count may stay too high until tables are written out anyway.
      state.owedDecrements.set(cluster, owed + 1)
      continue
    }
    state.owedDecrements.delete(cluster)
    const start = host(cluster * clusterSize)
    await settleRange(state.file.node, start, clusterSize)
    await changeRefcounts(state, start, clusterSize, -(owed + 1), purpose)
  }
}

/** Drops the reference that an L2 entry, given by its halves, holds on host clusters. EIO for an entry that names nothing sane. */
export async function freeEntry(state: Qcow2State, high: number, low: number, purpose: FreePurpose): Promise<void> {
  const { layout } = state
  if ((high & COMPRESSED_HIGH) !== 0) {
    const range = decodeCompressed(layout, high, low)
    if (range === undefined) throw markCorrupt(state, 'a compressed cluster lies beyond the largest offset')
    const start = clusterStart(layout, host(range.offset))
    await freeClusters(state, start, range.offset + range.bytes - start, purpose)
    return
  }
  // Clusters of an external data file are not counted.
  if (hasDataFile(state)) return
  const offset = entryOffset(high, low)
  if (offset === 0) return
  if (Number.isNaN(offset) || !isClusterAligned(layout, offset)) {
    throw markCorrupt(state, `Cannot free unaligned cluster 0x${offset.toString(16)}`)
  }
  await freeClusters(state, host(offset), layout.clusterSize, purpose)
}
