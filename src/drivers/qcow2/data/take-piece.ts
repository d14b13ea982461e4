// Taking host clusters for the next piece of a write. Allocations on their way to the same guest clusters are waited for;
// those beside it are not.

import { COMPRESSED, INVALID, NORMAL } from '../format/l2-entry.js'
import {
  clusterEnd,
  clusterStart,
  type GuestOffset,
  guest,
  type HostOffset,
  host,
  isClusterAligned,
} from '../format/layout.js'
import { COPIED_HIGH } from '../format/table.js'
import { type ClusterEntry, entryAt, isNormal, kindOf, ownsPlace, placeOf } from '../metadata/clusters.js'
import { markCorrupt } from '../metadata/corruption.js'
import { endOfWritten } from '../metadata/file-end.js'
import { sliceAt } from '../metadata/l2-map.js'
import { type HeldSlice, writableSlice } from '../metadata/l2-tables.js'
import { beginAllocating, beginWriting, postponesRefcounts } from '../metadata/writing.js'
import type { Allocation } from '../refcounts/allocations.js'
import { allocateClusters, allocateClustersAt, allocateNow } from '../refcounts/allocator.js'
import { hasDataFile, type Qcow2State } from '../state.js'

/** Host clusters for a part of a write, and what its L2 entries will say. */
export interface TakenPiece {
  /** Where its first byte goes. */
  host: HostOffset
  bytes: number
  allocation: Allocation
  /** Nothing was ever written there: what is not written now reads as zeroes. */
  fresh: boolean
  /** Lets those go on that wait for the guest clusters. */
  end: () => void
}

/**
 * Takes new clusters for all of `bytes` bytes at `offset` where nothing has to be waited for; undefined, with nothing changed,
 * where so, or where one allocation does not serve them.
 */
export function takeNow(state: Qcow2State, offset: GuestOffset, bytes: number): TakenPiece | undefined {
  const { layout, l1, settings } = state
  if (!state.writable || state.corrupt || state.lock.isLocked()) return undefined
  if (settings.lazyRefcounts && !postponesRefcounts(state)) return undefined
  const start = clusterStart(layout, offset)
  const end = clusterEnd(layout, guest(offset + bytes))
  const l1Index = Math.floor(offset / layout.l2Coverage)
  if (l1Index >= l1.length || (l1.high(l1Index) & COPIED_HIGH) === 0) return undefined
  if (state.allocations.conflict(start, end) !== undefined) return undefined
  const place = sliceAt(state, offset)
  const entry = place === undefined ? undefined : state.l2Cache.peek(place.offset)
  if (place === undefined || entry === undefined) return undefined
  const slice = { entry, index: place.index, entries: place.entries }
  const count = (end - start) / layout.clusterSize
  if (countNew(state, slice, count) < count) return undefined
  const [first, last] = [entryAt(layout, slice, slice.index), entryAt(layout, slice, slice.index + count - 1)]
  refuseInvalid(state, first, offset)
  const taken = hasDataFile(state) ? host(start) : allocateNow(state, count)
  if (taken === undefined) return undefined
  const dataEnd = guest(offset + bytes)
  return enter(state, offset, dataEnd, taken, count, false, {
    start: validStart(state, first, offset),
    end: validEnd(state, last, dataEnd),
  })
}

/** How many of `most` clusters of a slice, from its index on, need a place of their own. */
function countNew(state: Qcow2State, slice: HeldSlice, most: number): number {
  let count = 0
  while (count < most && slice.index + count < slice.entries) {
    if (ownsPlace(state, entryAt(state.layout, slice, slice.index + count))) break
    count++
  }
  return count
}

/**
 * Takes clusters for as many of the `most` bytes at `offset` as one allocation can serve, behind `preferred` where that is free.
 * Undefined where the first cluster may be written in place (now): look again.
 */
