// The disk an image shows, as the tools see it: its length is rounded up to whole sectors, and the bytes behind the last
// real one read as zero. Status is asked layer by layer, filters left out.

import type { BlockDriverInfo } from '../common/block-info.js'
import {
  BDRV_BLOCK_ALLOCATED,
  BDRV_BLOCK_DATA,
  BDRV_BLOCK_OFFSET_VALID,
  BDRV_BLOCK_ZERO,
} from '../common/block-status.js'
import { type Bytes, sliceBytes, zeroBytes } from '../common/io-vector.js'
import { BDRV_SECTOR_SIZE } from '../common/limits.js'
import { alignUp, type Offset } from '../common/units.js'
import { type BlockDriverState, backingChainNext, skipFilters } from '../io/block-node.js'
import { blockStatus } from '../io/block-status.js'
import { nodeInfo } from '../io/node-info.js'
import type { OpenImage } from './session.js'

/** A range with one status. */
export interface Extent {
  /** Greater than 0. */
  bytes: number
  data: boolean
  zero: boolean
  /** Some layer decides what is read. */
  present: boolean
  /** The layer that decides: 0 is the image itself, 1 its backing file, and so on. */
  depth: number
  /** Host offset in `file`. */
  map?: Offset
  file?: BlockDriverState
}

/** Bytes of the disk. */
export function virtualSize(image: OpenImage): Offset {
  return alignUp(image.node.state.length, BDRV_SECTOR_SIZE)
}

/** The status of what begins at `offset`, for `bytes` bytes at most. The range lies inside the disk and is not empty. */
export async function extentAt(image: OpenImage, offset: Offset, bytes: number): Promise<Extent> {
  const { length } = image.node.state
  if (offset >= length) return tailExtent(image, offset, bytes)
  let wanted = Math.min(bytes, length - offset)
  let layer: BlockDriverState = skipFilters(image.node)
  for (let depth = 0; ; depth++) {
    const status = await blockStatus(layer, offset, wanted, 'precise')
    // A layer that ends here: what is above it reads zeroes.
    if (status.bytes === 0) return { bytes: wanted, data: false, zero: true, present: true, depth }
    wanted = status.bytes
    const decided = (status.bits & (BDRV_BLOCK_DATA | BDRV_BLOCK_ZERO)) !== 0
    const below = decided ? undefined : backingChainNext(layer)
    if (below !== undefined) {
      layer = below
      continue
    }
    if (!decided) return { bytes: wanted, data: false, zero: false, present: false, depth: 0 }
    const mapped = (status.bits & BDRV_BLOCK_OFFSET_VALID) !== 0
    return {
      bytes: wanted,
      data: (status.bits & BDRV_BLOCK_DATA) !== 0,
      zero: (status.bits & BDRV_BLOCK_ZERO) !== 0,
      present: (status.bits & BDRV_BLOCK_ALLOCATED) !== 0,
      depth,
      ...(mapped && status.map !== undefined ? { map: status.map } : {}),
      ...(mapped && status.file !== undefined ? { file: status.file } : {}),
    }
  }
}

/** Behind the last real byte everything is zero; it stands where that byte does on the host. */
async function tailExtent(image: OpenImage, offset: Offset, bytes: number): Promise<Extent> {
  const { length } = image.node.state
  const last = await extentAt(image, length - 1, 1)
  return { ...last, bytes, data: false, zero: true, present: true, ...shifted(last.map, offset - length + 1) }
}

function shifted(map: Offset | undefined, by: number): { map?: Offset } {
  return map === undefined ? {} : { map: map + by }
}

/** Fills `into` with what the disk holds from `offset` on. */
export async function readDisk(image: OpenImage, offset: Offset, into: Bytes): Promise<void> {
  const real = Math.max(0, Math.min(into.byteLength, image.node.state.length - offset))
  if (real > 0) await image.backend.read(offset, sliceBytes(into, 0, real))
  if (real < into.byteLength) zeroBytes(into, real)
}

/** The facts of the format; those of the file where the format has none of its own. */
export async function formatFacts(node: BlockDriverState): Promise<BlockDriverInfo> {
  try {
    return await nodeInfo(node)
  } catch (thrown) {
    if (node.file === undefined) throw thrown
    return formatFacts(node.file.node)
  }
}
