// Zeroing and discarding by metadata: entries change, host clusters are freed or kept as a preallocation. Allocations on
// their way to the same clusters end first.

import { BlockError } from '../../../common/error.js'
import { BDRV_REQ_MAY_UNMAP, type RequestFlags } from '../../../common/request.js'
import { discard } from '../../../io/discard.js'
import { settleRange } from '../../../io/settle-range.js'
import { writeZeroes } from '../../../io/write-zeroes.js'
import { AUTOCLEAR_DATA_FILE_RAW } from '../format/header.js'
import { COMPRESSED_HIGH, ZERO_ALLOCATED, ZERO_LOW, ZERO_PLAIN } from '../format/l2-entry.js'
import { clusterEnd, clusterStart, type GuestOffset, guest, isClusterAligned } from '../format/layout.js'
import { type ClusterEntry, entryAt, kindOf, namesHost, placeOf, putEntry, sameEntry } from '../metadata/clusters.js'
import { writableSlice } from '../metadata/l2-tables.js'
import { beginWriting, postponesRefcounts } from '../metadata/writing.js'
import { freeEntry } from '../refcounts/allocator.js'
import type { FreePurpose } from '../refcounts/refcounts.js'
import { backingOf, hasDataFile, type Qcow2State } from '../state.js'
import { subclusterMask } from './cow.js'
import { rangeReadsZero } from './zero-range.js'

const ALL_SUBCLUSTERS = 0xffff_ffff

/** How to change clusters that go. `unallocate` lets the backing file show through. */
export type DiscardMode = 'zero' | 'unallocate'

/**
 * Makes a range read as zeroes by metadata alone: whole subclusters, or a part of one where the rest of it reads as zeroes
 * already. ENOTSUP where that cannot be: data has to be written then.
 */
export async function zeroGuest(
  state: Qcow2State,
  offset: GuestOffset,
  bytes: number,
  flags: RequestFlags,
): Promise<void> {
  const { subclusterSize } = state.layout
  const end = offset + bytes
  const start = guest(offset - (offset % subclusterSize))
  const atEnd = end === state.header.size
  // What lies behind the end of the disk is nobody's: a last cluster that is zeroed from its start on is zeroed whole.
  const whole = atEnd && clusterStart(state.layout, guest(end - 1)) >= start
  const stop = whole ? clusterEnd(state.layout, guest(end)) : guest(Math.ceil(end / subclusterSize) * subclusterSize)
  const old = state.header.version < 3
  if (old && backingOf(state) !== undefined) throw unsupported(state, 'version 2 images have no zero clusters')
  const beyond = atEnd ? guest(end) : stop
  // Looked at under the lock: until then others may write there.
  const refuse = async () => {
    if (await restReadsZero(state, start, offset, guest(end), beyond)) return
    throw unsupported(state, 'not whole clusters')
  }
  const before = start < offset || beyond > end ? refuse : undefined
  if (old) await discardClusters(state, start, stop, 'zero', 'request', before)
  else await zeroClusters(state, start, stop, flags, before)
}

function unsupported(state: Qcow2State, message: string): BlockError {
  return new BlockError('ENOTSUP', message, { node: state.node.nodeName, op: 'write-zeroes' })
}

/** Whether the subclusters around a range hold nothing of their own, and read as zeroes beside the range. */
async function restReadsZero(
  state: Qcow2State,
  start: GuestOffset,
  offset: GuestOffset,
  end: GuestOffset,
  stop: GuestOffset,
): Promise<boolean> {
  return (await rangeReadsZero(state, start, offset - start)) && (await rangeReadsZero(state, end, stop - end))
}

