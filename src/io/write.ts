// Writing. The plain path serves an aligned write inside the node in one driver call; everything else goes through the
// stages, each of which may wait. Either way the write generation rises, failed or not, or the next flush would do nothing.

import { BlockError } from '../common/error.js'
import { type Bytes, isZeroBytes } from '../common/io-vector.js'
import { BDRV_REQUEST_MAX_BYTES, MAX_LENGTH } from '../common/limits.js'
import { BDRV_O_RDWR } from '../common/open-flags.js'
import { BLK_PERM_RESIZE, BLK_PERM_WRITE } from '../common/permissions.js'
import {
  BDRV_REQ_FUA,
  BDRV_REQ_MAY_UNMAP,
  BDRV_REQ_NO_FALLBACK,
  BDRV_REQ_NO_WAIT,
  BDRV_REQ_SERIALISING,
  BDRV_REQ_WRITE_COMPRESSED,
  BDRV_REQ_ZERO_WRITE,
  type RequestFlags,
} from '../common/request.js'
import type { Offset } from '../common/units.js'
import type { BlockChild, BlockDriverState } from './block-node.js'
import { MAX_NESTING, nesting, unwound } from './nesting.js'
import { nodeError } from './node-error.js'
import type { Completion } from './node-io.js'
import type { RequestState } from './request-state.js'
import { checkData, checkWritable, checkWriteFlags, WRITE_OPEN_FLAGS } from './stages/check.js'
import { canZero, writeDriver, zeroDriver } from './stages/dispatch.js'
import { isAlignedFor, padForWrite } from './stages/pad.js'
import { prepareWrite } from './stages/prepare.js'
import { growTo, settlePlainWrite, settleWrite } from './stages/settle.js'
import { enter, leave, track } from './stages/track.js'
import { writeZeroes } from './write-zeroes.js'

/**
 * Writes `data` at byte `offset`. Fails with EPERM where the edge or the node may not be written, EINVAL for what is no
 * request, EFBIG beyond the largest length, ENOMEDIUM for a closed node, else with what the driver says. May throw as
 * well as reject. `data` is the request's until it settles.
 */
export function write(edge: BlockChild, offset: Offset, data: Bytes, flags: RequestFlags = 0): Completion {
  const { node } = edge
  const { state } = node
  // A plain request passes every check by what makes it plain, so the checks need not run.
  if (isPlainWrite(edge, node, state, offset, data, flags)) return plainWrite(node, state, offset, data, flags)
  const bytes = data.length
  if ((flags & BDRV_REQ_ZERO_WRITE) !== 0) return writeZeroes(edge, offset, bytes, flags & ~BDRV_REQ_ZERO_WRITE)
  checkData(node, offset, bytes, 'write')
  checkWriteFlags(node, flags, 'write')
  checkWritable(edge, offset, bytes, flags, 'write')
  checkFallback(state, offset, bytes, flags)
  if (bytes === 0) return undefined
  return nesting.depth < MAX_NESTING ? carefulWrite(edge, offset, data, flags) : deepWrite(edge, offset, data, flags)
}

function isPlainWrite(
  edge: BlockChild,
  node: BlockDriverState,
  state: RequestState,
  offset: Offset,
  data: Bytes,
  flags: RequestFlags,
): boolean {
  const bytes = data.length
  const { limits } = state
  return (
    (flags & ~(state.writeFlags & BDRV_REQ_FUA)) === 0 &&
    state.writeGates === 0 &&
    (edge.perm & BLK_PERM_WRITE) !== 0 &&
    (node.openFlags & WRITE_OPEN_FLAGS) === BDRV_O_RDWR &&
    node.detectZeroes === 'off' &&
    !node.closed &&
    nesting.depth < MAX_NESTING &&
    Number.isSafeInteger(offset) &&
    offset >= 0 &&
    bytes > 0 &&
    (offset + bytes <= state.length || mayGrow(edge, offset + bytes)) &&
    ((offset | bytes) & (limits.requestAlignment - 1)) === 0 &&
    bytes <= (limits.maxTransfer === 0 ? BDRV_REQUEST_MAX_BYTES : limits.maxTransfer) &&
    bytes <= BDRV_REQUEST_MAX_BYTES &&
    node.io.write !== undefined &&
    (data instanceof Uint8Array || data.buffers.length <= limits.maxIov)
  )
}

function mayGrow(edge: BlockChild, end: Offset): boolean {
  return (edge.perm & BLK_PERM_RESIZE) !== 0 && end <= MAX_LENGTH
}

function plainWrite(
  node: BlockDriverState,
  state: RequestState,
  offset: Offset,
  data: Bytes,
  flags: RequestFlags,
): Completion {
  let pending: Completion
  nesting.depth++
  try {
    pending = node.io.write?.(offset, data, flags)
  } catch (error) {
    nesting.depth--
    settlePlainWrite(state, offset + data.length)
    throw nodeError(error, node, 'write')
  }
  nesting.depth--
  if (pending !== undefined) return track(state, 'write', offset, data.length, pending)
  settlePlainWrite(state, offset + data.length)
  growTo(state, offset + data.length)
  return undefined
}

async function carefulWrite(edge: BlockChild, offset: Offset, data: Bytes, flags: RequestFlags): Promise<void> {
  const { state } = edge.node
  const bytes = data.length
  const request = enter(state, 'write', offset, bytes)
  let succeeded = false
  try {
    await prepareWrite(edge, request, flags)
    const padded = await padForWrite(state, offset, data)
    if (becomesZero(edge.node, padded.data, flags)) {
      await zeroDriver(state, padded.offset, padded.bytes, zeroFlags(edge.node, flags))
    } else await writeDriver(state, padded.offset, padded.data, flags)
    succeeded = true
  } catch (error) {
    throw nodeError(error, edge.node, 'write')
  } finally {
    settleWrite(state, offset, bytes, succeeded)
    leave(request)
  }
}

/** A write of zeroes becomes a zero write where the node detects them and the driver knows how. */
function becomesZero(node: BlockDriverState, data: Bytes, flags: RequestFlags): boolean {
  if (node.detectZeroes === 'off' || (flags & BDRV_REQ_WRITE_COMPRESSED) !== 0) return false
  return canZero(node.state) && isZeroBytes(data)
}

function zeroFlags(node: BlockDriverState, flags: RequestFlags): RequestFlags {
  const kept = flags & ~(BDRV_REQ_SERIALISING | BDRV_REQ_NO_WAIT | BDRV_REQ_NO_FALLBACK)
  return node.detectZeroes === 'unmap' ? kept | BDRV_REQ_MAY_UNMAP : kept
}

function checkFallback(state: RequestState, offset: Offset, bytes: number, flags: RequestFlags): void {
  if ((flags & (BDRV_REQ_NO_FALLBACK | BDRV_REQ_NO_WAIT)) === 0 || isAlignedFor(state, offset, bytes)) return
  const { node } = state
  const message = `${bytes} bytes at ${offset} are not aligned to ${state.limits.requestAlignment}`
  throw new BlockError('ENOTSUP', message, { node: node.nodeName, op: 'write' })
}

async function deepWrite(edge: BlockChild, offset: Offset, data: Bytes, flags: RequestFlags): Promise<void> {
  await unwound()
  await write(edge, offset, data, flags)
}
