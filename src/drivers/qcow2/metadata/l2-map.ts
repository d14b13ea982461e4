// From guest ranges to what they are: runs of clusters of one kind, contiguous on the host where they have a place there.
// Answers come from tables in memory; what is not there is loaded first, and asked for again.

import {
  type ClusterKind,
  COMPRESSED,
  hasHostCluster,
  INVALID,
  standardKind,
  subclusterKind,
  UNALLOCATED,
  ZERO_ALLOCATED,
  ZERO_PLAIN,
} from '../format/l2-entry.js'
import { type GuestOffset, guest, type HostOffset, host, isClusterAligned } from '../format/layout.js'
import { COPIED_HIGH, entryOffset } from '../format/table.js'
import { hasDataFile, type Qcow2State } from '../state.js'
import type { TableWindow } from './table-window.js'

/** A run of guest bytes of one kind. Reused by its owner from look-up to look-up. */
export interface GuestRun {
  kind: ClusterKind
  /** Where its first byte stands, of kinds with a host cluster. */
  host: HostOffset
  bytes: number
  /** Every cluster of it may be written in place. */
  copied: boolean
  /** The halves of the entry, of a compressed or invalid cluster. */
  high: number
  low: number
}

/** A run to be filled. */
export function newRun(): GuestRun {
  return { kind: UNALLOCATED, host: host(0), bytes: 0, copied: false, high: 0, low: 0 }
}

/**
 * Fills `run` with what begins at `offset`, up to `most` bytes. False where its L2 table is not in memory
 * ({@link findRun} loads it). With `apart`, clusters that may be written in place and those that may not are different runs.
 * What the cache does not have is looked for in `beside`.
 */
export function lookupRun(
  state: Qcow2State,
  offset: GuestOffset,
  most: number,
  run: GuestRun,
  apart = false,
  beside?: TableWindow,
): boolean {
  run.bytes = 0
  for (;;) {
    const at = guest(offset + run.bytes)
    const before = run.bytes
    const found = extendRun(state, at, most, run, apart, beside)
    if (found === 'missing') return run.bytes > 0
    if (found === 'ended' || run.bytes >= most || run.bytes === before) break
  }
  if (run.bytes > most) run.bytes = most
  return true
}

/** Adds what one slice of an L2 table says; `open` where the run may go on in the next one. */
function extendRun(
  state: Qcow2State,
  offset: GuestOffset,
  most: number,
  run: GuestRun,
  apart: boolean,
  beside: TableWindow | undefined,
): 'open' | 'ended' | 'missing' {
  const { layout, l1, settings } = state
  const { l2Coverage, clusterSize, l2EntryBytes } = layout
  const l1Index = Math.floor(offset / l2Coverage)
  const inTable = offset - l1Index * l2Coverage
  const table = l1Index < l1.length ? l1.offset(l1Index) : 0
  if (table === 0) {
    if (run.bytes > 0 && run.kind !== UNALLOCATED) return 'ended'
    run.kind = UNALLOCATED
    run.copied = false
    run.bytes += l2Coverage - inTable
    return 'open'
  }
  const sliceEntries = settings.l2SliceBytes / l2EntryBytes
  const entryIndex = Math.floor(inTable / clusterSize)
  const inSlice = entryIndex % sliceEntries
  const sliceOffset = host(table + (entryIndex - inSlice) * l2EntryBytes)
  if (Number.isNaN(table) || !isClusterAligned(layout, table)) return invalidRun(run, l1.high(l1Index), l1.low(l1Index))
  const entry = state.l2Cache.peek(sliceOffset)
  const view = entry === undefined ? beside?.viewOf(sliceOffset, settings.l2SliceBytes) : entry.table.view
  if (view === undefined) return 'missing'
  return layout.extendedL2
    ? scanExtended(state, view, inSlice, sliceEntries, offset, most, run, apart)
    : scanStandard(state, view, inSlice, sliceEntries, offset, most, run, apart)
}

function invalidRun(run: GuestRun, high: number, low: number): 'ended' {
  if (run.bytes > 0) return 'ended'
  run.kind = INVALID
  run.high = high
  run.low = low
  run.bytes = 1
  return 'ended'
}

function scanStandard(
  state: Qcow2State,
  view: DataView,
  first: number,
  end: number,
  offset: GuestOffset,
  most: number,
  run: GuestRun,
  apart: boolean,
): 'open' | 'ended' {
  const { clusterSize } = state.layout
  const external = hasDataFile(state)
  const zeroes = state.header.version >= 3
  let inCluster = offset & (clusterSize - 1)
  for (let index = first; index < end && run.bytes < most; index++) {
    const high = view.getUint32(index * 8)
    const low = view.getUint32(index * 8 + 4)
    let kind = standardKind(high, low, external)
    // Version 2 knows no zero clusters.
    if (!zeroes && (kind === ZERO_PLAIN || kind === ZERO_ALLOCATED)) kind = INVALID
    const bytes = clusterSize - inCluster
    if (!joinRun(state, run, kind, high, low, inCluster, bytes, offset, apart)) return 'ended'
    inCluster = 0
    if (run.kind === COMPRESSED || run.kind === INVALID) return 'ended'
    const left = Math.ceil((most - run.bytes) / clusterSize)
    const alike = countAlike(view, index, end, hasHostCluster(kind) ? clusterSize : 0, left)
    run.bytes += alike * clusterSize
    index += alike
  }
  return 'open'
}

