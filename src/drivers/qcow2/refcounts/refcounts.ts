// Reference counts of host clusters (qcow2 specification, "Host cluster management"). Changes are undone as a whole where
// one of them fails; counts never pass their width nor fall below 0 (threats I16). The caller holds the image's lock.

import { BlockError } from '../../../common/error.js'
import type { MaybePromise } from '../../../common/maybe-promise.js'
import { type HostOffset, host, isClusterAligned, MAX_HOST_OFFSET } from '../format/layout.js'
import { readRefcount, writeRefcount } from '../format/refcount-codec.js'
import type { CacheEntry } from '../metadata/cache-entries.js'
import { markCorrupt } from '../metadata/corruption.js'
import { imageError, type Qcow2State } from '../state.js'
import { forgetFreed } from './freed-clusters.js'

/**
 * Why clusters are freed: decides whether the file below is told. `never`: they were never used; `always`: whatever the options
 * say.
 */
export type FreePurpose = 'request' | 'snapshot' | 'other' | 'always' | 'never'

/** The count of a host cluster; those that no block describes are free. EIO where its block is nowhere sane. */
export function refcountOf(state: Qcow2State, cluster: number): MaybePromise<number> {
  const { refcountBlockEntries, refcountOrder } = state.layout
  const offset = blockOffset(state, Math.floor(cluster / refcountBlockEntries))
  if (offset === undefined) return 0
  const entry = state.refcountCache.peek(offset)
  if (entry === undefined) return loadRefcount(state, cluster, offset)
  return readRefcount(entry.table.view, cluster % refcountBlockEntries, refcountOrder)
}

async function loadRefcount(state: Qcow2State, cluster: number, offset: HostOffset): Promise<number> {
  const { refcountBlockEntries, refcountOrder } = state.layout
  const entry = await state.refcountCache.get(offset)
  state.refcountCache.release(entry)
  return readRefcount(entry.table.view, cluster % refcountBlockEntries, refcountOrder)
}

/** Where the block of a table index stands; undefined where there is none. EIO, and the image corrupt, for an impossible place. */
export function blockOffset(state: Qcow2State, index: number): HostOffset | undefined {
  const { refcountTable, layout } = state
  if (index >= refcountTable.length) return undefined
  const high = refcountTable.high(index)
  const low = (refcountTable.low(index) & 0xffff_fe00) >>> 0
  const offset = high * 0x1_0000_0000 + low
  if (offset === 0) return undefined
  if (high <= 0x1f_ffff && isClusterAligned(layout, offset)) return host(offset)
  throw markCorrupt(
    state,
    `Refblock offset 0x${offset.toString(16)} unaligned (reftable index: 0x${index.toString(16)})`,
  )
}

/**
 * Adds `delta` to the counts of the clusters that `bytes` bytes at `offset` touch. Where one of them has no block yet, it is
 * returned, and those before it stay changed until the block is there: then {@link changeBack}, and again from the start.
 */
export async function tryChangeRefcounts(
  state: Qcow2State,
  offset: HostOffset,
  bytes: number,
  delta: number,
  purpose: FreePurpose,
): Promise<number | undefined> {
  if (bytes === 0) return undefined
  const { clusterSize } = state.layout
  if (delta < 0) await state.refcountCache.dependOn(state.l2Cache)
  const first = Math.floor(offset / clusterSize)
  const last = Math.floor((offset + bytes - 1) / clusterSize)
  let cluster = first
  try {
    for (; cluster <= last; cluster++) {
      if (await changeOne(state, cluster, delta, purpose)) continue
      return cluster
    }
  } catch (error) {
    await changeBack(state, first, cluster, delta)
    throw error
  }
  return undefined
}

/** As {@link tryChangeRefcounts}, for clusters that are in use, and so have blocks. EIO where one has none. */
export async function changeRefcounts(
  state: Qcow2State,
  offset: HostOffset,
  bytes: number,
  delta: number,
  purpose: FreePurpose,
): Promise<void> {
  const missing = await tryChangeRefcounts(state, offset, bytes, delta, purpose)
  if (missing === undefined) return
  await changeBack(state, Math.floor(offset / state.layout.clusterSize), missing, delta)
  throw markCorrupt(state, `cluster ${missing} is in use and has no reference count`)
}

/** Takes back what was added to the clusters from `first` up to `end`. A failure leaves leaks, and is not reported. */
export async function changeBack(state: Qcow2State, first: number, end: number, delta: number): Promise<void> {
  try {
    for (let cluster = first; cluster < end; cluster++) await changeOne(state, cluster, -delta, 'never')
  } catch (error) {
    if (!(error instanceof BlockError)) throw error
  }
}

