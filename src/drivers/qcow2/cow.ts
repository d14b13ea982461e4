// The second half of an allocating write: what stands beside the data in its clusters is copied, merged with the write, and
// the L2 table names the clusters when they hold everything (rule O3).

import type { Bytes } from '../../common/io-vector.js'
import { BDRV_SECTOR_SIZE } from '../../common/limits.js'
import { alignUp } from '../../common/units.js'
import { settleAll } from '../../io/settle-all.js'
import { freeClusters, freeEntry } from './allocator.js'
import { type ClusterEntry, entryAt, placeOf, putEntry } from './clusters.js'
import { COMPRESSED_HIGH, UNALLOCATED, UNALLOCATED_HOST, ZERO_ALLOCATED, ZERO_LOW, ZERO_PLAIN } from './l2-entry.js'
import { lookupRun, newRun } from './l2-map.js'
import { writableSlice } from './l2-tables.js'
import { type GuestOffset, guest, type Layout } from './layout.js'
import { readGuest } from './read.js'
import { backingOf, hasDataFile, type Qcow2State } from './state.js'
import { COPIED_HIGH } from './table.js'
import type { TakenPiece } from './take-piece.js'
import { postponesRefcounts } from './writing.js'

const NOTHING = new Uint8Array(0)

/**
 * What stands before and behind `bytes` bytes at `offset` in the clusters of `piece`, as it is to be written with them. Empty,
 * but for the rest of a sector, where the clusters read as that already.
 */
export async function copyAround(
  state: Qcow2State,
  piece: TakenPiece,
  offset: GuestOffset,
  bytes: number,
): Promise<{ head: Bytes; tail: Bytes }> {
  const { validStart, validEnd } = piece.allocation
  const end = guest(offset + bytes)
  const ends = [
    { from: validStart, to: offset, least: 0 },
    {
      from: end,
      // A data file of its own never gets longer than the disk.
      to: hasDataFile(state) ? Math.min(validEnd, state.header.size) : validEnd,
      // A file that ended inside a sector might lose, in a crash, a part of what a later write puts into that sector.
      least: alignUp(end, BDRV_SECTOR_SIZE) - end,
    },
  ]
  const [head, tail] = await settleAll(ends, async ({ from, to, least }) => {
    const length = Math.max(to - from, 0)
    if (length === 0) return NOTHING
    // Zeroes on disk are no zeroes to a reader of an encrypted image.
    const mayStay = piece.fresh && state.cipher === undefined
    if (mayStay && readsZero(state, from, length)) return new Uint8Array(Math.min(least, length))
    const copy = new Uint8Array(length)
    await readGuest(state, from, copy)
    return copy
  })
  return { head: head ?? NOTHING, tail: tail ?? NOTHING }
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

async function link(state: Qcow2State, piece: TakenPiece): Promise<void> {
  const { layout, l2Cache } = state
  const { guestStart, guestEnd, keepsHost } = piece.allocation
  const slice = await writableSlice(state, guestStart)
  const replaced: ClusterEntry[] = []
  try {
    if (!postponesRefcounts(state)) await l2Cache.dependOn(state.refcountCache)
    // Data before the entry that names it. In one step with the change: from here on the table may be written at any time.
    l2Cache.dependOnFlush()
    for (let at = guestStart as number, index = slice.index; at < guestEnd; at += layout.clusterSize, index++) {
      const before = entryAt(layout, slice, index)
      if (!keepsHost) replaced.push(before)
      putEntry(layout, slice, index, linkedEntry(state, piece, guest(at), before))
    }
    l2Cache.markDirty(slice.entry)
  } finally {
    l2Cache.release(slice.entry)
  }
  for (const entry of replaced) {
    const named = (entry.high & COMPRESSED_HIGH) !== 0 || !Number.isNaN(placeOf(state, entry))
    if (named) await freeEntry(state, entry.high, entry.low, 'other')
  }
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
