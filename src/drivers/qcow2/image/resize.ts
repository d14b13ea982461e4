// Changing the length of the disk. Growth: a larger L1 table, places or zeroes for what comes, then the length in the header.
// Shrinking: entries that go are cleared, their clusters freed, empty refcount blocks dropped, the file cut (rule O6).

import { BlockError } from '../../../common/error.js'
import type { Preallocation } from '../../../common/option-names.js'
import { BDRV_REQ_ZERO_WRITE } from '../../../common/request.js'
import type { Offset } from '../../../common/units.js'
import { checkDirtyBitmap } from '../../../io/check-dirty-bitmap.js'
import type { TruncateOptions } from '../../../io/node-io.js'
import { truncate } from '../../../io/truncate.js'
import { write } from '../../../io/write.js'
import { writeZeroes } from '../../../io/write-zeroes.js'
import { vmstateOffset } from '../data/vmstate.js'
import { writeGuest } from '../data/write.js'
import { discardClusters, zeroClusters } from '../data/zero.js'
import { rangeReadsZero } from '../data/zero-range.js'
import { AUTOCLEAR_DATA_FILE_RAW } from '../format/header.js'
import {
  clusterEnd,
  clusterStart,
  ENTRY_BYTES,
  type GuestOffset,
  guest,
  type HostOffset,
  host,
  l1EntriesFor,
} from '../format/layout.js'
import { barrier } from '../metadata/barrier.js'
import { isWatched, reach } from '../metadata/debug-points.js'
import { cutFile } from '../metadata/file-end.js'
import { settleMetadata } from '../metadata/flush.js'
import { growL1 } from '../metadata/grow-l1.js'
import { writeHeaderFields } from '../metadata/header-update.js'
import { writableSlice } from '../metadata/l2-tables.js'
import { refuseOverlap } from '../metadata/overlap.js'
import { beginWriting } from '../metadata/writing.js'
import { freeClusters } from '../refcounts/allocator.js'
import { dropEmptyBlocks } from '../refcounts/refcount-shrink.js'
import { backingOf, hasDataFile, type Qcow2State } from '../state.js'
import { preallocate } from './preallocate.js'

const SECTOR = 512

/**
 * Makes the disk `length` bytes long: whole sectors. What comes reads as zeroes. EINVAL for other lengths, EFBIG beyond the
 * largest L1 table, ENOTSUP for stored bitmaps in use or inconsistent, for snapshots in version 2, for preallocation of a disk that does not grow, and where version 2
 * would show data of a longer backing file.
 */
export async function truncateImage(state: Qcow2State, length: Offset, options: TruncateOptions): Promise<void> {
  const { header } = state
  if (length % SECTOR !== 0) throw refusal(state, 'EINVAL', `The new size must be a multiple of ${SECTOR}`)
  if (header.version < 3 && header.nbSnapshots > 0) {
    throw refusal(state, 'ENOTSUP', "Can't resize a v2 image which has snapshots")
  }
  refuseUnusableBitmaps(state)
  const shrinks = length < header.size
  if (shrinks && options.preallocation !== 'off') {
    throw refusal(state, 'ENOTSUP', "Preallocation can't be used for shrinking an image")
  }
  await dropVmstate(state)
  if (shrinks) await shrink(state, guest(length))
  else await grow(state, guest(length), options)
}

/** What stands behind the disk would come into view, or be lost with the tables that map it: VM state of another length of disk. */
async function dropVmstate(state: Qcow2State): Promise<void> {
  const { l2Coverage } = state.layout
  const end = state.l1.length * l2Coverage
  for (let at = vmstateOffset(state) as number; at < end; at += l2Coverage) {
    if (state.l1.offset(at / l2Coverage) === 0) continue
    await discardClusters(state, guest(at), guest(at + l2Coverage), 'unallocate', 'other')
  }
}

/** Bitmaps that are stored change their length with the disk; one that nobody may touch cannot. */
function refuseUnusableBitmaps({ node, bitmaps }: Qcow2State): void {
  for (const { name } of bitmaps) {
    const bitmap = node.state.bitmaps.find((one) => one.name === name)
    if (bitmap === undefined) continue
    try {
      checkDirtyBitmap(node, bitmap)
    } catch (thrown) {
      if (!(thrown instanceof BlockError)) throw thrown
      throw new BlockError('ENOTSUP', thrown.message, { node: node.nodeName, op: 'truncate', hint: thrown.hint })
    }
  }
}

function refusal(state: Qcow2State, code: 'EINVAL' | 'ENOTSUP', message: string): BlockError {
  return new BlockError(code, message, { node: state.node.nodeName, op: 'truncate' })
}