/** False where the cluster has no block. */
async function changeOne(state: Qcow2State, cluster: number, delta: number, purpose: FreePurpose): Promise<boolean> {
  const { refcountBlockEntries } = state.layout
  const index = Math.floor(cluster / refcountBlockEntries)
  const offset = blockOffset(state, index)
  if (offset === undefined) {
    if (delta < 0) throw belowZero(state, cluster)
    return false
  }
  const entry = state.refcountCache.peek(offset)
  if (entry !== undefined) {
    applyDelta(state, entry, cluster, delta, purpose)
    return true
  }
  const loaded = await state.refcountCache.get(offset)
  try {
    applyDelta(state, loaded, cluster, delta, purpose)
  } finally {
    state.refcountCache.release(loaded)
  }
  return true
}

function applyDelta(state: Qcow2State, entry: CacheEntry, cluster: number, delta: number, purpose: FreePurpose): void {
  const { refcountBlockEntries, refcountOrder, maxRefcount } = state.layout
  const index = cluster % refcountBlockEntries
  const count = readRefcount(entry.table.view, index, refcountOrder) + delta
  if (count < 0) throw belowZero(state, cluster)
  if (count > maxRefcount) {
    throw imageError(state, 'EINVAL', `the reference count of cluster ${cluster} would exceed ${maxRefcount}`)
  }
  writeRefcount(entry.table.view, index, refcountOrder, count)
  state.refcountCache.markDirty(entry)
  if (count > 0) return
  if (cluster < state.freeClusterIndex) state.freeClusterIndex = cluster
  forgetFreed(state, cluster, purpose)
}

function belowZero(state: Qcow2State, cluster: number): BlockError {
  return imageError(state, 'EINVAL', `the reference count of cluster ${cluster} would fall below 0`)
}

/** Adds 1 to the counts of `count` clusters where all their blocks are in memory; false, with nothing changed, where not. */
export function raiseRefcountsNow(state: Qcow2State, first: number, count: number): boolean {
  const { refcountBlockEntries } = state.layout
  const blockOf = (cluster: number) => {
    const offset = blockOffset(state, Math.floor(cluster / refcountBlockEntries))
    return offset === undefined ? undefined : state.refcountCache.peek(offset)
  }
  // Runs are short: mostly one block, at most a few.
  for (let cluster = first; cluster < first + count; cluster = nextBlock(cluster, refcountBlockEntries)) {
    if (blockOf(cluster) === undefined) return false
  }
  for (let cluster = first; cluster < first + count; cluster++) {
    const entry = blockOf(cluster)
    if (entry !== undefined) applyDelta(state, entry, cluster, 1, 'never')
  }
  return true
}

function nextBlock(cluster: number, entries: number): number {
  return (Math.floor(cluster / entries) + 1) * entries
}

/** As {@link searchFreeClusters}, by what is in memory; undefined where that does not tell. */
export function searchFreeNow(state: Qcow2State, count: number): number | undefined {
  let found = 0
  while (found < count) {
    const counted = refcountOf(state, state.freeClusterIndex++)
    if (typeof counted !== 'number') {
      // Whoever looks again waits for the table, and is told where it cannot be read.
      counted.catch(() => {})
      return undefined
    }
    found = counted === 0 ? found + 1 : 0
  }
  const first = state.freeClusterIndex - count
  return state.freeClusterIndex * state.layout.clusterSize > MAX_HOST_OFFSET ? undefined : first
}

/**
 * The first of `count` free clusters in a row, from the hint on, which moves behind them. They are not taken yet. EFBIG where
 * no offset could name them.
 */
export async function searchFreeClusters(state: Qcow2State, count: number): Promise<number> {
  let found = 0
  while (found < count) {
    const counted = refcountOf(state, state.freeClusterIndex++)
    const taken = typeof counted === 'number' ? counted : await counted
    found = taken === 0 ? found + 1 : 0
  }
  if (state.freeClusterIndex * state.layout.clusterSize > MAX_HOST_OFFSET) {
    throw imageError(state, 'EFBIG', 'the image file would exceed the largest length')
  }
  return state.freeClusterIndex - count
}

/** Applies the decrements that were put off. The tables that no longer name the clusters are durable. */
export async function applyOwedDecrements(state: Qcow2State): Promise<void> {
  const { clusterSize } = state.layout
  for (const [cluster, count] of [...state.owedDecrements]) {
    state.owedDecrements.delete(cluster)
    await changeRefcounts(state, host(cluster * clusterSize), clusterSize, -count, 'other')
  }
}
