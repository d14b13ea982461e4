// Reference counts of host clusters (qcow2 specification, "Host cluster management"). Changes are undone as a whole where
// one of them fails; counts never pass their width nor fall below 0 (threats I16). The caller holds the image's lock.

import { BlockError } from '../../common/error.js'
import type { MaybePromise } from '../../common/maybe-promise.js'
import { write } from '../../io/write.js'
import { barrier } from './barrier.js'
import { markCorrupt } from './corruption.js'
import { forgetFreed } from './freed-clusters.js'
import { writeHeader } from './header-update.js'
import {
  ENTRY_BYTES,
  type HostOffset,
  host,
  isClusterAligned,
  MAX_HOST_OFFSET,
  MAX_REFCOUNT_TABLE_BYTES,
} from './layout.js'
import type { CacheEntry } from './metadata-cache.js'
import { refuseOverlap } from './overlap.js'
import { readRefcount, writeRefcount } from './refcount-codec.js'
import { refcountStructures } from './refcount-size.js'
import { imageError, type Qcow2State } from './state.js'
import { Table64 } from './table.js'

/** Why clusters are freed: decides whether the file below is told. `never`: they were never used. */
export type FreePurpose = 'request' | 'snapshot' | 'other' | 'never'

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
 * Adds `delta` to the counts of the clusters that `bytes` bytes at `offset` touch. Blocks that do not exist yet are made, and
 * may take the very clusters a caller meant to use: it then learns `again`, with nothing changed, and looks for others.
 */
export async function tryChangeRefcounts(
  state: Qcow2State,
  offset: HostOffset,
  bytes: number,
  delta: number,
  purpose: FreePurpose,
): Promise<'done' | 'again'> {
  if (bytes === 0) return 'done'
  const { clusterSize } = state.layout
  if (delta < 0) await state.refcountCache.dependOn(state.l2Cache)
  const first = Math.floor(offset / clusterSize)
  const last = Math.floor((offset + bytes - 1) / clusterSize)
  let cluster = first
  try {
    for (; cluster <= last; cluster++) {
      if ((await changeOne(state, cluster, delta, purpose)) === 'done') continue
      await changeBack(state, first, cluster, delta)
      // The same ones first, to see whether they are still free.
      if (state.freeClusterIndex > first) state.freeClusterIndex = first
      return 'again'
    }
  } catch (error) {
    await changeBack(state, first, cluster, delta)
    throw error
  }
  return 'done'
}

/** As {@link tryChangeRefcounts}, for clusters that stay the same whatever else is allocated on the way. */
export async function changeRefcounts(
  state: Qcow2State,
  offset: HostOffset,
  bytes: number,
  delta: number,
  purpose: FreePurpose,
): Promise<void> {
  while ((await tryChangeRefcounts(state, offset, bytes, delta, purpose)) === 'again');
}

/** Takes back what was added to the clusters from `first` up to `end`. A failure leaves leaks, and is not reported. */
async function changeBack(state: Qcow2State, first: number, end: number, delta: number): Promise<void> {
  try {
    for (let cluster = first; cluster < end; cluster++) await changeOne(state, cluster, -delta, 'never')
  } catch (error) {
    if (!(error instanceof BlockError)) throw error
  }
}

