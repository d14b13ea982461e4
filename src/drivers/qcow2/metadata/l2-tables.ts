// L2 tables that may be changed. A table that a snapshot shares, or that does not exist, is made anew first; the L1 table
// names it when its contents are durable (rule O2). The caller holds the image's lock.

import { write } from '../../../io/write.js'
import { ENTRY_BYTES, type GuestOffset, type HostOffset, host, isClusterAligned } from '../format/layout.js'
import { COPIED_HIGH, entryOffset } from '../format/table.js'
import { allocateClusters, freeClusters } from '../refcounts/allocator.js'
import { imageError, type Qcow2State } from '../state.js'
import { barrier } from './barrier.js'
import type { CacheEntry } from './cache-entries.js'
import { markCorrupt } from './corruption.js'
import { isWatched, reach } from './debug-points.js'
import { sliceAt } from './l2-map.js'
import { refuseOverlap } from './overlap.js'

/** A slice of an L2 table that is held in the cache, and the place of a guest cluster in it. */
export interface HeldSlice {
  entry: CacheEntry
  /** Of the guest cluster in the slice. */
  index: number
  /** Of the slice. */
  entries: number
}

/** The slice that maps `offset`, in a table that may be changed. Release its entry. */
export async function writableSlice(state: Qcow2State, offset: GuestOffset): Promise<HeldSlice> {
  const l1Index = Math.floor(offset / state.layout.l2Coverage)
  if (l1Index >= state.l1.length) {
    throw imageError(state, 'EFBIG', `the L1 table does not reach guest offset ${offset}`)
  }
  if ((state.l1.high(l1Index) & COPIED_HIGH) === 0) await makeTable(state, l1Index)
  return heldSlice(state, offset)
}

/** The slice that maps `offset`, whoever else shares it; undefined where there is no table. Release its entry. */
export async function readableSlice(state: Qcow2State, offset: GuestOffset): Promise<HeldSlice | undefined> {
  const l1Index = Math.floor(offset / state.layout.l2Coverage)
  if (l1Index >= state.l1.length || state.l1.offset(l1Index) === 0) return undefined
  return heldSlice(state, offset)
}

async function heldSlice(state: Qcow2State, offset: GuestOffset): Promise<HeldSlice> {
  const slice = sliceAt(state, offset)
  if (slice === undefined || !isClusterAligned(state.layout, tableOf(state, offset))) throw unaligned(state, offset)
  return { entry: await state.l2Cache.get(slice.offset), index: slice.index, entries: slice.entries }
}

function tableOf(state: Qcow2State, offset: GuestOffset): number {
  return state.l1.offset(Math.floor(offset / state.layout.l2Coverage))
}

function unaligned(state: Qcow2State, offset: GuestOffset): Error {
  const index = Math.floor(offset / state.layout.l2Coverage)
  const place = tableOf(state, offset).toString(16)
  return markCorrupt(state, `L2 table offset 0x${place} unaligned (L1 index: 0x${index.toString(16)})`)
}

/** Gives an L1 entry a table of its own: a copy of the one it shares, or an empty one. */
async function makeTable(state: Qcow2State, l1Index: number): Promise<void> {
  const { layout, l1, l2Cache, refcountCache } = state
  const old = entryOffset(l1.high(l1Index), l1.low(l1Index))
  if (Number.isNaN(old) || !isClusterAligned(layout, old)) {
    throw unaligned(state, (l1Index * layout.l2Coverage) as GuestOffset)
  }
  const offset = await allocateClusters(state, layout.clusterSize)
  try {
    refuseOverlap(state, offset, layout.clusterSize, [])
    // Declared before there is a table to write: one that was written meanwhile would ask for nothing any more.
    await l2Cache.dependOn(refcountCache)
    await fillTable(state, offset, host(old))
    if (isWatched(state)) await reach(state, 'l2_alloc_write')
    await l2Cache.flush()
    await barrier(state)
  } catch (error) {
    l2Cache.forget(offset, layout.clusterSize)
    await freeClusters(state, offset, layout.clusterSize, 'other')
    throw error
  }
  state.metadata.add('active-l2', offset, layout.clusterSize)
  // Where this fails, nobody knows whether the disk names the new table: its cluster stays taken.
  await writeL1Entry(state, l1Index, offset)
  if (old === 0) return
  await barrier(state)
  await freeClusters(state, host(old), layout.clusterSize, 'other')
}

/** Fills the slices of the new table at `offset` with those of `old`, or with nothing where that is 0. */
async function fillTable(state: Qcow2State, offset: HostOffset, old: HostOffset): Promise<void> {
  const { l2Cache, layout } = state
  for (let at = 0; at < layout.clusterSize; at += l2Cache.entryBytes) {
    const entry = await l2Cache.getEmpty(host(offset + at))
    try {
      if (old === 0) continue
      if (isWatched(state)) await reach(state, 'l2_alloc_cow_read')
      const source = await l2Cache.get(host(old + at))
      entry.table.bytes.set(source.table.bytes)
      l2Cache.release(source)
    } finally {
      l2Cache.release(entry)
    }
  }
}

/** Writes an L1 entry, in the sector it stands in. Memory changes first, and back where that fails. */
async function writeL1Entry(state: Qcow2State, index: number, offset: HostOffset): Promise<void> {
  const { l1, header } = state
  const before = { high: l1.high(index), low: l1.low(index) }
  l1.setOffset(index, offset, COPIED_HIGH)
  const sector = 512 / ENTRY_BYTES
  const first = index - (index % sector)
  const bytes = l1.bytes.slice(first * ENTRY_BYTES, Math.min(first + sector, l1.length) * ENTRY_BYTES)
  const place = host(header.l1TableOffset + first * ENTRY_BYTES)
  try {
    refuseOverlap(state, place, bytes.byteLength, ['active-l1'])
    if (isWatched(state)) await reach(state, 'l1_update')
    await write(state.file, place, bytes)
  } catch (error) {
    l1.set(index, before.high, before.low)
    throw error
  }
}
