// The second half of an allocating write: what stands beside the data in its clusters is copied, merged with the write, and
// the L2 table names the clusters when they hold everything (rule O3).

import { BDRV_SECTOR_SIZE } from '../../../common/limits.js'
import type { MaybePromise } from '../../../common/maybe-promise.js'
import { alignUp } from '../../../common/units.js'
import { background } from '../../../io/background.js'
import { settleAll } from '../../../io/settle-all.js'
import {
  COMPRESSED_HIGH,
  UNALLOCATED,
  UNALLOCATED_HOST,
  ZERO_ALLOCATED,
  ZERO_LOW,
  ZERO_PLAIN,
} from '../format/l2-entry.js'
import { type GuestOffset, guest, type Layout } from '../format/layout.js'
import { COPIED_HIGH } from '../format/table.js'
import { type ClusterEntry, entryAt, namesHost, putEntry } from '../metadata/clusters.js'
import { isWatched, reach } from '../metadata/debug-points.js'
import { lookupRun, newRun, sliceAt } from '../metadata/l2-map.js'
import { type HeldSlice, writableSlice } from '../metadata/l2-tables.js'
import { postponesRefcounts } from '../metadata/writing.js'
import { freeClusters, freeEntry } from '../refcounts/allocator.js'
import { backingOf, hasDataFile, type Qcow2State } from '../state.js'
import { readGuest } from './read.js'
import type { TakenPiece } from './take-piece.js'

const NOTHING = new Uint8Array(0)

/** What is to be written before and behind the data of a piece. */
export interface Surroundings {
  head: Uint8Array
  tail: Uint8Array
}

const NO_SURROUNDINGS: Surroundings = { head: NOTHING, tail: NOTHING }

/**
 * What stands before and behind `bytes` bytes at `offset` in the clusters of `piece`, as it is to be written with them. Empty,
 * but for the rest of a sector, where the clusters read as that already.
 */
export function copyAround(
  state: Qcow2State,
  piece: TakenPiece,
  offset: GuestOffset,
  bytes: number,
): MaybePromise<Surroundings> {
  const { validStart, validEnd } = piece.allocation
  const end = guest(offset + bytes)
  // A data file of its own never gets longer than the disk.
  const stop = hasDataFile(state) ? Math.min(validEnd, state.header.size) : validEnd
  const head = readsAsWanted(state, piece, validStart, offset) ? 0 : offset - validStart
  if (!readsAsWanted(state, piece, end, stop)) return readAround(state, validStart, head, end, stop - end)
  // A file that ended inside a sector might lose, in a crash, a part of what a later write puts into that sector.
  const rest = Math.max(Math.min(alignUp(end, BDRV_SECTOR_SIZE), stop) - end, 0)
  if (head > 0) return readAround(state, validStart, head, end, rest)
  return rest === 0 ? NO_SURROUNDINGS : { head: NOTHING, tail: new Uint8Array(rest) }
}

/** Whether clusters that were never written get `bytes` bytes at `offset` and are zeroes beside them, with nothing to copy. */
export function leavesZeroes(state: Qcow2State, piece: TakenPiece, offset: GuestOffset, bytes: number): boolean {
  const { validStart, validEnd } = piece.allocation
  const end = guest(offset + bytes)
  if (validStart === offset && validEnd === end) return false
  return readsAsWanted(state, piece, validStart, offset) && readsAsWanted(state, piece, end, validEnd)
}

/** Whether nothing has to be written to a part of the clusters. */
function readsAsWanted(state: Qcow2State, piece: TakenPiece, from: GuestOffset, to: number): boolean {
  const bytes = to - from
  // Zeroes on disk are no zeroes to a reader of an encrypted image.
  return bytes <= 0 || (piece.fresh && state.cipher === undefined && readsZero(state, from, bytes))
}

async function readAround(
  state: Qcow2State,
  headAt: GuestOffset,
  headBytes: number,
  tailAt: GuestOffset,
  tailBytes: number,
): Promise<Surroundings> {
  const head = new Uint8Array(headBytes)
  const tail = new Uint8Array(tailBytes)
  const ends = [
    { at: headAt, into: head },
    { at: tailAt, into: tail },
  ]
  if (isWatched(state)) await reach(state, 'cow_read')
  await settleAll(ends, ({ at, into }) => (into.length === 0 ? undefined : readGuest(state, at, into)))
  return { head, tail }
}

/** Whether a range surely reads as zeroes, by what is in memory. */
export function readsZero(state: Qcow2State, offset: GuestOffset, bytes: number): boolean {
  const run = newRun()
  for (let at = offset as number; at < offset + bytes; at += run.bytes) {
    if (!lookupRun(state, guest(at), offset + bytes - at, run)) return false
    const { kind } = run
    if (kind === ZERO_PLAIN || kind === ZERO_ALLOCATED) continue
    if (kind !== UNALLOCATED && kind !== UNALLOCATED_HOST) return false
    const backing = backingOf(state)
    if (backing !== undefined && backing.node.state.length > at) return false
  }
  return true
}

