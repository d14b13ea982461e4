// New refcount blocks, and a larger refcount table to name them. A new block describes itself where it lies in its own range;
// else its count is raised in another block first (rule O5: block, then its entry in the table; table, then the header).

import { write } from '../../io/write.js'
import { barrier } from './barrier.js'
import { takeOver } from './flush.js'
import { writeHeaderFields } from './header-update.js'
import { ENTRY_BYTES, type HostOffset, host, MAX_REFCOUNT_TABLE_BYTES } from './layout.js'
import type { CacheEntry } from './metadata-cache.js'
import { refuseOverlap } from './overlap.js'
import { writeRefcount } from './refcount-codec.js'
import { refcountStructures } from './refcount-size.js'
import { changeRefcounts, searchFreeClusters, tryChangeRefcounts } from './refcounts.js'
import { imageError, type Qcow2State } from './state.js'
import { Table64 } from './table.js'

/**
 * Makes the refcount block that describes `cluster`, or prepares for it. Afterwards the free clusters are others than
 * before: whoever was about to use some looks again, and calls again where the block is still missing.
 */
export async function addRefcountBlock(state: Qcow2State, cluster: number): Promise<void> {
  const { layout } = state
  const index = Math.floor(cluster / layout.refcountBlockEntries)
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
  await writeHeaderFields(state, 'refcountTable', {
    refcountTableOffset: offset,
    refcountTableClusters: clusters,
  })
  state.refcountTable = table
  await changeRefcounts(state, old.offset, old.bytes, -1, 'other')
}
