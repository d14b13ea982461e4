// Zero clusters made into what version 2 knows: clusters without a place where no backing file would show through, clusters full
// of zeroes elsewhere. Tables that snapshots share are changed for all of them, since all of them mean the same.

import { write } from '../../../io/write.js'
import { ZERO_ALLOCATED, ZERO_LOW, ZERO_PLAIN } from '../format/l2-entry.js'
import { type GuestOffset, guest, type HostOffset, host, isClusterAligned } from '../format/layout.js'
import { COPIED_HIGH, type Table64 } from '../format/table.js'
import type { CacheEntry } from '../metadata/cache-entries.js'
import { type ClusterEntry, entryAt, kindOf, placeOf, putEntry } from '../metadata/clusters.js'
import { markCorrupt } from '../metadata/corruption.js'
import { refuseOverlap } from '../metadata/overlap.js'
import { allocateClusters, freeEntry } from '../refcounts/allocator.js'
import { changeRefcounts, refcountOf } from '../refcounts/refcounts.js'
import { readSnapshotL1 } from '../snapshots/snapshot-tables.js'
import { backingOf, type Qcow2State } from '../state.js'

/** An L2 table, whoever names it. */
interface SharedTable {
  offset: HostOffset
  /** Where what it maps begins. */
  guestStart: GuestOffset
  /** How many L1 tables name it: each of its clusters counts so often. */
  references: number
}

/**
 * Leaves no zero clusters in any table of the image. The caller holds the image's lock, nothing is owed or in flight. `progress` is
 * told of tables. EIO for damaged tables, EFBIG and EINVAL for the L1 table of a snapshot that cannot be.
 */
export async function expandZeroClusters(
  state: Qcow2State,
  progress: (done: number, total: number) => void,
): Promise<void> {
  const l1Tables = [state.l1]
  for (const snapshot of state.snapshots) l1Tables.push(await readSnapshotL1(state, snapshot))
  const tables = await sharedTables(state, l1Tables)
  for (const [index, table] of tables.entries()) {
    progress(index, tables.length)
    await expandTable(state, table)
  }
}

async function sharedTables(state: Qcow2State, l1Tables: readonly Table64[]): Promise<SharedTable[]> {
  const { layout } = state
  const found = new Map<number, SharedTable>()
  for (const l1 of l1Tables) {
    for (let index = 0; index < l1.length; index++) {
      const offset = l1.offset(index)
      if (offset === 0 || found.has(offset)) continue
      if (Number.isNaN(offset) || !isClusterAligned(layout, offset)) {
        throw markCorrupt(
          state,
          `L2 table offset 0x${offset.toString(16)} unaligned (L1 index: 0x${index.toString(16)})`,
        )
      }
      const references = await refcountOf(state, offset / layout.clusterSize)
      found.set(offset, { offset: host(offset), guestStart: guest(index * layout.l2Coverage), references })
    }
  }
  return [...found.values()]
}

async function expandTable(state: Qcow2State, table: SharedTable): Promise<void> {
  const { layout, l2Cache } = state
  const entries = l2Cache.entryBytes / layout.l2EntryBytes
  for (let at = 0; at < layout.clusterSize; at += l2Cache.entryBytes) {
    const entry = await l2Cache.get(host(table.offset + at))
    try {
      for (let index = 0; index < entries; index++) await expandEntry(state, table, at, entry, index)
    } finally {
      l2Cache.release(entry)
    }
  }
}

async function expandEntry(
  state: Qcow2State,
  table: SharedTable,
  sliceStart: number,
  entry: CacheEntry,
  index: number,
): Promise<void> {
  const { layout, l2Cache, refcountCache } = state
  const before = entryAt(layout, { entry }, index)
  const kind = kindOf(state, before, 0)
  if (kind !== ZERO_PLAIN && kind !== ZERO_ALLOCATED) return
  const start = guest(table.guestStart + (sliceStart / layout.l2EntryBytes + index) * layout.clusterSize)
  const kept = kind === ZERO_ALLOCATED && (await isItsOwn(state, table, before)) ? placeOf(state, before) : undefined
  const hidden = state.backingName !== undefined || backingOf(state) !== undefined
  let place = kept === undefined ? undefined : host(kept)
  if (place === undefined && hidden) place = await newPlace(state, table)
  if (place !== undefined) await writeZeroCluster(state, place, start)
  await l2Cache.dependOn(refcountCache)
  l2Cache.dependOnFlush()
  putEntry(layout, { entry }, index, namingEntry(place, table.references))
  l2Cache.markDirty(entry)
  if (kind === ZERO_PLAIN || kept !== undefined) return
  for (let count = 0; count < table.references; count++) await freeEntry(state, before.high, before.low, 'other')
}

/** Whether nobody but this table names the cluster of an entry: elsewhere it may be data. */
async function isItsOwn(state: Qcow2State, table: SharedTable, entry: ClusterEntry): Promise<boolean> {
  const place = placeOf(state, entry)
  if (!isClusterAligned(state.layout, place)) throw markCorrupt(state, `cluster 0x${place.toString(16)} is unaligned`)
  return (await refcountOf(state, place / state.layout.clusterSize)) === table.references
}

async function newPlace(state: Qcow2State, { references }: SharedTable): Promise<HostOffset> {
  const { clusterSize } = state.layout
  const place = await allocateClusters(state, clusterSize)
  if (references > 1) await changeRefcounts(state, place, clusterSize, references - 1, 'never')
  return place
}

async function writeZeroCluster(state: Qcow2State, place: HostOffset, start: GuestOffset): Promise<void> {
  const { clusterSize } = state.layout
  const zeroes = new Uint8Array(clusterSize)
  state.cipher?.encrypt(place, start, zeroes)
  refuseOverlap(state, place, clusterSize, [])
  await write(state.file, place, zeroes)
}

function namingEntry(place: HostOffset | undefined, references: number): ClusterEntry {
  if (place === undefined) return { high: 0, low: 0, zeroBits: 0, allocatedBits: 0 }
  const high = (Math.floor(place / 0x1_0000_0000) | (references === 1 ? COPIED_HIGH : 0)) >>> 0
  return { high, low: ((place >>> 0) & ~ZERO_LOW) >>> 0, zeroBits: 0, allocatedBits: 0 }
}