/** Lets the L2 table name the clusters of `piece`, which are written, and frees what it named before. */
export async function linkAllocation(state: Qcow2State, piece: TakenPiece): Promise<void> {
  try {
    await state.lock.runExclusive(() => link(state, piece))
  } finally {
    piece.end()
  }
}

/** Does what {@link linkAllocation} does where nothing has to be waited for; false, with nothing changed, where so. */
export function linkNow(state: Qcow2State, piece: TakenPiece): boolean {
  const { layout, l1, l2Cache } = state
  const { guestStart, guestEnd } = piece.allocation
  if (state.lock.isLocked() || (l1.high(Math.floor(guestStart / layout.l2Coverage)) & COPIED_HIGH) === 0) return false
  if (!postponesRefcounts(state) && !l2Cache.mayDependOn(state.refcountCache)) return false
  const place = sliceAt(state, guestStart)
  const entry = place === undefined ? undefined : l2Cache.peek(place.offset)
  if (place === undefined || entry === undefined) return false
  const slice = { entry, index: place.index, entries: place.entries }
  const count = (guestEnd - guestStart) / layout.clusterSize
  for (let i = 0; i < count; i++) if (namesHost(state, entryAt(layout, slice, slice.index + i))) return false
  if (!postponesRefcounts(state)) background(state.node, l2Cache.dependOn(state.refcountCache))
  putLinked(state, piece, slice)
  piece.end()
  return true
}

async function link(state: Qcow2State, piece: TakenPiece): Promise<void> {
  const { l2Cache } = state
  const slice = await writableSlice(state, piece.allocation.guestStart)
  let replaced: ClusterEntry[]
  try {
    if (!postponesRefcounts(state)) await l2Cache.dependOn(state.refcountCache)
    replaced = putLinked(state, piece, slice)
  } finally {
    l2Cache.release(slice.entry)
  }
  for (const entry of replaced) {
    if (namesHost(state, entry)) await freeEntry(state, entry.high, entry.low, 'other')
  }
}

/** Changes the entries in one step: from here on the table may be written at any time. Returns those that named other clusters. */
function putLinked(state: Qcow2State, piece: TakenPiece, slice: HeldSlice): ClusterEntry[] {
  const { layout, l2Cache } = state
  const { guestStart, guestEnd, keepsHost } = piece.allocation
  const replaced: ClusterEntry[] = []
  // Data before the entry that names it.
  l2Cache.dependOnFlush()
  for (let at = guestStart as number, { index } = slice; at < guestEnd; at += layout.clusterSize, index++) {
    const before = entryAt(layout, slice, index)
    if (!keepsHost) replaced.push(before)
    putEntry(layout, slice, index, linkedEntry(state, piece, guest(at), before))
  }
  l2Cache.markDirty(slice.entry)
  return replaced
}

/** The entry of the cluster at `start` once its data is there. */
function linkedEntry(state: Qcow2State, piece: TakenPiece, start: GuestOffset, before: ClusterEntry): ClusterEntry {
  const { layout } = state
  const { guestStart, host: place, validStart, validEnd } = piece.allocation
  const offset = place + (start - guestStart)
  const high = (Math.floor(offset / 0x1_0000_0000) | COPIED_HIGH) >>> 0
  const low = offset >>> 0
  if (!layout.extendedL2) return { high, low: (low & ~ZERO_LOW) >>> 0, zeroBits: 0, allocatedBits: 0 }
  const valid = subclusterMask(layout, Math.max(validStart - start, 0), Math.min(validEnd - start, layout.clusterSize))
  const wasCompressed = (before.high & COMPRESSED_HIGH) !== 0
  const kept = piece.allocation.keepsHost ? before.allocatedBits : 0
  return {
    high,
    low,
    zeroBits: wasCompressed ? 0 : (before.zeroBits & ~valid) >>> 0,
    allocatedBits: (kept | valid) >>> 0,
  }
}

/** A bit for each subcluster that bytes `from` to `to` of a cluster touch. */
export function subclusterMask(layout: Layout, from: number, to: number): number {
  let mask = 0
  const last = Math.ceil(to / layout.subclusterSize)
  for (let index = Math.floor(from / layout.subclusterSize); index < last; index++) mask |= 1 << index
  return mask >>> 0
}

/** Gives the clusters of a piece back that could not be written. */
export async function releaseAllocation(state: Qcow2State, piece: TakenPiece): Promise<void> {
  const { keepsHost, host, guestStart, guestEnd } = piece.allocation
  try {
    if (keepsHost || hasDataFile(state) || state.corrupt) return
    await state.lock.runExclusive(() => freeClusters(state, host, guestEnd - guestStart, 'never'))
  } finally {
    piece.end()
  }
}