async function changeOne(
  state: Qcow2State,
  cluster: number,
  delta: number,
  purpose: FreePurpose,
): Promise<'done' | 'again'> {
  const { refcountBlockEntries } = state.layout
  const index = Math.floor(cluster / refcountBlockEntries)
  const offset = blockOffset(state, index)
  if (offset === undefined) {
    if (delta < 0) throw belowZero(state, cluster)
    await addRefcountBlock(state, cluster)
    return 'again'
  }
  const entry = state.refcountCache.peek(offset)
  if (entry !== undefined) {
    applyDelta(state, entry, cluster, delta, purpose)
    return 'done'
  }
  const loaded = await state.refcountCache.get(offset)
  try {
    applyDelta(state, loaded, cluster, delta, purpose)
  } finally {
    state.refcountCache.release(loaded)
  }
  return 'done'
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

/**
 * Makes the refcount block that describes `cluster`, or prepares for it. Afterwards the free clusters are others than
 * before: whoever was about to use some looks again, and calls again where the block is still missing.
 */
async function addRefcountBlock(state: Qcow2State, cluster: number): Promise<void> {
  const { layout } = state
  const index = Math.floor(cluster / layout.refcountBlockEntries)
  const place = await searchFreeClusters(state, 1)
  const offset = host(place * layout.clusterSize)
  const describesItself = Math.floor(place / layout.refcountBlockEntries) === index
  if (!describesItself && (await tryChangeRefcounts(state, offset, layout.clusterSize, 1, 'never')) === 'again') return
  const entry = await state.refcountCache.getEmpty(offset)
  try {
    if (describesItself) setCount(state, entry, place, 1)
    await state.refcountCache.flush()
    await barrier(state)
    if (index < state.refcountTable.length) await nameBlock(state, index, offset)
    else await growTable(state, cluster, index, offset)
  } catch (error) {
    state.refcountCache.forget(offset, layout.clusterSize)
    throw error
  } finally {
    state.refcountCache.release(entry)
  }
  state.metadata.add('refcount-block', offset, layout.clusterSize)
}

function setCount(state: Qcow2State, entry: CacheEntry, cluster: number, count: number): void {
  const { refcountBlockEntries, refcountOrder } = state.layout
  writeRefcount(entry.table.view, cluster % refcountBlockEntries, refcountOrder, count)
  state.refcountCache.markDirty(entry)
}

async function nameBlock(state: Qcow2State, index: number, offset: HostOffset): Promise<void> {
  const place = host(state.header.refcountTableOffset + index * ENTRY_BYTES)
  const entry = Table64.ofEntries(1)
  entry.setOffset(0, offset)
  refuseOverlap(state, place, ENTRY_BYTES, ['refcount-table'])
  await write(state.file, place, entry.bytes)
  await barrier(state)
  state.refcountTable.setOffset(index, offset)
}

/**
 * A larger table behind everything that is in use, with the blocks that describe it and the room it leaves. The new block at
 * `newBlock` becomes its entry `newIndex`.
 */
async function growTable(state: Qcow2State, cluster: number, newIndex: number, newBlock: HostOffset): Promise<void> {
  const { layout } = state
  const { refcountBlockEntries, clusterSize } = layout
  const used = Math.max(cluster + 1, newBlock / clusterSize)
  const start = Math.ceil(used / refcountBlockEntries) * refcountBlockEntries
  const size = refcountStructures(layout, start, true)
  if (size.tableClusters * clusterSize > MAX_REFCOUNT_TABLE_BYTES) {
    throw imageError(state, 'EFBIG', 'the refcount table has reached its largest size')
  }
  const table = Table64.ofEntries((size.tableClusters * clusterSize) / ENTRY_BYTES)
  table.bytes.set(state.refcountTable.bytes)
  table.setOffset(newIndex, newBlock)
  const firstIndex = start / refcountBlockEntries
  const blockCount = size.blocks - firstIndex
  const tableOffset = host((start + blockCount) * clusterSize)
  const end = start + blockCount + size.tableClusters
  refuseOverlap(state, host(start * clusterSize), (end - start) * clusterSize, [])
  for (let i = 0; i < blockCount; i++) {
    const offset = host((start + i) * clusterSize)
    table.setOffset(firstIndex + i, offset)
    const entry = await state.refcountCache.getEmpty(offset)
    for (let at = start; at < end; at++) {
      if (Math.floor(at / refcountBlockEntries) === firstIndex + i) setCount(state, entry, at, 1)
    }
    state.refcountCache.release(entry)
  }
  await state.refcountCache.flush()
  await write(state.file, tableOffset, table.bytes)
  await barrier(state)
  await takeTable(state, table, tableOffset, size.tableClusters)
  for (let i = 0; i < blockCount; i++) {
    state.metadata.add('refcount-block', host((start + i) * clusterSize), clusterSize)
  }
}

/** The header names the new table; the old one is free. */
async function takeTable(state: Qcow2State, table: Table64, offset: HostOffset, clusters: number): Promise<void> {
  const { header, layout } = state
  const old = { offset: header.refcountTableOffset, bytes: header.refcountTableClusters * layout.clusterSize }
  await writeHeader(state, { refcountTableOffset: offset, refcountTableClusters: clusters })
  state.refcountTable = table
  await changeRefcounts(state, old.offset, old.bytes, -1, 'other')
}
