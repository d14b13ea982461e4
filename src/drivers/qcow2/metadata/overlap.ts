// The guard before every write: no write may reach a cluster that is known to hold metadata of another kind (threats.md I13,
// I14). Ranges that are few are compared; L2 tables and refcount blocks are found in a set of their clusters.

import type { BlockError } from '../../../common/error.js'
import { MAX_LENGTH } from '../../../common/limits.js'
import { SparseBits } from '../../../common/sparse-bits.js'
import { clusterEnd, clusterStart, ENTRY_BYTES, type HostOffset, host } from '../format/layout.js'
import type { Snapshot } from '../format/snapshot-table.js'
import type { Table64 } from '../format/table.js'
import type { Qcow2State } from '../state.js'
import { markCorrupt } from './corruption.js'
import { OVERLAP_FLAGS, type OverlapFlag } from './overlap-flags.js'

/** Words for a person. */
const NAMES: Readonly<Record<OverlapFlag, string>> = {
  'main-header': 'qcow2_header',
  'active-l1': 'active L1 table',
  'active-l2': 'active L2 table',
  'refcount-table': 'refcount table',
  'refcount-block': 'refcount block',
  'snapshot-table': 'snapshot table',
  'inactive-l1': 'inactive L1 table',
  'inactive-l2': 'inactive L2 table',
  'bitmap-directory': 'bitmap directory',
}

/** The tables that move about and may be many. */
type ScatteredFlag = 'active-l2' | 'refcount-block' | 'inactive-l1' | 'inactive-l2'