/** Zeroes whole subclusters. `before` may refuse each part of them, under the lock and ahead of any change. */
export async function zeroClusters(
  state: Qcow2State,
  start: GuestOffset,
  stop: GuestOffset,
  flags: RequestFlags,
  before?: () => Promise<void>,
): Promise<void> {
  const raw = (state.header.autoclearFeatures & AUTOCLEAR_DATA_FILE_RAW) !== 0n && hasDataFile(state)
  await overSlices(state, start, stop, async (at, until) => {
    await before?.()
    if (raw) await zeroData(state, at, until, flags)
    await changeEntries(state, at, until, 'request', (entry, from, to) => zeroedEntry(state, entry, from, to, flags))
    // Writes in place that were on their way may have come after the zeroes; from now on there are no others.
    const late = raw ? settleRange(state.dataFile.node, at, until - at) : undefined
    if (late === undefined) return
    await late
    await zeroData(state, at, until, flags)
  })
}

/** A data file that is an image by itself holds the zeroes, too. */
async function zeroData(state: Qcow2State, start: GuestOffset, stop: GuestOffset, flags: RequestFlags): Promise<void> {
  const length = Math.min(stop, state.dataFile.node.state.length) - start
  if (length > 0) await writeZeroes(state.dataFile, start, length, flags)
}

/**
 * Changes the entries of a range inside one slice to what `after` makes of them; it is told which bytes of the cluster the range
 * covers. Nothing is changed where it throws. What the entries no longer name is freed.
 */
async function changeEntries(
  state: Qcow2State,
  start: GuestOffset,
  stop: GuestOffset,
  purpose: FreePurpose,
  after: (before: ClusterEntry, from: number, to: number) => ClusterEntry,
): Promise<void> {
  const { layout, l2Cache } = state
  const slice = await writableSlice(state, start)
  const changes: { index: number; before: ClusterEntry; after: ClusterEntry }[] = []
  try {
    for (let at = start as number, { index } = slice; at < stop; index++) {
      const cluster = clusterStart(layout, guest(at))
      const end = Math.min(stop, cluster + layout.clusterSize)
      const before = entryAt(layout, slice, index)
      const wanted = after(before, at - cluster, end - cluster)
      if (!sameEntry(before, wanted)) changes.push({ index, before, after: wanted })
      at = end
    }
    if (changes.length === 0) return
    await declareOrder(state)
    for (const change of changes) putEntry(layout, slice, change.index, change.after)
    l2Cache.markDirty(slice.entry)
  } finally {
    l2Cache.release(slice.entry)
  }
  for (const { before, after: now } of changes) {
    if (!namesHost(state, before) || placeOf(state, now) === placeOf(state, before)) continue
    await freeEntry(state, before.high, before.low, purpose)
  }
}

/** Whatever the image does with the entries from now on, counts that rise were there first. */
async function declareOrder(state: Qcow2State): Promise<void> {
  if (!postponesRefcounts(state)) await state.l2Cache.dependOn(state.refcountCache)
}

function zeroedEntry(
  state: Qcow2State,
  before: ClusterEntry,
  from: number,
  to: number,
  flags: RequestFlags,
): ClusterEntry {
  const { layout } = state
  const compressed = (before.high & COMPRESSED_HIGH) !== 0
  if (layout.extendedL2) {
    const whole = from === 0 && to === layout.clusterSize
    if (compressed && !whole) throw unsupported(state, 'a part of a compressed cluster')
    const unmap = whole && (compressed || ((flags & BDRV_REQ_MAY_UNMAP) !== 0 && namesHost(state, before)))
    const mask = whole ? ALL_SUBCLUSTERS : subclusterMask(layout, from, to)
    const keep = unmap && !keepsPlace(state) ? { high: 0, low: 0 } : { high: before.high, low: before.low }
    return {
      ...(compressed ? { high: 0, low: 0 } : keep),
      zeroBits: ((compressed ? 0 : before.zeroBits) | mask) >>> 0,
      allocatedBits: compressed ? 0 : (before.allocatedBits & ~mask) >>> 0,
    }
  }
  const kind = kindOf(state, before, 0)
  const unmap = compressed || ((flags & BDRV_REQ_MAY_UNMAP) !== 0 && namesHost(state, before))
  if (kind === ZERO_PLAIN || (kind === ZERO_ALLOCATED && !unmap)) return before
  if (unmap && !(keepsPlace(state) && !compressed)) return { high: 0, low: ZERO_LOW, zeroBits: 0, allocatedBits: 0 }
  return { ...before, low: (before.low | ZERO_LOW) >>> 0 }
}