async function grow(state: Qcow2State, length: GuestOffset, options: TruncateOptions): Promise<void> {
  const { layout, header } = state
  const old = guest(header.size)
  const zeroed = (options.flags & BDRV_REQ_ZERO_WRITE) !== 0 && length > old
  if (zeroed && header.version < 3) {
    throw refusal(state, 'ENOTSUP', 'Failed to zero out new clusters: Operation not supported')
  }
  await state.lock.runExclusive(async () => {
    await beginWriting(state)
    await growL1(state, l1EntriesFor(layout, length))
  })
  const headEnd = guest(Math.min(length, roundUp(old, layout.subclusterSize)))
  await clearHead(state, old, headEnd)
  // The data of an image that is raw as well stands where the guest sees it, so its tables must say that from the start.
  const raw = (header.autoclearFeatures & AUTOCLEAR_DATA_FILE_RAW) !== 0n
  const mode = options.preallocation === 'off' && raw ? 'metadata' : options.preallocation
  const end = guest(roundUp(length, layout.subclusterSize))
  if (hasDataFile(state)) await growDataFile(state, old, mode === 'off' ? length : end, mode)
  if (mode !== 'off') {
    // Without subclusters a cluster with a place hides the backing file: the one in which the old disk ends stays as it is.
    const whole = backingOf(state) === undefined || layout.extendedL2
    await preallocate(state, whole ? clusterStart(layout, old) : clusterEnd(layout, old), end, mode)
  }
  if (zeroed && headEnd < length) await zeroClusters(state, headEnd, end, 0)
  else await clearRest(state, guest(roundUp(old, layout.subclusterSize)), clusterEnd(layout, old))
  await state.lock.runExclusive(async () => {
    await settleMetadata(state, false)
    await barrier(state)
    await writeHeaderFields(state, 'size', { size: length })
  })
}

function roundUp(offset: GuestOffset, alignment: number): number {
  return Math.ceil(offset / alignment) * alignment
}

/** The rest of the last subcluster of the old disk comes into view: it reads as zeroes, whatever it holds. */
async function clearHead(state: Qcow2State, from: GuestOffset, to: GuestOffset): Promise<void> {
  if (to <= from || (await rangeReadsZero(state, from, to - from))) return
  await writeGuest(state, from, new Uint8Array(to - from))
}

/** So do the subclusters behind it: a disk that was cut there has left what they held. */
async function clearRest(state: Qcow2State, from: GuestOffset, to: GuestOffset): Promise<void> {
  if (to <= from || (await rangeReadsZero(state, from, to - from))) return
  try {
    await zeroClusters(state, from, to, 0)
  } catch (error) {
    // A compressed cluster has no parts.
    if (!(error instanceof BlockError) || error.code !== 'ENOTSUP') throw error
    await writeGuest(state, from, new Uint8Array(to - from))
  }
}

/** A data file that is longer than the disk shows what it holds there, too. */
async function growDataFile(state: Qcow2State, old: Offset, length: GuestOffset, mode: Preallocation): Promise<void> {
  const { dataFile } = state
  const present = dataFile.node.state.length
  const stale = Math.min(present, length) - old
  if (stale > 0) await writeZeroes(dataFile, old, stale, 0)
  if (present < length) await truncate(dataFile, length, { preallocation: mode === 'metadata' ? 'off' : mode })
}

async function shrink(state: Qcow2State, length: GuestOffset): Promise<void> {
  const { layout, header } = state
  const old = guest(header.size)
  await discardTail(state, clusterEnd(layout, length), clusterEnd(layout, old))
  await state.lock.runExclusive(async () => {
    await beginWriting(state)
    await dropTables(state, l1EntriesFor(layout, length))
    await dropEmptyBlocks(state)
    await cutFile(state)
    await writeHeaderFields(state, 'size', { size: length })
  })
  if (hasDataFile(state) && state.dataFile.node.state.length > length) await truncate(state.dataFile, length)
}

/** Unallocates the clusters of a range, table by table; tables that are not there have none. */
async function discardTail(state: Qcow2State, from: GuestOffset, to: GuestOffset): Promise<void> {
  const { layout } = state
  const { l2Coverage } = layout
  for (let at = from; at < to; ) {
    const index = Math.floor(at / l2Coverage)
    const until = guest(Math.min(to, (index + 1) * l2Coverage))
    if (state.l1.offset(index) !== 0) {
      await discardClusters(state, at, until, 'unallocate', 'always')
    } else if (at % l2Coverage !== 0) {
      // As the field's tools leave it: the table in which the disk ends is there, and empty.
      await state.lock.runExclusive(async () => {
        await beginWriting(state)
        state.l2Cache.release((await writableSlice(state, at)).entry)
      })
    }
    at = until
  }
}

/** Clears the L1 entries from `first` on, then frees the tables they named. */
async function dropTables(state: Qcow2State, first: number): Promise<void> {
  const { l1, header, layout } = state
  const freed: HostOffset[] = []
  for (let index = first; index < l1.length; index++) {
    const offset = l1.offset(index)
    if (offset > 0) freed.push(host(offset))
  }
  if (freed.length === 0) return
  const place = host(header.l1TableOffset + first * ENTRY_BYTES)
  const bytes = (l1.length - first) * ENTRY_BYTES
  refuseOverlap(state, place, bytes, ['active-l1'])
  await settleMetadata(state, false)
  if (isWatched(state)) await reach(state, 'l1_shrink_write_table')
  await write(state.file, place, new Uint8Array(bytes))
  await barrier(state)
  l1.bytes.fill(0, first * ENTRY_BYTES)
  if (isWatched(state)) await reach(state, 'l1_shrink_free_l2_clusters')
  for (const offset of freed) await freeClusters(state, offset, layout.clusterSize, 'always')
}
