// What stored bitmaps hold (qcow2 specification, "Bitmap table", "Bitmap data"): read whole when an image is opened, written anew
// when it is closed. The caller holds the image's lock.

import { errnoMessage } from '../../../common/errno.js'
import { BlockError, quoteOutside, toBlockError } from '../../../common/error.js'
import { HBitmap } from '../../../common/hbitmap.js'
import { MAX_LENGTH } from '../../../common/limits.js'
import { MiB } from '../../../common/units.js'
import { read } from '../../../io/read.js'
import { write } from '../../../io/write.js'
import {
  type BitmapCluster,
  type BitmapEntry,
  bitmapTableSize,
  decodeBitmapCluster,
  encodeBitmapTable,
  MAX_BITMAP_BYTES,
} from '../format/bitmap-directory.js'
import { ENTRY_BYTES, type HostOffset, host, type Layout } from '../format/layout.js'
import { Table64 } from '../format/table.js'
import { refuseOverlap } from '../metadata/overlap.js'
import { allocateClusters, freeClusters } from '../refcounts/allocator.js'
import { writeToNewClusters } from '../snapshots/snapshot-tables.js'
import { imageError, type Qcow2State } from '../state.js'

/** Bytes of all bitmap tables together that are read when an image is opened. */
const MAX_TABLE_BYTES = 64 * MiB

/** Reads what `entries` hold, in their order. EINVAL or EIO where it cannot be read, EFBIG for more than may be in memory. */
export async function readBitmaps(state: Qcow2State, entries: readonly BitmapEntry[]): Promise<HBitmap[]> {
  const { clusterSize } = state.layout
  if (entries.reduce((sum, { tableSize }) => sum + tableSize * ENTRY_BYTES, 0) > MAX_TABLE_BYTES) throw tooMuch(state)
  const tables: BitmapCluster[][] = []
  let bytes = 0
  // Tables first: what they come to is known before anything is made of it.
  for (const entry of entries) {
    const clusters = await readTable(state, entry)
    for (const cluster of clusters) if (typeof cluster === 'number') bytes += clusterSize
    if (bytes > MAX_BITMAP_BYTES) throw tooMuch(state)
    tables.push(clusters)
  }
  const bitmaps: HBitmap[] = []
  for (const [index, entry] of entries.entries()) bitmaps.push(await readData(state, entry, tables[index] ?? []))
  return bitmaps
}

function tooMuch(state: Qcow2State): BlockError {
  return imageError(state, 'EFBIG', 'the stored bitmaps take more than the memory allowed for them')
}

async function readTable(state: Qcow2State, entry: BitmapEntry): Promise<BitmapCluster[]> {
  const { layout } = state
  if (entry.tableSize !== bitmapTableSize(state.header.size, entry.granularityBits, layout)) {
    throw imageError(state, 'EINVAL', `Could not read bitmap ${quoteOutside(entry.name)} from image: Invalid argument`)
  }
  try {
    return await decodeTable(state, entry)
  } catch (thrown) {
    const { code } = toBlockError(thrown)
    const name = quoteOutside(entry.name)
    const message = `Could not read bitmap_table table from image for bitmap ${name}: ${errnoMessage(code)}`
    throw imageError(state, code, message, thrown)
  }
}

async function decodeTable(state: Qcow2State, { tableOffset, tableSize }: BitmapEntry): Promise<BitmapCluster[]> {
  if (tableOffset > MAX_LENGTH - tableSize * ENTRY_BYTES) throw new BlockError('EINVAL', 'it lies too far behind')
  const table = Table64.ofEntries(tableSize)
  await read(state.file, tableOffset, table.bytes)
  const clusters: BitmapCluster[] = []
  for (let index = 0; index < tableSize; index++) {
    const cluster = decodeBitmapCluster(table, index, state.layout)
    if (cluster === undefined) throw new BlockError('EINVAL', `entry ${index} cannot be`)
    clusters.push(cluster)
  }
  return clusters
}

async function readData(state: Qcow2State, entry: BitmapEntry, clusters: readonly BitmapCluster[]): Promise<HBitmap> {
  const { layout, header } = state
  const bitmap = new HBitmap(header.size, 2 ** entry.granularityBits)
  const coverage = clusterCoverage(layout, bitmap)
  for (const [index, cluster] of clusters.entries()) {
    if (cluster === 'zeroes') continue
    const start = index * coverage
    const bytes = Math.min(coverage, header.size - start)
    if (cluster === 'ones') bitmap.deserializeOnes(start, bytes)
    else
      bitmap.deserializePart(
        await readCluster(state, entry, cluster, bitmap.serializationSize(start, bytes)),
        start,
        bytes,
      )
  }
  return bitmap
}

async function readCluster(
  state: Qcow2State,
  entry: BitmapEntry,
  offset: HostOffset,
  bytes: number,
): Promise<Uint8Array> {
  const data = new Uint8Array(bytes)
  try {
    await read(state.file, offset, data)
  } catch (thrown) {
    const { code } = toBlockError(thrown)
    const message = `Could not read bitmap ${quoteOutside(entry.name)} from image: ${errnoMessage(code)}`
    throw imageError(state, code, message, thrown)
  }
  return data
}

/** Bytes of the disk that one cluster of a bitmap describes. */
function clusterCoverage(layout: Layout, bitmap: HBitmap): number {
  return layout.clusterSize * 8 * bitmap.granularity
}

/** Writes a bitmap to clusters of its own, clean ones left out, and its table behind them. What fails gives them back. */
export async function writeBitmap(state: Qcow2State, bitmap: HBitmap): Promise<{ offset: HostOffset; size: number }> {
  const { layout } = state
  const size = bitmapTableSize(bitmap.length, Math.log2(bitmap.granularity), layout)
  const clusters = new Array<HostOffset>(size).fill(host(0))
  try {
    const coverage = clusterCoverage(layout, bitmap)
    for (let at = bitmap.nextDirty(0); at !== undefined; ) {
      const index = Math.floor(at / coverage)
      const start = index * coverage
      const bytes = Math.min(coverage, bitmap.length - start)
      const data = new Uint8Array(layout.clusterSize)
      data.set(bitmap.serializePart(start, bytes))
      const offset = await allocateClusters(state, layout.clusterSize)
      clusters[index] = offset
      refuseOverlap(state, offset, layout.clusterSize, [])
      await write(state.file, offset, data)
      at = bitmap.nextDirty(start + bytes)
    }
    return { offset: await writeToNewClusters(state, encodeBitmapTable(clusters)), size }
  } catch (error) {
    for (const offset of clusters) if (offset !== 0) await freeClusters(state, offset, layout.clusterSize, 'never')
    throw error
  }
}

/** Frees the clusters of a stored bitmap that nothing names any more. A table that cannot be read leaves leaks. */
export async function freeBitmap(state: Qcow2State, entry: BitmapEntry): Promise<void> {
  const { clusterSize } = state.layout
  try {
    for (const cluster of await decodeTable(state, entry)) {
      if (typeof cluster === 'number') await freeClusters(state, cluster, clusterSize, 'always')
    }
    await freeClusters(state, entry.tableOffset, entry.tableSize * ENTRY_BYTES, 'other')
  } catch (error) {
    if (!(error instanceof BlockError)) throw error
  }
}
