// Refcount blocks that describe nothing any more: the table forgets them first, then they are free (rule O5, backwards).

import { write } from '../../../io/write.js'
import { ENTRY_BYTES, type HostOffset } from '../format/layout.js'
import { readRefcount } from '../format/refcount-codec.js'
import { Table64 } from '../format/table.js'
import { barrier } from '../metadata/barrier.js'
import { isWatched, reach } from '../metadata/debug-points.js'
import { refuseOverlap } from '../metadata/overlap.js'
import type { Qcow2State } from '../state.js'
import { blockOffset, changeRefcounts } from './refcounts.js'

/** Drops the blocks in which every count is 0, but for their own. The caller holds the image's lock. */
export async function dropEmptyBlocks(state: Qcow2State): Promise<void> {
  const { refcountTable, layout, header } = state
  const dropped: { index: number; offset: HostOffset }[] = []
  for (let index = 0; index < refcountTable.length; index++) {
    const offset = blockOffset(state, index)
    if (offset !== undefined && (await isEmpty(state, index, offset))) dropped.push({ index, offset })
  }
  if (dropped.length === 0) return
  const table = new Table64(refcountTable.bytes.slice())
  for (const { index } of dropped) table.set(index, 0, 0)
  const place = header.refcountTableOffset
  refuseOverlap(state, place, table.length * ENTRY_BYTES, ['refcount-table'])
  await state.refcountCache.flush()
  if (isWatched(state)) await reach(state, 'reftable_update')
  await write(state.file, place, table.bytes)
  await barrier(state)
  state.refcountTable = table
  for (const { index, offset } of dropped) {
    const cluster = offset / layout.clusterSize
    state.refcountCache.forget(offset, layout.clusterSize)
    state.metadata.free(cluster)
    state.freeClusterIndex = Math.min(state.freeClusterIndex, cluster)
    // One that described itself went with its own count.
    if (!describes(state, index, offset)) await changeRefcounts(state, offset, layout.clusterSize, -1, 'always')
  }
}

/** Whether the block at `offset` is among what the block of table index `index` describes. */
function describes(state: Qcow2State, index: number, offset: HostOffset): boolean {
  const { clusterSize, refcountBlockEntries } = state.layout
  return Math.floor(offset / clusterSize / refcountBlockEntries) === index
}

async function isEmpty(state: Qcow2State, index: number, offset: HostOffset): Promise<boolean> {
  const { clusterSize, refcountBlockEntries, refcountOrder } = state.layout
  const entry = await state.refcountCache.get(offset)
  state.refcountCache.release(entry)
  const own = describes(state, index, offset) ? (offset / clusterSize) % refcountBlockEntries : -1
  for (let i = 0; i < refcountBlockEntries; i++) {
    const count = readRefcount(entry.table.view, i, refcountOrder)
    if (count > (i === own ? 1 : 0)) return false
  }
  return true
}