/** Which host clusters hold the scattered tables. */
export class MetadataMap {
  readonly #clusterSize: number
  readonly #clusters: Readonly<Record<ScatteredFlag, SparseBits>> = {
    'active-l2': new SparseBits(),
    'refcount-block': new SparseBits(),
    'inactive-l1': new SparseBits(),
    'inactive-l2': new SparseBits(),
  }

  constructor(clusterSize: number) {
    this.#clusterSize = clusterSize
  }

  /** `bytes` bytes at `offset` hold tables of this kind. */
  add(flag: ScatteredFlag, offset: HostOffset, bytes: number): void {
    this.#paint(flag, offset, bytes, true)
  }

  remove(flag: ScatteredFlag, offset: HostOffset, bytes: number): void {
    this.#paint(flag, offset, bytes, false)
  }

  /** Forgets all tables of one kind. */
  clear(flag: ScatteredFlag): void {
    this.#clusters[flag].clear()
  }

  /** The cluster is free. */
  free(cluster: number): void {
    for (const bits of Object.values(this.#clusters)) bits.paint(cluster, cluster + 1, false)
  }

  /** Whether a table of this kind stands in any cluster that the range touches. */
  touches(flag: ScatteredFlag, offset: HostOffset, bytes: number): boolean {
    const from = Math.floor(offset / this.#clusterSize)
    const to = Math.floor((offset + bytes - 1) / this.#clusterSize) + 1
    return this.#clusters[flag].next(from, to, true) >= 0
  }

  #paint(flag: ScatteredFlag, offset: HostOffset, bytes: number, value: boolean): void {
    const from = Math.floor(offset / this.#clusterSize)
    this.#clusters[flag].paint(from, Math.ceil((offset + bytes) / this.#clusterSize), value)
  }
}

/**
 * Throws EIO, and marks the image corrupt, where writing `bytes` bytes at `offset` of the image file would overwrite metadata
 * of a kind that is checked and not among `except`.
 */
export function refuseOverlap(
  state: Qcow2State,
  offset: HostOffset,
  bytes: number,
  except: readonly OverlapFlag[],
): void {
  const flag = overlapOf(state, offset, bytes, except)
  if (flag !== undefined) throw overlapError(state, offset, bytes, flag)
}

/**
 * What a write would overwrite; undefined where nothing. Counts whole clusters: one that a table does not fill is the table's
 * all the same.
 */
export function overlapOf(
  state: Qcow2State,
  offset: HostOffset,
  bytes: number,
  except: readonly OverlapFlag[],
): OverlapFlag | undefined {
  const { overlapChecks } = state.settings
  const start = clusterStart(state.layout, offset)
  const length = clusterEnd(state.layout, host(offset + bytes)) - start
  return OVERLAP_FLAGS.find(
    (flag) => overlapChecks.has(flag) && !except.includes(flag) && hits(state, flag, start, length),
  )
}

function overlapError(state: Qcow2State, offset: HostOffset, bytes: number, flag: OverlapFlag): BlockError {
  return markCorrupt(
    state,
    `Preventing invalid write on metadata (overlaps with ${NAMES[flag]}) at offset ${offset}, ${bytes} bytes`,
  )
}

/** Whether clusters hold a structure. */
function hits(state: Qcow2State, flag: OverlapFlag, offset: HostOffset, bytes: number): boolean {
  const { header, layout } = state
  const inside = (start: number, length: number) => length > 0 && offset < start + length && start < offset + bytes
  switch (flag) {
    case 'main-header':
      return offset < layout.clusterSize
    case 'active-l1':
      return inside(header.l1TableOffset, header.l1Size * ENTRY_BYTES)
    case 'refcount-table':
      return inside(header.refcountTableOffset, header.refcountTableClusters * layout.clusterSize)
    case 'snapshot-table':
      return inside(header.snapshotsOffset, state.snapshotTableBytes)
    case 'bitmap-directory': {
      const { bitmaps } = state.extensions
      return bitmaps !== undefined && inside(bitmaps.directoryOffset, bitmaps.directorySize)
    }
    default:
      return state.metadata.touches(flag, offset, bytes)
  }
}

/** Takes the tables of the active L1 table into the map: at open, and when another L1 table has become the active one. */
export function mapActiveTables(state: Qcow2State): void {
  const { metadata, l1, layout } = state
  metadata.clear('active-l2')
  for (let index = 0; index < l1.length; index++) {
    const offset = l1.offset(index)
    if (offset > 0) metadata.add('active-l2', offset as HostOffset, layout.clusterSize)
  }
}

/** The snapshots are these now: their L1 tables are taken into the map. */
export function setSnapshots(state: Qcow2State, snapshots: readonly Snapshot[], tableBytes: number): void {
  const { metadata } = state
  state.snapshots = snapshots
  state.snapshotTableBytes = tableBytes
  metadata.clear('inactive-l1')
  for (const { l1TableOffset, l1Size } of snapshots) {
    const bytes = l1Size * ENTRY_BYTES
    // No file reaches to where a damaged table may be said to be.
    if (bytes > 0 && l1TableOffset <= MAX_LENGTH - bytes) metadata.add('inactive-l1', l1TableOffset, bytes)
  }
}

/** Takes the tables that the L1 tables of snapshots name into the map. */
export function mapInactiveTables(state: Qcow2State, tables: readonly Table64[]): void {
  const { metadata, layout } = state
  metadata.clear('inactive-l2')
  for (const l1 of tables) {
    for (let index = 0; index < l1.length; index++) {
      const offset = l1.offset(index)
      if (offset > 0) metadata.add('inactive-l2', offset as HostOffset, layout.clusterSize)
    }
  }
}

/** Takes the blocks of the refcount table into the map. */
export function mapRefcountBlocks(state: Qcow2State): void {
  const { metadata, refcountTable, layout } = state
  metadata.clear('refcount-block')
  for (let index = 0; index < refcountTable.length; index++) {
    const offset = refcountTable.offset(index)
    if (offset > 0) metadata.add('refcount-block', offset as HostOffset, layout.clusterSize)
  }
}

/** Whether writing to a range might overwrite metadata; false is sure. Cheap, for the path of every overwrite. */
export function mayOverlap(state: Qcow2State, offset: HostOffset, bytes: number): boolean {
  const { overlapChecks } = state.settings
  if (overlapChecks.size === 0) return false
  return offset < state.layout.clusterSize || isNearMetadata(state, offset, bytes)
}

function isNearMetadata(state: Qcow2State, offset: HostOffset, bytes: number): boolean {
  const { header, layout, metadata } = state
  const first = clusterStart(layout, offset)
  const end = offset + bytes
  // Tables begin at cluster boundaries, so the end of the range may stay where it is.
  const meets = (start: number, length: number) => first < start + length && start < end
  if (meets(header.l1TableOffset, header.l1Size * ENTRY_BYTES)) return true
  if (meets(header.refcountTableOffset, header.refcountTableClusters * layout.clusterSize)) return true
  if (meets(header.snapshotsOffset, state.snapshotTableBytes)) return true
  const { bitmaps } = state.extensions
  if (bitmaps !== undefined && meets(bitmaps.directoryOffset, bitmaps.directorySize)) return true
  return (
    metadata.touches('active-l2', offset, bytes) ||
    metadata.touches('refcount-block', offset, bytes) ||
    metadata.touches('inactive-l1', offset, bytes) ||
    metadata.touches('inactive-l2', offset, bytes)
  )
}
