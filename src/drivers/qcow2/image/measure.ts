// How large a new image would be, before it is made: tables for the disk, refcounts for all of it, and data for what the source
// holds.

import { BDRV_BLOCK_ALLOCATED, BDRV_BLOCK_DATA, BDRV_BLOCK_ZERO } from '../../../common/block-status.js'
import { BlockError, quoteOutside } from '../../../common/error.js'
import { PREALLOCATION_MODES } from '../../../common/option-names.js'
import { alignUp, type Offset } from '../../../common/units.js'
import type { ImageMeasure, MeasureContext } from '../../../global-state/driver.js'
import type { BlockDriverState } from '../../../io/block-node.js'
import { blockStatusAbove } from '../../../io/block-status.js'
import type { DirtyBitmap } from '../../../io/dirty-bitmap.js'
import { planEncryption } from '../encryption/create-encryption.js'
import { bitmapDirectoryBytes, bitmapTableSize } from '../format/bitmap-directory.js'
import { clustersFor, createLayout, ENTRY_BYTES, type Layout, l1EntriesFor, MAX_L1_BYTES } from '../format/layout.js'
import { refcountStructures } from '../format/refcount-size.js'
import {
  clusterBitsOf,
  DEFAULT_REFCOUNT_BITS,
  judgeSubclusters,
  type Qcow2CreateValues,
  refcountOrderOf,
} from './create-options.js'

/** Measures an image with creation options that were read. EINVAL for options that cannot be, EFBIG for a disk too large. */
export async function measureQcow2(context: MeasureContext, options: Record<string, unknown>): Promise<ImageMeasure> {
  const values = options as Qcow2CreateValues
  const { layout, keepsBitmaps, preallocation } = judge(values)
  const { clusterSize } = layout
  const length = alignUp(values.size, clusterSize)
  if (l1EntriesFor(layout, length) * ENTRY_BYTES > MAX_L1_BYTES) {
    throw new BlockError('EFBIG', 'The image size is too large (try using a larger cluster size)', { op: 'measure' })
  }
  const encryption = options['encrypt.format'] === 'luks' ? planEncryption(context, options) : undefined
  const metadata = metadataBytes(layout, length) + alignUp(encryption?.headerBytes ?? 0, clusterSize)
  const { source } = context
  const all = preallocation === 'falloc' || preallocation === 'full'
  // What an overlay need not hold is not known here: at worst it holds everything.
  const guessed = source !== undefined && values.backing_file !== undefined
  const data = all || guessed ? length : source === undefined ? 0 : await dataBytes(source, clusterSize)
  return {
    required: metadata + data,
    fullyAllocated: metadata + length,
    ...(keepsBitmaps && context.bitmaps !== undefined
      ? { bitmaps: bitmapBytes(context.bitmaps, values.size, layout) }
      : {}),
  }
}

/** Less is judged than at creation: what has no influence is not looked at. */
function judge(values: Qcow2CreateValues) {
  const { compat = '1.1', refcount_bits: refcountBits, preallocation: word = 'off', extended_l2: extended } = values
  const clusterBits = clusterBitsOf(values.cluster_size)
  judgeSubclusters(extended, clusterBits)
  if (compat !== '0.10' && compat !== '1.1') throw invalid(`Invalid compatibility level: ${quoteOutside(compat)}`)
  const layout = createLayout(clusterBits, refcountOrderOf(refcountBits), extended)
  if (compat === '0.10' && refcountBits !== DEFAULT_REFCOUNT_BITS) {
    throw invalid(
      'Different refcount widths than 16 bits require compatibility level 1.1 or above (use compat=1.1 or greater)',
    )
  }
  const preallocation = PREALLOCATION_MODES.find((mode) => mode === word)
  if (preallocation === undefined) throw invalid(`invalid parameter value: ${word}`)
  return { layout, keepsBitmaps: compat === '1.1', preallocation }
}

/** Header, L1 and L2 tables of a disk of `length` bytes, and refcounts for these and all of its data. */
function metadataBytes(layout: Layout, length: Offset): number {
  const { clusterSize, l2EntryBytes } = layout
  const dataClusters = length / clusterSize
  const tables = Math.ceil((dataClusters * l2EntryBytes) / clusterSize)
  const mapping = 1 + clustersFor(layout, tables * ENTRY_BYTES) + tables
  const refcounts = refcountStructures(layout, mapping + dataClusters, false)
  return (mapping + refcounts.blocks + refcounts.tableClusters) * clusterSize
}

/** Whole clusters for what is data in any layer of the source. */
async function dataBytes(source: BlockDriverState, clusterSize: number): Promise<number> {
  const { length } = source.state
  let bytes = 0
  for (let at = 0; at < length; ) {
    const status = await blockStatusAbove(source, undefined, at, length - at)
    if (status.bytes === 0) break
    const isData = (status.bits & BDRV_BLOCK_DATA) !== 0 && (status.bits & BDRV_BLOCK_ALLOCATED) !== 0
    if ((status.bits & BDRV_BLOCK_ZERO) !== 0 || !isData) {
      at += status.bytes
      continue
    }
    // All of the clusters it begins and ends in: the next look is behind them.
    const end = alignUp(at + status.bytes, clusterSize)
    bytes += end - (at - (at % clusterSize))
    at = end
  }
  return bytes
}

function bitmapBytes(bitmaps: readonly DirtyBitmap[], length: Offset, layout: Layout): number {
  let clusters = 0
  for (const { bits } of bitmaps) {
    const data = bitmapTableSize(length, Math.log2(bits.granularity), layout)
    clusters += data + clustersFor(layout, data * ENTRY_BYTES)
  }
  const directory = bitmapDirectoryBytes(bitmaps.map(({ name = '' }) => name))
  return (clusters + clustersFor(layout, directory)) * layout.clusterSize
}

function invalid(message: string): BlockError {
  return new BlockError('EINVAL', message, { op: 'measure' })
}