/** Discards leave their clusters allocated, where the user asked for that. */
function keepsPlace(state: Qcow2State): boolean {
  return state.settings.discardNoUnref
}

/**
 * Discards whole clusters (the last one may end with the disk). ENOTSUP for less, and where old data of a backing file would
 * come into view (threats.md I24).
 */
export async function discardGuest(state: Qcow2State, offset: GuestOffset, bytes: number): Promise<void> {
  const { layout, header } = state
  const end = offset + bytes
  if (header.version < 3 && backingOf(state) !== undefined) throw unsupported(state, 'version 2 with a backing file')
  if (!isClusterAligned(layout, offset) || (!isClusterAligned(layout, end) && end !== header.size)) {
    throw unsupported(state, 'not whole clusters')
  }
  await discardClusters(state, offset, clusterEnd(layout, guest(end)), 'zero', 'request')
}

/** Drops the clusters of a range. The image's lock is not held. `before` as for {@link zeroClusters}. */
export async function discardClusters(
  state: Qcow2State,
  start: GuestOffset,
  stop: GuestOffset,
  mode: DiscardMode,
  purpose: FreePurpose,
  before?: () => Promise<void>,
): Promise<void> {
  await overSlices(state, start, stop, async (at, until) => {
    await before?.()
    await changeEntries(state, at, until, purpose, (before) => discardedEntry(state, before, mode))
    if (hasDataFile(state)) await discardData(state, at, until)
  })
}

function discardedEntry(state: Qcow2State, before: ClusterEntry, mode: DiscardMode): ClusterEntry {
  const { layout, header } = state
  const empty = { high: 0, low: 0, zeroBits: 0, allocatedBits: 0 }
  if (mode === 'unallocate') return empty
  const named = namesHost(state, before)
  if (!named && backingOf(state) === undefined) return before
  const kept = keepsPlace(state) && named && (before.high & COMPRESSED_HIGH) === 0
  const place = kept ? { high: before.high, low: before.low } : { high: 0, low: 0 }
  if (layout.extendedL2) return { ...place, zeroBits: ALL_SUBCLUSTERS, allocatedBits: 0 }
  return header.version >= 3 ? { ...empty, ...place, low: (place.low | ZERO_LOW) >>> 0 } : empty
}

/** Clusters of an external data file have no counts: they are discarded there, where discards are passed on at all. */
async function discardData(state: Qcow2State, start: GuestOffset, stop: GuestOffset): Promise<void> {
  if (!state.settings.passDiscard.request) return
  const length = Math.min(stop, state.dataFile.node.state.length) - start
  if (length > 0) await discard(state.dataFile, start, length)
}

/** Runs `act` under the lock for each part of a range that one slice maps, once no allocation is on its way there. */
async function overSlices(
  state: Qcow2State,
  start: GuestOffset,
  stop: GuestOffset,
  act: (at: GuestOffset, until: GuestOffset) => Promise<void>,
): Promise<void> {
  const { layout, settings } = state
  const sliceBytes = (settings.l2SliceBytes / layout.l2EntryBytes) * layout.clusterSize
  for (let at = start as number; at < stop; ) {
    const until = guest(Math.min(stop, (Math.floor(at / sliceBytes) + 1) * sliceBytes))
    const from = guest(at)
    const conflict = await state.lock.runExclusive(async () => {
      const found = state.allocations.conflict(clusterStart(layout, from), clusterEnd(layout, until))
      if (found !== undefined) return found
      await beginWriting(state)
      await act(from, until)
      return undefined
    })
    if (conflict === undefined) at = until
    else await conflict.ended
  }
}