export async function takePiece(
  state: Qcow2State,
  offset: GuestOffset,
  most: number,
  preferred: HostOffset | undefined,
): Promise<TakenPiece | undefined> {
  for (;;) {
    const taken = await state.lock.runExclusive(() => tryTake(state, offset, most, preferred))
    if (taken === undefined || !('ended' in taken)) return taken
    await taken.ended
  }
}

async function tryTake(
  state: Qcow2State,
  offset: GuestOffset,
  most: number,
  preferred: HostOffset | undefined,
): Promise<TakenPiece | { ended: Promise<void> } | undefined> {
  await beginWriting(state)
  const { layout } = state
  const conflict = state.allocations.conflict(clusterStart(layout, offset), clusterEnd(layout, guest(offset + most)))
  if (conflict !== undefined && conflict.start <= offset) return { ended: conflict.ended }
  const reach = conflict === undefined ? most : conflict.start - offset
  await beginAllocating(state)
  const slice = await writableSlice(state, offset)
  try {
    const entry = entryAt(layout, slice, slice.index)
    return ownsPlace(state, entry)
      ? keepClusters(state, slice, offset, reach)
      : await newClusters(state, slice, offset, reach, preferred)
  } finally {
    state.l2Cache.release(slice.entry)
  }
}

/** Clusters that have their places, one behind the other; undefined where all that is written there is data already. */
function keepClusters(state: Qcow2State, slice: HeldSlice, offset: GuestOffset, most: number): TakenPiece | undefined {
  const { layout } = state
  const start = clusterStart(layout, offset)
  const first = entryAt(layout, slice, slice.index)
  const place = soundPlace(state, first, start)
  const inFirst = subclusterAt(state, offset)
  const end = guest(offset + most)
  let last = first
  let count = 0
  let inPlace = true
  for (; slice.index + count < slice.entries && start + count * layout.clusterSize < end; count++) {
    const entry = entryAt(layout, slice, slice.index + count)
    if (!ownsPlace(state, entry) || placeOf(state, entry) !== place + count * layout.clusterSize) break
    const from = count === 0 ? inFirst : 0
    const clusterLast = Math.min(end, start + (count + 1) * layout.clusterSize) - 1
    const normal = isNormal(state, entry, from, subclusterAt(state, guest(clusterLast)))
    // A run that can be written in place is not held up by what follows it.
    if (count > 0 && inPlace && !normal) break
    inPlace &&= normal
    last = entry
  }
  if (inPlace) return undefined
  const dataEnd = guest(Math.min(end, start + count * layout.clusterSize))
  refuseInvalid(state, first, offset)
  return enter(state, offset, dataEnd, host(place), count, true, {
    start: kindOf(state, first, inFirst) === NORMAL ? offset : subclusterStart(state, offset),
    end: endsInData(state, last, dataEnd) ? dataEnd : subclusterEnd(state, dataEnd),
  })
}

/** Clusters that need a place of their own. */
async function newClusters(
  state: Qcow2State,
  slice: HeldSlice,
  offset: GuestOffset,
  most: number,
  preferred: HostOffset | undefined,
): Promise<TakenPiece> {
  const { layout } = state
  const start = clusterStart(layout, offset)
  const end = guest(offset + most)
  const count = countNew(state, slice, Math.ceil((end - start) / layout.clusterSize))
  const first = entryAt(layout, slice, slice.index)
  refuseInvalid(state, first, offset)
  const taken = await findPlace(state, offset, count, preferred)
  const dataEnd = guest(Math.min(end, start + taken.count * layout.clusterSize))
  const last = entryAt(layout, slice, slice.index + taken.count - 1)
  return enter(state, offset, dataEnd, taken.place, taken.count, false, {
    start: validStart(state, first, offset),
    end: validEnd(state, last, dataEnd),
  })
}

async function findPlace(
  state: Qcow2State,
  offset: GuestOffset,
  count: number,
  preferred: HostOffset | undefined,
): Promise<{ place: HostOffset; count: number }> {
  const { clusterSize } = state.layout
  const start = clusterStart(state.layout, offset)
  if (hasDataFile(state)) return { place: host(start), count }
  if (preferred !== undefined && isClusterAligned(state.layout, preferred) && start === offset) {
    const free = await allocateClustersAt(state, preferred, count)
    if (free > 0) return { place: preferred, count: free }
  }
  return { place: await allocateClusters(state, count * clusterSize), count }
}

