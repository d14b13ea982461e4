// Writing compressed clusters: whole ones only, and only where nothing is yet. A cluster that does not get smaller is written as
// it is. Compression of several clusters runs at once; their places are taken in order.

import { BlockError } from '../../../common/error.js'
import { type Bytes, flattenBytes, sliceBytes } from '../../../common/io-vector.js'
import { settleRange } from '../../../io/settle-range.js'
import { write } from '../../../io/write.js'
import { COMPRESSED_HIGH, encodeCompressed } from '../format/l2-entry.js'
import { clusterStart, type GuestOffset, guest, type HostOffset } from '../format/layout.js'
import { COPIED_HIGH, entryOffset } from '../format/table.js'
import { entryAt, putEntry } from '../metadata/clusters.js'
import { isWatched, reach } from '../metadata/debug-points.js'
import { writableSlice } from '../metadata/l2-tables.js'
import { refuseOverlap } from '../metadata/overlap.js'
import { beginAllocating, beginWriting, postponesRefcounts } from '../metadata/writing.js'
import { allocateBytes, freeClusters } from '../refcounts/allocator.js'
import { hasDataFile, imageError, type Qcow2State } from '../state.js'
import { PendingPieces } from './pending-pieces.js'
import { writeGuest } from './write.js'

/**
 * Writes `data` at `offset`, compressed. EINVAL for what is no whole clusters (the last one may end with the disk), EIO where
 * a cluster is there already, ENOTSUP where the image cannot.
 */
export async function writeCompressed(state: Qcow2State, offset: GuestOffset, data: Bytes): Promise<void> {
  const { clusterSize } = state.layout
  if (hasDataFile(state)) throw imageError(state, 'ENOTSUP', 'an external data file holds no compressed clusters')
  if (state.compressor === undefined) throw imageError(state, 'ENOTSUP', 'this host cannot compress clusters')
  const end = offset + data.byteLength
  if (offset % clusterSize !== 0 || (end % clusterSize !== 0 && end !== state.header.size)) {
    throw imageError(state, 'EINVAL', 'compressed data is written in whole clusters')
  }
  const pieces = new PendingPieces()
  // Each waits for the one before it when it comes to taking a place.
  let before: Promise<void> = Promise.resolve()
  for (let done = 0; done < data.byteLength && !pieces.failed; done += clusterSize) {
    await pieces.room()
    const turn = before
    const part = sliceBytes(data, done, Math.min(done + clusterSize, data.byteLength))
    const piece = writeOne(state, guest(offset + done), part, turn)
    before = piece.then(undefined, () => {})
    pieces.add(piece)
  }
  await pieces.settled()
}

async function writeOne(state: Qcow2State, offset: GuestOffset, data: Bytes, turn: Promise<void>): Promise<void> {
  const { clusterSize } = state.layout
  const cluster = data.byteLength === clusterSize ? flattenBytes(data) : padded(data, clusterSize)
  let packed: Uint8Array | undefined
  try {
    packed = await state.compressor?.compress(cluster, clusterSize - 1)
  } finally {
    await turn
  }
  if (packed === undefined) {
    await writeGuest(state, offset, data)
    return
  }
  const bytes = packed
  for (;;) {
    const conflict = await state.lock.runExclusive(async () => {
      const found = state.allocations.conflict(offset, guest(offset + clusterSize))
      if (found === undefined) await storeCompressed(state, offset, bytes)
      return found
    })
    if (conflict === undefined) return
    await conflict.ended
  }
}

function padded(data: Bytes, clusterSize: number): Uint8Array {
  const cluster = new Uint8Array(clusterSize)
  cluster.set(flattenBytes(data))
  return cluster
}

/** Under the lock as a whole: the next cluster may share a sector with this one. */
async function storeCompressed(state: Qcow2State, offset: GuestOffset, packed: Uint8Array): Promise<void> {
  await beginWriting(state)
  await beginAllocating(state)
  const { layout, l2Cache } = state
  const slice = await writableSlice(state, offset)
  try {
    refuseOverwrite(state, entryAt(layout, slice, slice.index), offset)
    const place = await allocateBytes(state, packed.byteLength)
    try {
      refuseOverlap(state, place, packed.byteLength, [])
      await settleRange(state.file.node, place, packed.byteLength)
      if (isWatched(state)) await reach(state, 'write_compressed')
      await write(state.file, place, packed)
    } catch (error) {
      await freePlace(state, place, packed.byteLength)
      throw error
    }
    if (!postponesRefcounts(state)) await l2Cache.dependOn(state.refcountCache)
    l2Cache.dependOnFlush()
    if (isWatched(state)) await reach(state, 'l2_update_compressed')
    const { high, low } = encodeCompressed(layout, place, packed.byteLength)
    putEntry(layout, slice, slice.index, { high, low, zeroBits: 0, allocatedBits: 0 })
    l2Cache.markDirty(slice.entry)
  } finally {
    l2Cache.release(slice.entry)
  }
}

function refuseOverwrite(state: Qcow2State, entry: { high: number; low: number }, offset: GuestOffset): void {
  const used = (entry.high & (COMPRESSED_HIGH | COPIED_HIGH)) !== 0 || entryOffset(entry.high, entry.low) !== 0
  if (!used) return
  throw new BlockError('EIO', `the cluster at ${offset} is there already; a compressed write does not replace it`, {
    node: state.node.nodeName,
  })
}

async function freePlace(state: Qcow2State, place: HostOffset, bytes: number): Promise<void> {
  const start = clusterStart(state.layout, place)
  await freeClusters(state, start, place + bytes - start, 'never')
}
