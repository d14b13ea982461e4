// Block status of one node and of a chain: where data is, what reads as zero, which layer decides. A driver
// answers for its own layer; recursion into `file`, clamping, the allocated and end bits are added here.

import { assert } from '../common/assert.js'
import {
  BDRV_BLOCK_ALLOCATED,
  BDRV_BLOCK_DATA,
  BDRV_BLOCK_EOF,
  BDRV_BLOCK_OFFSET_VALID,
  BDRV_BLOCK_RAW,
  BDRV_BLOCK_RECURSE,
  BDRV_BLOCK_ZERO,
} from '../common/block-status.js'
import { alignDown, alignUp, type Offset } from '../common/units.js'
import { type BlockDriverState, cowChild, filterChild, filterOrCowChild } from './block-node.js'
import { MAX_NESTING, nested, nesting, unwound } from './nesting.js'
import { nodeError } from './node-error.js'
import type { StatusExtent, StatusMode } from './node-io.js'
import { checkOpen, checkRange } from './stages/check.js'
import { enter, leave } from './stages/track.js'
import { cachedDataBytes, fillStatusCache } from './status-cache.js'

/** What is known of a range that begins at the offset asked for. */
export interface BlockStatus {
  /** `BDRV_BLOCK_*`. */
  bits: number
  /** Bytes for which it holds; 0 only at or behind the end, or where 0 were asked for. */
  bytes: number
  /** Host offset in `file`, with OFFSET_VALID. */
  map?: Offset
  file?: BlockDriverState
  /** The layer that decides: 1 is the node asked, 0 none of those asked. Filters count. */
  depth: number
}

/** The status of `node` itself: backing files are not looked at, but for whether one is there. */
export async function blockStatus(
  node: BlockDriverState,
  offset: Offset,
  bytes: number,
  mode: StatusMode = 'precise',
): Promise<BlockStatus> {
  checkOpen(node, 'block-status')
  checkRange(node, offset, bytes, 'block-status')
  if (nesting.depth >= MAX_NESTING) await unwound()
  const { state } = node
  if (offset >= state.length) return { bits: BDRV_BLOCK_EOF, bytes: 0, depth: 0 }
  if (bytes === 0) return { bits: 0, bytes: 0, depth: 0 }
  const request = enter(state, 'block-status', offset, bytes)
  try {
    const status = await ownStatus(node, offset, Math.min(bytes, state.length - offset), mode)
    status.bits &= ~(BDRV_BLOCK_EOF | BDRV_BLOCK_RAW | BDRV_BLOCK_RECURSE)
    if (offset + status.bytes >= state.length) status.bits |= BDRV_BLOCK_EOF
    status.depth = (status.bits & BDRV_BLOCK_ALLOCATED) !== 0 ? 1 : 0
    return status
  } catch (error) {
    throw nodeError(error, node, 'block-status')
  } finally {
    leave(request)
  }
}

/**
 * The status of what a reader of `node` sees, looking through the layers down to `base` (exclusive, unless `includeBase`);
 * without a base, through all. A layer that ends before the range counts as zeroes allocated there.
 */
export async function blockStatusAbove(
  node: BlockDriverState,
  base: BlockDriverState | undefined,
  offset: Offset,
  bytes: number,
  mode: StatusMode = 'precise',
  includeBase = false,
): Promise<BlockStatus> {
  if (node === base && !includeBase) return { bits: 0, bytes, depth: 0 }
  let status = await blockStatus(node, offset, bytes, mode)
  if (status.bytes === 0) return status
  let depth = 1
  let current = node
  while ((status.bits & BDRV_BLOCK_ALLOCATED) === 0 && current !== base) {
    const next = filterOrCowChild(current)?.node
    if (next === undefined || (next === base && !includeBase)) break
    const left = status.bytes
    status = await blockStatus(next, offset, left, mode)
    depth++
    current = next
    if (status.bytes === 0) {
      status = { bits: BDRV_BLOCK_ZERO | BDRV_BLOCK_ALLOCATED, bytes: left, file: next, depth }
    }
  }
  status.bits &= ~BDRV_BLOCK_EOF
  if (offset + status.bytes >= node.state.length) status.bits |= BDRV_BLOCK_EOF
  status.depth = (status.bits & BDRV_BLOCK_ALLOCATED) !== 0 ? depth : 0
  return status
}

/** Whether the content of a range that begins at `offset` is decided by `node` itself, and for how many bytes that holds. */
export async function isAllocated(
  node: BlockDriverState,
  offset: Offset,
  bytes: number,
): Promise<{ allocated: boolean; bytes: number }> {
  const status = await blockStatus(node, offset, bytes, 'fast')
  return { allocated: (status.bits & BDRV_BLOCK_ALLOCATED) !== 0, bytes: status.bytes }
}

/** Which layer from `node` down to `base` decides: depth 1 is `node`, 0 none; and for how many bytes that holds. */
export async function isAllocatedAbove(
  node: BlockDriverState,
  base: BlockDriverState | undefined,
  includeBase: boolean,
  offset: Offset,
  bytes: number,
): Promise<{ depth: number; bytes: number }> {
  const { depth, bytes: known } = await blockStatusAbove(node, base, offset, bytes, 'fast', includeBase)
  return { depth, bytes: known }
}