function enter(
  state: Qcow2State,
  offset: GuestOffset,
  dataEnd: GuestOffset,
  place: HostOffset,
  count: number,
  keepsHost: boolean,
  valid: { start: GuestOffset; end: GuestOffset },
): TakenPiece {
  const { clusterSize } = state.layout
  const guestStart = clusterStart(state.layout, offset)
  const allocation: Allocation = {
    guestStart,
    guestEnd: guest(guestStart + count * clusterSize),
    host: place,
    keepsHost,
    validStart: valid.start,
    validEnd: valid.end,
  }
  return {
    host: host(place + (offset - guestStart)),
    bytes: dataEnd - offset,
    allocation,
    fresh: !keepsHost && place >= endOfWritten(state.dataFile),
    end: state.allocations.enter(allocation),
  }
}

/** From where on a new host cluster has to be valid: where the old one held data, or the subcluster that is written. */
function validStart(state: Qcow2State, entry: ClusterEntry, offset: GuestOffset): GuestOffset {
  const { layout } = state
  const start = clusterStart(layout, offset)
  if (!layout.extendedL2) return start
  const index = subclusterAt(state, offset)
  for (let before = 0; before < index; before++) {
    if (holdsData(state, entry, before)) return guest(start + before * layout.subclusterSize)
  }
  return subclusterStart(state, offset)
}

function validEnd(state: Qcow2State, entry: ClusterEntry, dataEnd: GuestOffset): GuestOffset {
  const { layout } = state
  const end = clusterEnd(layout, dataEnd)
  if (!layout.extendedL2) return end
  const index = subclusterAt(state, guest(dataEnd - 1))
  for (let after = layout.subclustersPerCluster - 1; after > index; after--) {
    if (holdsData(state, entry, after)) {
      return guest(end - (layout.subclustersPerCluster - 1 - after) * layout.subclusterSize)
    }
  }
  return subclusterEnd(state, dataEnd)
}

/** Whether a subcluster has data that a new host cluster must take over: that of a compressed cluster, too. */
function holdsData(state: Qcow2State, entry: ClusterEntry, index: number): boolean {
  const kind = kindOf(state, entry, index)
  return kind === NORMAL || kind === COMPRESSED
}

function endsInData(state: Qcow2State, entry: ClusterEntry, dataEnd: GuestOffset): boolean {
  return kindOf(state, entry, subclusterAt(state, guest(dataEnd - 1))) === NORMAL
}

function subclusterAt(state: Qcow2State, offset: GuestOffset): number {
  const { clusterSize, subclusterSize } = state.layout
  return Math.floor((offset & (clusterSize - 1)) / subclusterSize)
}

function subclusterStart(state: Qcow2State, offset: GuestOffset): GuestOffset {
  return guest(offset - (offset & (state.layout.subclusterSize - 1)))
}

function subclusterEnd(state: Qcow2State, offset: GuestOffset): GuestOffset {
  const { subclusterSize } = state.layout
  const inside = offset & (subclusterSize - 1)
  return inside === 0 ? offset : guest(offset - inside + subclusterSize)
}

function refuseInvalid(state: Qcow2State, entry: ClusterEntry, offset: GuestOffset): void {
  if (kindOf(state, entry, subclusterAt(state, offset)) !== INVALID) return
  throw markCorrupt(state, `the L2 entry of guest offset ${offset} is not valid`)
}

function soundPlace(state: Qcow2State, entry: ClusterEntry, start: GuestOffset): number {
  const place = placeOf(state, entry)
  if (isClusterAligned(state.layout, place) && (!hasDataFile(state) || place === start)) return place
  throw markCorrupt(state, `Cluster allocation offset 0x${place.toString(16)} of guest offset ${start} is not valid`)
}
