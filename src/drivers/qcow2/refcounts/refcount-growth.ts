// New refcount blocks, and a larger refcount table to name them. A new block describes itself where it lies in its own range;
// else its count is raised in another block first (rule O5: block, then its entry in the table; table, then the header).

import { write } from '../../../io/write.js'
import { ENTRY_BYTES, type HostOffset, host } from '../format/layout.js'
import { writeRefcount } from '../format/refcount-codec.js'
import { refcountStructures } from '../format/refcount-size.js'
import { Table64 } from '../format/table.js'
import { barrier } from '../metadata/barrier.js'
import type { CacheEntry } from '../metadata/cache-entries.js'
import { isWatched, reach } from '../metadata/debug-points.js'
import { takeOver } from '../metadata/flush.js'
import { refuseOverlap } from '../metadata/overlap.js'
import type { Qcow2State } from '../state.js'
import { writeRefcountArea } from './refcount-area.js'
import { searchFreeClusters, tryChangeRefcounts } from './refcounts.js'

/**
 * Makes the refcount block that describes `cluster`, or prepares for it. Afterwards the free clusters are others than
 * before: whoever was about to use some looks again, and calls again where the block is still missing.
 */
export async function addRefcountBlock(state: Qcow2State, cluster: number): Promise<void> {
  const { layout } = state
  const index = Math.floor(cluster / layout.refcountBlockEntries)
  if (isWatched(state)) await reach(state, 'refblock_alloc')
  const place = await searchFreeClusters(state, 1)
  await takeOver(state, place, 1)
  const offset = host(place * layout.clusterSize)
  const describesItself = Math.floor(place / layout.refcountBlockEntries) === index
  if (!describesItself) {
    const missing = await tryChangeRefcounts(state, offset, layout.clusterSize, 1, 'never')
    // A cluster has one count: nothing was changed before it.
    if (missing !== undefined) return addRefcountBlock(state, missing)
  }
  const entry = await state.refcountCache.getEmpty(offset)
  try {
    if (describesItself) setCount(state, entry, place, 1)
    if (isWatched(state)) await reach(state, 'refblock_alloc_write')
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

/** Lets the table name a block that is on stable storage; none where `offset` is 0. */
export async function nameBlock(state: Qcow2State, index: number, offset: HostOffset): Promise<void> {
  const place = host(state.header.refcountTableOffset + index * ENTRY_BYTES)
  const entry = Table64.ofEntries(1)
  entry.setOffset(0, offset)
  refuseOverlap(state, place, ENTRY_BYTES, ['refcount-table'])
  if (isWatched(state)) await reach(state, 'refblock_alloc_hookup')
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
  if (isWatched(state)) await reach(state, 'reftable_grow')
  const used = Math.max(cluster + 1, newBlock / clusterSize)
  const start = Math.ceil(used / refcountBlockEntries) * refcountBlockEntries
  const size = refcountStructures(layout, start, true)
  const firstIndex = start / refcountBlockEntries
  await writeRefcountArea(state, {
    start,
    blocks: Array.from({ length: size.blocks - firstIndex }, (_, i) => firstIndex + i),
    tableClusters: size.tableClusters,
    dataClusters: 0,
    named: { index: newIndex, offset: newBlock },
  })
}