/**
 * How many entries behind `index` only go on with what it says, each `step` bytes further in the file. Long runs are counted
 * here, so the arithmetic of the loop is that of 32-bit integers, whatever the arguments came from.
 */
function countAlike(view: DataView, index: number, end: number, step: number, most: number): number {
  const from = index << 3
  const further = step | 0
  const high = view.getInt32(from)
  let low = view.getInt32(from + 4)
  // A carry into the upper half ends the count, not the run.
  const beforeCarry = step === 0 ? end : index + Math.ceil((2 ** 32 - (low >>> 0)) / step)
  const stop = Math.min(end, beforeCarry, index + 1 + most) << 3
  let at = from + 8
  for (; at < stop; at += 8) {
    low = (low + further) | 0
    if (view.getInt32(at + 4) !== low || view.getInt32(at) !== high) break
  }
  return ((at - from) >> 3) - 1
}

function scanExtended(
  state: Qcow2State,
  view: DataView,
  first: number,
  end: number,
  offset: GuestOffset,
  most: number,
  run: GuestRun,
  apart: boolean,
): 'open' | 'ended' {
  const { clusterSize, subclusterSize, subclustersPerCluster } = state.layout
  const external = hasDataFile(state)
  let inCluster = offset & (clusterSize - 1)
  for (let index = first; index < end && run.bytes < most; index++) {
    const high = view.getUint32(index * 16)
    const low = view.getUint32(index * 16 + 4)
    const zeroBits = view.getUint32(index * 16 + 8)
    const allocatedBits = view.getUint32(index * 16 + 12)
    for (let sub = Math.floor(inCluster / subclusterSize); sub < subclustersPerCluster; sub++) {
      const kind = subclusterKind(high, low, zeroBits, allocatedBits, sub, external)
      const whole = kind === COMPRESSED || kind === INVALID
      const bytes = (whole ? clusterSize : (sub + 1) * subclusterSize) - inCluster
      if (!joinRun(state, run, kind, high, low, inCluster, bytes, offset, apart)) return 'ended'
      if (whole) return 'ended'
      inCluster += bytes
      if (run.bytes >= most) return 'open'
    }
    inCluster = 0
  }
  return 'open'
}

/** Begins the run with this piece, or goes on with it; false where it is another run. */
function joinRun(
  state: Qcow2State,
  run: GuestRun,
  kind: ClusterKind,
  high: number,
  low: number,
  inCluster: number,
  bytes: number,
  runStart: GuestOffset,
  apart: boolean,
): boolean {
  const begins = run.bytes === 0
  const placed = kind !== UNALLOCATED && kind !== COMPRESSED && kind !== INVALID
  const place = placed ? entryOffset(high, low) : 0
  const copied = (high & COPIED_HIGH) !== 0
  if (begins) {
    run.kind = placed && !isSound(state, place, runStart - inCluster) ? INVALID : kind
    run.host = host(place + inCluster)
    run.copied = copied
    run.high = high
    run.low = low
    run.bytes = bytes
    return true
  }
  if (kind !== run.kind || kind === COMPRESSED || kind === INVALID) return false
  if (hasHostCluster(kind) && place + inCluster !== run.host + run.bytes) return false
  if (apart && copied !== run.copied) return false
  run.copied &&= copied
  run.bytes += bytes
  return true
}

/** A host cluster is aligned; in an external data file it stands where the guest sees it. */
function isSound(state: Qcow2State, place: number, guestStart: number): boolean {
  if (!isClusterAligned(state.layout, place)) return false
  return !hasDataFile(state) || place === 0 || place === guestStart
}

/** As {@link lookupRun}, loading what is not in memory. EIO and others as reading a table fails. */
export async function findRun(
  state: Qcow2State,
  offset: GuestOffset,
  most: number,
  run: GuestRun,
  apart = false,
): Promise<void> {
  while (!lookupRun(state, offset, most, run, apart)) {
    const slice = sliceAt(state, offset)
    if (slice === undefined) continue
    const entry = await state.l2Cache.get(slice.offset)
    // Held while it is looked up: others may be about to push it out again.
    const found = lookupRun(state, offset, most, run, apart)
    state.l2Cache.release(entry)
    if (found) return
  }
}

/** The slice of an L2 table that maps a guest offset. */
export interface SlicePlace {
  offset: HostOffset
  /** Of its entries, the one that maps the offset. */
  index: number
  entries: number
  /** Slices from this one to the end of its table. */
  left: number
}

/** Where the slice that maps `offset` stands; undefined where there is no L2 table. */
export function sliceAt(state: Qcow2State, offset: GuestOffset): SlicePlace | undefined {
  const { layout, l1, settings } = state
  const l1Index = Math.floor(offset / layout.l2Coverage)
  const table = l1Index < l1.length ? l1.offset(l1Index) : 0
  if (table === 0 || Number.isNaN(table)) return undefined
  const entries = settings.l2SliceBytes / layout.l2EntryBytes
  const index = Math.floor((offset - l1Index * layout.l2Coverage) / layout.clusterSize)
  const inSlice = index % entries
  const left = (layout.l2Entries - (index - inSlice)) / entries
  return { offset: host(table + (index - inSlice) * layout.l2EntryBytes), index: inSlice, entries, left }
}
