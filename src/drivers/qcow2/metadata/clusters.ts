// What a write finds in one slice of an L2 table: clusters it may write in place, clusters whose place may stay while their
// entry changes, and clusters that need a new place.

import { type ClusterKind, COMPRESSED_HIGH, NORMAL, standardKind, subclusterKind } from '../format/l2-entry.js'
import type { Layout } from '../format/layout.js'
import { COPIED_HIGH, entryOffset } from '../format/table.js'
import { hasDataFile, type Qcow2State } from '../state.js'
import type { HeldSlice } from './l2-tables.js'

/** One L2 entry, decoded as far as a write needs it. */
export interface ClusterEntry {
  high: number
  low: number
  /** Of an image with subclusters; else 0. */
  zeroBits: number
  allocatedBits: number
}

/** The entry `index` of a slice. */
export function entryAt(layout: Layout, slice: Pick<HeldSlice, 'entry'>, index: number): ClusterEntry {
  const { view } = slice.entry.table
  const at = index * layout.l2EntryBytes
  const extended = layout.extendedL2
  return {
    high: view.getUint32(at),
    low: view.getUint32(at + 4),
    zeroBits: extended ? view.getUint32(at + 8) : 0,
    allocatedBits: extended ? view.getUint32(at + 12) : 0,
  }
}

/** Writes an entry back. Whoever does marks the table as changed. */
export function putEntry(layout: Layout, slice: Pick<HeldSlice, 'entry'>, index: number, entry: ClusterEntry): void {
  const { view } = slice.entry.table
  const at = index * layout.l2EntryBytes
  view.setUint32(at, entry.high)
  view.setUint32(at + 4, entry.low)
  if (!layout.extendedL2) return
  view.setUint32(at + 8, entry.zeroBits)
  view.setUint32(at + 12, entry.allocatedBits)
}

/** Whether two entries are the same. */
export function sameEntry(a: ClusterEntry, b: ClusterEntry): boolean {
  return a.high === b.high && a.low === b.low && a.zeroBits === b.zeroBits && a.allocatedBits === b.allocatedBits
}

/** What subcluster `index` (0 without subclusters) of an entry is. */
export function kindOf(state: Qcow2State, entry: ClusterEntry, index: number): ClusterKind {
  const { high, low, zeroBits, allocatedBits } = entry
  const external = hasDataFile(state)
  return state.layout.extendedL2
    ? subclusterKind(high, low, zeroBits, allocatedBits, index, external)
    : standardKind(high, low, external)
}

/** The host cluster of an entry; NaN for one that has none, or is compressed. */
export function placeOf(state: Qcow2State, entry: ClusterEntry): number {
  if ((entry.high & COMPRESSED_HIGH) !== 0) return Number.NaN
  const offset = entryOffset(entry.high, entry.low)
  if (offset === 0 && !(hasDataFile(state) && (entry.high & COPIED_HIGH) !== 0)) return Number.NaN
  return offset
}

/** Whether data may be written to the cluster's host cluster: it has one, and shares it with nobody. */
export function ownsPlace(state: Qcow2State, entry: ClusterEntry): boolean {
  return (entry.high & COPIED_HIGH) !== 0 && !Number.isNaN(placeOf(state, entry))
}

/** Whether the subclusters from `first` to `last` hold data of their own. */
export function isNormal(state: Qcow2State, entry: ClusterEntry, first: number, last: number): boolean {
  for (let index = first; index <= last; index++) if (kindOf(state, entry, index) !== NORMAL) return false
  return true
}

/** Whether an entry holds a reference on host clusters. */
export function namesHost(state: Qcow2State, entry: ClusterEntry): boolean {
  return (entry.high & COMPRESSED_HIGH) !== 0 || !Number.isNaN(placeOf(state, entry))
}
