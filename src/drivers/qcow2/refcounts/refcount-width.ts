// Another width of refcounts: all blocks are written anew in clusters of their own, with a table that names them; one write of
// the header lets the image use these and says their width, then the old ones are free (rule O5).

import { write } from '../../../io/write.js'
import {
  createLayout,
  ENTRY_BYTES,
  type HostOffset,
  host,
  type Layout,
  MAX_REFCOUNT_TABLE_BYTES,
} from '../format/layout.js'
import { readRefcount, writeRefcount } from '../format/refcount-codec.js'
import { Table64 } from '../format/table.js'
import { barrier } from '../metadata/barrier.js'
import { isWatched, reach } from '../metadata/debug-points.js'
import { settleMetadata } from '../metadata/flush.js'
import { writeHeader } from '../metadata/header-update.js'
import { mapRefcountBlocks, refuseOverlap } from '../metadata/overlap.js'
import { imageError, type Qcow2State } from '../state.js'
import { allocateClusters, freeClusters } from './allocator.js'
import { blockOffset, changeRefcounts, refcountOf } from './refcounts.js'

/** The new structures: places by index of the new table, and the table's own. */
interface NewStructures {
  readonly blocks: Map<number, HostOffset>
  table: HostOffset
  tableClusters: number
}

/**
 * Makes every refcount 2^`order` bits wide. EINVAL where one does not fit, EFBIG where the table would be too large; nothing is
 * changed then. The caller holds the image's lock, and nothing is in flight. `progress` is told of blocks.
 */
export async function changeRefcountWidth(
  state: Qcow2State,
  order: number,
  progress: (done: number, total: number) => void,
): Promise<void> {
  const { clusterBits, extendedL2 } = state.layout
  const layout = createLayout(clusterBits, order, extendedL2)
  await settleMetadata(state)
  await refuseTooLarge(state, layout)
  const made: NewStructures = { blocks: new Map(), table: host(0), tableClusters: 0 }
  let table: Table64
  try {
    await allocateStructures(state, layout, made)
    table = await writeStructures(state, layout, made, progress)
    await settleMetadata(state)
    await barrier(state)
  } catch (error) {
    await freeStructures(state, made)
    throw error
  }
  await useStructures(state, layout, made, table)
}

/** Every count has to fit the new width. */
async function refuseTooLarge(state: Qcow2State, layout: Layout): Promise<void> {
  if (layout.refcountBits >= state.layout.refcountBits) return
  await eachCount(state, (cluster, count) => {
    if (count <= layout.maxRefcount) return
    const offset = cluster * layout.clusterSize
    throw imageError(
      state,
      'EINVAL',
      `Cannot decrease refcount entry width to ${layout.refcountBits} bits: ` +
        `Cluster at offset 0x${offset.toString(16)} has a refcount of ${count}`,
    )
  })
}

/** Calls `see` for every cluster that is in use. */
async function eachCount(state: Qcow2State, see: (cluster: number, count: number) => void): Promise<void> {
  const { refcountBlockEntries, refcountOrder } = state.layout
  for (let index = 0; index < state.refcountTable.length; index++) {
    const offset = blockOffset(state, index)
    if (offset === undefined) continue
    const entry = await state.refcountCache.get(offset)
    state.refcountCache.release(entry)
    for (let i = 0; i < refcountBlockEntries; i++) {
      const count = readRefcount(entry.table.view, i, refcountOrder)
      if (count > 0) see(index * refcountBlockEntries + i, count)
    }
  }
}

/** Takes clusters until all that are in use, the new ones too, are described. */
async function allocateStructures(state: Qcow2State, layout: Layout, made: NewStructures): Promise<void> {
  const { clusterSize, refcountBlockEntries } = layout
  for (;;) {
    const missing = new Set<number>()
    let last = 0
    await eachCount(state, (cluster) => {
      last = Math.floor(cluster / refcountBlockEntries)
      if (!made.blocks.has(last)) missing.add(last)
    })
    for (const index of missing) made.blocks.set(index, await allocateClusters(state, clusterSize))
    const tableClusters = Math.ceil(((last + 1) * ENTRY_BYTES) / clusterSize)
    if (tableClusters * clusterSize > MAX_REFCOUNT_TABLE_BYTES) {
      throw imageError(state, 'EFBIG', 'the refcount table would exceed its largest size')
    }
    if (tableClusters > made.tableClusters) {
      if (made.tableClusters > 0) await freeClusters(state, made.table, made.tableClusters * clusterSize, 'never')
      made.tableClusters = 0
      made.table = await allocateClusters(state, tableClusters * clusterSize)
      made.tableClusters = tableClusters
    } else if (missing.size === 0) return
  }
}

async function freeStructures(state: Qcow2State, made: NewStructures): Promise<void> {
  const { clusterSize } = state.layout
  for (const offset of made.blocks.values()) await freeClusters(state, offset, clusterSize, 'never')
  if (made.tableClusters > 0) await freeClusters(state, made.table, made.tableClusters * clusterSize, 'never')
}

async function writeStructures(
  state: Qcow2State,
  layout: Layout,
  made: NewStructures,
  progress: (done: number, total: number) => void,
): Promise<Table64> {
  const { clusterSize, refcountBlockEntries, refcountOrder } = layout
  const table = Table64.ofEntries((made.tableClusters * clusterSize) / ENTRY_BYTES)
  let done = 0
  for (const [index, offset] of made.blocks) {
    progress(done++, made.blocks.size)
    const block = new Uint8Array(clusterSize)
    const view = new DataView(block.buffer)
    const first = index * refcountBlockEntries
    for (let i = 0; i < refcountBlockEntries; i++) {
      const counted = refcountOf(state, first + i)
      const count = typeof counted === 'number' ? counted : await counted
      if (count > 0) writeRefcount(view, i, refcountOrder, count)
    }
    refuseOverlap(state, offset, clusterSize, [])
    if (isWatched(state)) await reach(state, 'refblock_update')
    await write(state.file, offset, block)
    table.setOffset(index, offset)
  }
  refuseOverlap(state, made.table, table.bytes.byteLength, [])
  await write(state.file, made.table, table.bytes)
  return table
}

/** The header names the new structures; the old ones are free. Where the write fails, nobody knows which the disk names. */
async function useStructures(state: Qcow2State, layout: Layout, made: NewStructures, table: Table64): Promise<void> {
  const { clusterSize } = layout
  const { refcountTableOffset, refcountTableClusters } = state.header
  const old: HostOffset[] = []
  for (let index = 0; index < state.refcountTable.length; index++) {
    const offset = blockOffset(state, index)
    if (offset !== undefined) old.push(offset)
  }
  await writeHeader(state, {
    refcountOrder: layout.refcountOrder,
    refcountTableOffset: made.table,
    refcountTableClusters: made.tableClusters,
  })
  state.layout = layout
  state.refcountTable = table
  state.refcountCache.invalidate()
  mapRefcountBlocks(state)
  for (const offset of old) await changeRefcounts(state, offset, clusterSize, -1, 'other')
  await changeRefcounts(state, refcountTableOffset, refcountTableClusters * clusterSize, -1, 'other')
}
