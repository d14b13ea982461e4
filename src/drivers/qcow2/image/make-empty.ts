// Dropping everything an image holds of its own, so that all of it shows the backing file. Where nothing but the active L1
// table names clusters, the tables are made anew, in the places of a new image, and the file is cut behind them; otherwise
// clusters are freed one by one. Stopped anywhere, the image is a sound one that holds some of its clusters, or leaks them.

import { truncate } from '../../../io/truncate.js'
import { write } from '../../../io/write.js'
import { discardClusters } from '../data/zero.js'
import { CRYPT_LUKS } from '../format/header.js'
import { clustersFor, ENTRY_BYTES, guest, type HostOffset, host } from '../format/layout.js'
import { writeRefcount } from '../format/refcount-codec.js'
import { Table64 } from '../format/table.js'
import { barrier } from '../metadata/barrier.js'
import { isWatched, reach } from '../metadata/debug-points.js'
import { settleMetadata } from '../metadata/flush.js'
import { writeHeaderFields } from '../metadata/header-update.js'
import { mapActiveTables, mapRefcountBlocks, refuseOverlap } from '../metadata/overlap.js'
import { forgetTables } from '../metadata/reload-tables.js'
import { beginWriting } from '../metadata/writing.js'
import { hasDataFile, type Qcow2State } from '../state.js'

/** Clusters before the L1 table of a new image: header, refcount table, refcount block. */
const CLUSTERS_BEFORE_L1 = 3

/** Empties the image. Takes its lock. Fails as reading and writing its tables does. */
export async function makeEmpty(state: Qcow2State): Promise<void> {
  for (;;) {
    const { rebuilt, conflict } = await state.lock.runExclusive(() => tryRebuild(state))
    if (rebuilt) break
    if (conflict === undefined) return discardAll(state)
    await conflict
  }
  await truncate(state.file, (CLUSTERS_BEFORE_L1 + l1Clusters(state)) * state.layout.clusterSize)
}

async function discardAll(state: Qcow2State): Promise<void> {
  const { layout, l1, header } = state
  const end = Math.ceil(header.size / layout.clusterSize) * layout.clusterSize
  for (let index = 0; index < l1.length; index++) {
    const start = index * layout.l2Coverage
    const stop = Math.min(start + layout.l2Coverage, end)
    if (l1.offset(index) === 0 || start >= stop) continue
    await discardClusters(state, guest(start), guest(stop), 'unallocate', 'snapshot')
  }
}

/** Makes the tables anew where that can be. Allocations on their way end first. */
async function tryRebuild(state: Qcow2State): Promise<{ rebuilt: boolean; conflict?: Promise<void> }> {
  const pending = state.allocations.conflict(guest(0), guest(Number.MAX_SAFE_INTEGER))
  if (pending !== undefined) return { rebuilt: false, conflict: pending.ended }
  const aside = placeAside(state)
  if (!canRebuild(state) || aside === undefined) return { rebuilt: false }
  await beginWriting(state)
  await settleMetadata(state)
  await barrier(state)
  if (isWatched(state)) await reach(state, 'empty_image_prepare')
  await clearL1(state)
  // The tables in use may stand where new ones go, in another order: they step aside first.
  await moveTables(state, aside)
  await moveTables(state, 1)
  return { rebuilt: true }
}

/** Whether the active L1 table is the only one to name clusters, and one refcount block has room for what is left. */
function canRebuild(state: Qcow2State): boolean {
  const { header, extensions, layout } = state
  return (
    header.version >= 3 &&
    header.nbSnapshots === 0 &&
    extensions.bitmaps === undefined &&
    header.cryptMethod !== CRYPT_LUKS &&
    !hasDataFile(state) &&
    CLUSTERS_BEFORE_L1 + l1Clusters(state) <= layout.refcountBlockEntries
  )
}

function l1Clusters(state: Qcow2State): number {
  return clustersFor(state.layout, state.header.l1Size * ENTRY_BYTES)
}

/** No guest cluster is named any more: what the L1 table named is leaked until counts are made anew. */
async function clearL1(state: Qcow2State): Promise<void> {
  const { header, l1 } = state
  const place = header.l1TableOffset
  if (l1.length === 0) return
  refuseOverlap(state, place, l1.bytes.byteLength, ['active-l1'])
  try {
    await write(state.file, place, new Uint8Array(l1.bytes.byteLength))
    await barrier(state)
  } catch (error) {
    await restoreL1(state)
    throw error
  }
  l1.bytes.fill(0)
  forgetTables(state)
  mapActiveTables(state)
}

/** After a failure nobody knows what stands on disk, and the old table is the one in use. */
async function restoreL1(state: Qcow2State): Promise<void> {
  try {
    await write(state.file, state.header.l1TableOffset, state.l1.bytes.slice())
  } catch {
    // The failure that led here is the one to report.
  }
}

/** The first cluster of a row that holds all tables, clear of those in use and of their last place; undefined where none is. */
function placeAside(state: Qcow2State): number | undefined {
  const { clusterSize, refcountBlockEntries } = state.layout
  const count = CLUSTERS_BEFORE_L1 - 1 + l1Clusters(state)
  for (let first = 1 + count; first + count <= refcountBlockEntries; first++) {
    if (!standsInWay(state, host(first * clusterSize), count * clusterSize)) return first
  }
  return undefined
}

function standsInWay(state: Qcow2State, offset: HostOffset, bytes: number): boolean {
  const { header, layout, metadata } = state
  const meets = (start: number, length: number) => offset < start + length && start < offset + bytes
  return (
    meets(header.l1TableOffset, header.l1Size * ENTRY_BYTES) ||
    meets(header.refcountTableOffset, header.refcountTableClusters * layout.clusterSize) ||
    metadata.touches('refcount-block', offset, bytes)
  )
}

/** Writes new tables to the clusters from `first` on (refcount table, refcount block, L1 table), then lets the header name them. */
async function moveTables(state: Qcow2State, first: number): Promise<void> {
  const { layout, header, file } = state
  const { clusterSize, refcountOrder } = layout
  const count = CLUSTERS_BEFORE_L1 - 1 + l1Clusters(state)
  refuseOverlap(state, host(first * clusterSize), count * clusterSize, [])
  const tablePlace = host(first * clusterSize)
  const blockPlace = host(tablePlace + clusterSize)
  const l1Place = host(blockPlace + clusterSize)
  const table = new Table64(new Uint8Array(clusterSize))
  table.setOffset(0, blockPlace)
  const block = new Uint8Array(clusterSize)
  const view = new DataView(block.buffer)
  writeRefcount(view, 0, refcountOrder, 1)
  for (let cluster = first; cluster < first + count; cluster++) writeRefcount(view, cluster, refcountOrder, 1)
  await write(file, tablePlace, table.bytes.slice())
  if (isWatched(state)) await reach(state, 'refblock_update')
  await write(file, blockPlace, block)
  if (count > CLUSTERS_BEFORE_L1 - 1) await write(file, l1Place, new Uint8Array(l1Clusters(state) * clusterSize))
  await barrier(state)
  await writeHeaderFields(state, 'tables', {
    l1TableOffset: header.l1Size === 0 ? header.l1TableOffset : l1Place,
    refcountTableOffset: tablePlace,
    refcountTableClusters: 1,
  })
  state.refcountTable = table
  mapRefcountBlocks(state)
  forgetTables(state)
  mapActiveTables(state)
}