/** Whether all of a range reads as zeroes, as far as status tells; false where it would have to be read. */
export async function isZeroFast(node: BlockDriverState, offset: Offset, bytes: number): Promise<boolean> {
  for (let at = offset; at < offset + bytes; ) {
    const status = await blockStatusAbove(node, undefined, at, offset + bytes - at)
    // What lies behind the end reads as zeroes.
    if (status.bytes === 0) return true
    if ((status.bits & BDRV_BLOCK_ZERO) === 0) return false
    at += status.bytes
  }
  return true
}

/** The range is inside the node and not empty. */
async function ownStatus(
  node: BlockDriverState,
  offset: Offset,
  bytes: number,
  mode: StatusMode,
): Promise<BlockStatus> {
  const { io, driver } = node
  const child = filterChild(node)
  if (io.blockStatus === undefined && child === undefined) {
    const bits = BDRV_BLOCK_DATA | BDRV_BLOCK_ALLOCATED
    if (driver.kind !== 'protocol') return { bits, bytes, depth: 1 }
    return { bits: bits | BDRV_BLOCK_OFFSET_VALID, bytes, map: offset, file: node, depth: 1 }
  }
  const alignment = node.state.limits.requestAlignment
  const start = alignDown(offset, alignment)
  const extent = await askLayer(node, start, alignUp(offset + bytes, alignment) - start, mode)
  const shift = offset - start
  // An extent that ends with the node, or did when it was remembered, may end within a unit.
  const status: BlockStatus = {
    bits: extent.bits,
    bytes: Math.min(alignUp(extent.bytes, alignment) - shift, bytes),
    depth: 0,
  }
  // A driver that names no file means its own node.
  if (extent.file !== undefined) status.file = extent.file
  else if ((extent.bits & BDRV_BLOCK_OFFSET_VALID) !== 0) status.file = node
  if (extent.map !== undefined) status.map = extent.map + shift
  if ((status.bits & BDRV_BLOCK_RAW) !== 0) return followRaw(status, mode)
  if ((status.bits & (BDRV_BLOCK_DATA | BDRV_BLOCK_ZERO)) !== 0) status.bits |= BDRV_BLOCK_ALLOCATED
  else if (driver.supportsBacking && readsZeroBelow(node, offset, mode)) status.bits |= BDRV_BLOCK_ZERO
  if (mode === 'precise') await lookForZeroes(node, status)
  return status
}

async function askLayer(
  node: BlockDriverState,
  offset: Offset,
  bytes: number,
  mode: StatusMode,
): Promise<StatusExtent> {
  const { io, state } = node
  const child = filterChild(node)
  if (io.blockStatus === undefined && child !== undefined) {
    return { bits: BDRV_BLOCK_RAW | BDRV_BLOCK_OFFSET_VALID, bytes, map: offset, file: child.node }
  }
  const leaf = node.children.length === 0
  const cached = leaf ? cachedDataBytes(state, offset) : 0
  if (cached > 0) return { bits: BDRV_BLOCK_DATA | BDRV_BLOCK_OFFSET_VALID, bytes: cached, map: offset, file: node }
  const length = state.length
  const generation = state.writeGeneration
  const extent = await nested(() => io.blockStatus?.(offset, bytes, mode))
  assert(extent !== undefined && extent.bytes > 0, `${node.nodeName}: a status extent has to be longer than 0 bytes`)
  const isData = extent.bits === (BDRV_BLOCK_DATA | BDRV_BLOCK_OFFSET_VALID)
  const isOwn = extent.map === offset && (extent.file ?? node) === node
  // What changed while the driver was asked may have invalidated the answer already.
  const isFresh = length === state.length && generation === state.writeGeneration && state.inFlight === 1
  if (leaf && mode === 'precise' && isData && isOwn && isFresh) fillStatusCache(state, offset, offset + extent.bytes)
  return extent
}

async function followRaw(status: BlockStatus, mode: StatusMode): Promise<BlockStatus> {
  const { file, map, bytes } = status
  assert(file !== undefined && map !== undefined, 'a raw status extent has to name a file and an offset')
  const found = await nested(() => blockStatus(file, map, bytes, mode))
  if (found.bytes > 0) return found
  return { bits: BDRV_BLOCK_ZERO | BDRV_BLOCK_ALLOCATED, bytes, depth: 0 }
}

function readsZeroBelow(node: BlockDriverState, offset: Offset, mode: StatusMode): boolean {
  const backing = cowChild(node)
  return backing === undefined || (mode === 'precise' && offset >= backing.node.state.length)
}

/** The file below may know more: a data extent whose bytes were never written reads as zero. */
async function lookForZeroes(node: BlockDriverState, status: BlockStatus): Promise<void> {
  const { bits, file, map } = status
  const wanted = BDRV_BLOCK_RECURSE | BDRV_BLOCK_DATA | BDRV_BLOCK_OFFSET_VALID
  if ((bits & wanted) !== wanted || (bits & BDRV_BLOCK_ZERO) !== 0) return
  if (file === undefined || map === undefined || file === node) return
  try {
    const below = await nested(() => blockStatus(file, map, status.bytes, 'precise'))
    if ((below.bits & BDRV_BLOCK_EOF) !== 0 && (below.bytes === 0 || (below.bits & BDRV_BLOCK_ZERO) !== 0)) {
      status.bits |= BDRV_BLOCK_ZERO
    } else {
      status.bytes = Math.min(status.bytes, below.bytes)
      status.bits |= below.bits & BDRV_BLOCK_ZERO
    }
  } catch {
    // The answer of this layer stands on its own; the file below could only have refined it.
  }
}
