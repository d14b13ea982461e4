// Refcount structures at the end of what is in use: new blocks in a row, behind them a new table, behind that clusters that
// count as used from the start. Written in the order of rule O5: blocks, table, header; then the old table is freed.

import { write } from '../../../io/write.js'
import { ENTRY_BYTES, type HostOffset, host, MAX_REFCOUNT_TABLE_BYTES } from '../format/layout.js'
import { writeRefcount } from '../format/refcount-codec.js'
import { Table64 } from '../format/table.js'
import { barrier } from '../metadata/barrier.js'
import { isWatched, reach } from '../metadata/debug-points.js'
import { writeHeaderFields } from '../metadata/header-update.js'
import { refuseOverlap } from '../metadata/overlap.js'
import { imageError, type Qcow2State } from '../state.js'
import { blockOffset, changeRefcounts } from './refcounts.js'

/** What stands in the area. Clusters are counted from the start of the file. */
export interface RefcountArea {
  /** Its first cluster. Nothing from here on is in use. */
  readonly start: number
  /** Table indices of the blocks to be made, ascending. */
  readonly blocks: readonly number[]
  readonly tableClusters: number
  /** Clusters behind the table that are used from the start. */
  readonly dataClusters: number
  /** A block that stands elsewhere and is yet to be named. */
  readonly named?: { readonly index: number; readonly offset: HostOffset }
}

/**
 * Makes the area, and lets the header name its table. EFBIG beyond the largest table; where the host fails before the header
 * is written, the area is free again. The caller holds the image's lock, and no table on stable storage names the clusters.
 */
export async function writeRefcountArea(state: Qcow2State, area: RefcountArea): Promise<void> {
  const { clusterSize } = state.layout
  const { start, blocks, tableClusters, dataClusters } = area
  if (tableClusters * clusterSize > MAX_REFCOUNT_TABLE_BYTES) {
    throw imageError(state, 'EFBIG', 'the refcount table has reached its largest size')
  }
  const end = start + blocks.length + tableClusters + dataClusters
  refuseOverlap(state, host(start * clusterSize), (end - start) * clusterSize, [])
  const table = newTable(state, area)
  const tableOffset = host((start + blocks.length) * clusterSize)
  const made = host(start * clusterSize)
  try {
    await countArea(state, area, end, 1)
    if (isWatched(state)) await reach(state, 'refblock_alloc_write_blocks')
    await state.refcountCache.flush()
    if (isWatched(state)) await reach(state, 'refblock_alloc_write_table')
    await write(state.file, tableOffset, table.bytes)
    await barrier(state)
    if (isWatched(state)) await reach(state, 'refblock_alloc_switch_table')
  } catch (error) {
    state.refcountCache.forget(made, blocks.length * clusterSize)
    await countArea(state, { ...area, blocks: [] }, end, 0).catch(() => {
      // Clusters that stay counted are leaks; the first failure is the one to report.
    })
    throw error
  }
  await takeTable(state, table, tableOffset, tableClusters)
  state.metadata.add('refcount-block', made, blocks.length * clusterSize)
}

/** The header names the new table; the old one is free. */
async function takeTable(state: Qcow2State, table: Table64, offset: HostOffset, clusters: number): Promise<void> {
  const { header, layout } = state
  const old = { offset: header.refcountTableOffset, bytes: header.refcountTableClusters * layout.clusterSize }
  await writeHeaderFields(state, 'refcountTable', { refcountTableOffset: offset, refcountTableClusters: clusters })
  state.refcountTable = table
  await changeRefcounts(state, old.offset, old.bytes, -1, 'other')
}

function newTable(state: Qcow2State, { start, blocks, tableClusters, named }: RefcountArea): Table64 {
  const { clusterSize } = state.layout
  const table = Table64.ofEntries((tableClusters * clusterSize) / ENTRY_BYTES)
  table.bytes.set(state.refcountTable.bytes.subarray(0, table.bytes.byteLength))
  if (named !== undefined) table.setOffset(named.index, named.offset)
  for (const [i, index] of blocks.entries()) table.setOffset(index, host((start + i) * clusterSize))
  return table
}

/** Sets the counts of all clusters of the area, in the new blocks and in those that are there. */
async function countArea(state: Qcow2State, area: RefcountArea, end: number, count: number): Promise<void> {
  const { clusterSize, refcountBlockEntries } = state.layout
  const made = new Map(area.blocks.map((index, i) => [index, host((area.start + i) * clusterSize)]))
  for (let at = area.start; at < end; ) {
    const index = Math.floor(at / refcountBlockEntries)
    const until = Math.min(end, (index + 1) * refcountBlockEntries)
    const fresh = made.get(index)
    made.delete(index)
    const offset = fresh ?? blockOffset(state, index)
    if (offset !== undefined) await countRange(state, offset, fresh !== undefined, { from: at, until, count })
    at = until
  }
  // Blocks for what is free behind the area.
  for (const offset of made.values()) state.refcountCache.release(await state.refcountCache.getEmpty(offset))
}

async function countRange(
  state: Qcow2State,
  offset: HostOffset,
  isNew: boolean,
  { from, until, count }: { from: number; until: number; count: number },
): Promise<void> {
  const { refcountCache, layout } = state
  const { refcountBlockEntries, refcountOrder } = layout
  const entry = isNew ? await refcountCache.getEmpty(offset) : await refcountCache.get(offset)
  for (let at = from; at < until; at++) {
    writeRefcount(entry.table.view, at % refcountBlockEntries, refcountOrder, count)
  }
  refcountCache.markDirty(entry)
  refcountCache.release(entry)
}
