// Zero writes: a range becomes zero without a buffer. Aligned ones go to the driver in its own pieces; the unaligned ends
// of others are written as data, after reading what stands beside them.

import { BlockError } from '../common/error.js'
import {
  BDRV_REQ_MAY_UNMAP,
  BDRV_REQ_NO_FALLBACK,
  BDRV_REQ_NO_WAIT,
  BDRV_REQ_SERIALISING,
  BDRV_REQ_WRITE_COMPRESSED,
  BDRV_REQ_ZERO_WRITE,
  type RequestFlags,
} from '../common/request.js'
import { alignDown, alignUp, type Offset } from '../common/units.js'
import type { BlockChild } from './block-node.js'
import { MAX_NESTING, nesting, unwound } from './nesting.js'
import { nodeError } from './node-error.js'
import type { Completion } from './node-io.js'
import type { RequestState } from './request-state.js'
import { checkOpen, checkRange, checkWritable, checkWriteFlags } from './stages/check.js'
import { writeDriver, zeroDriver } from './stages/dispatch.js'
import { isAlignedFor, padForWrite } from './stages/pad.js'
import { prepareWrite } from './stages/prepare.js'
import { settleWrite } from './stages/settle.js'
import { enter, leave } from './stages/track.js'

/**
 * Makes `bytes` bytes from byte `offset` on read as zeroes; any number of bytes. MAY_UNMAP allows deallocation, NO_FALLBACK
 * fails with ENOTSUP rather than write zeroes or touch an unaligned range. Fails else as {@link write} does.
 */
export function writeZeroes(edge: BlockChild, offset: Offset, bytes: number, flags: RequestFlags = 0): Completion {
  const { node } = edge
  checkOpen(node, 'write-zeroes')
  checkRange(node, offset, bytes, 'write-zeroes')
  checkWriteFlags(node, flags, 'write-zeroes')
  if ((flags & BDRV_REQ_WRITE_COMPRESSED) !== 0) {
    throw new BlockError('EINVAL', 'a zero write is not compressed', { node: node.nodeName, op: 'write-zeroes' })
  }
  checkWritable(edge, offset, bytes, flags, 'write-zeroes')
  checkFallback(node.state, offset, bytes, flags)
  if (bytes === 0) return undefined
  const wanted = flags & ~BDRV_REQ_ZERO_WRITE
  return nesting.depth < MAX_NESTING
    ? carefulZeroes(edge, offset, bytes, wanted)
    : deepZeroes(edge, offset, bytes, wanted)
}

async function carefulZeroes(edge: BlockChild, offset: Offset, bytes: number, flags: RequestFlags): Promise<void> {
  const { state } = edge.node
  const request = enter(state, 'write-zeroes', offset, bytes)
  let succeeded = false
  try {
    await prepareWrite(edge, request, flags)
    const alignment = state.limits.requestAlignment
    const end = offset + bytes
    const start = Math.min(alignUp(offset, alignment), end)
    const stop = Math.max(alignDown(end, alignment), start)
    const rest = flags & ~BDRV_REQ_MAY_UNMAP
    // A range inside one unit has a head only.
    if (start > offset) await writeEnd(state, offset, start - offset, rest)
    if (stop > start) await zeroDriver(state, start, stop - start, flags)
    if (end > stop) await writeEnd(state, stop, end - stop, rest)
    succeeded = true
  } catch (error) {
    throw nodeError(error, edge.node, 'write-zeroes')
  } finally {
    settleWrite(state, offset, bytes, succeeded)
    leave(request)
  }
}

/** Zeroes less than a unit of alignment at the head or the tail. */
async function writeEnd(state: RequestState, offset: Offset, bytes: number, flags: RequestFlags): Promise<void> {
  const padded = await padForWrite(state, offset, new Uint8Array(bytes))
  await writeDriver(state, padded.offset, padded.data, flags)
}

function checkFallback(state: RequestState, offset: Offset, bytes: number, flags: RequestFlags): void {
  const strict = BDRV_REQ_NO_FALLBACK | (flags & BDRV_REQ_SERIALISING ? BDRV_REQ_NO_WAIT : 0)
  if ((flags & strict) === 0 || isAlignedFor(state, offset, bytes)) return
  const { node } = state
  const message = `${bytes} bytes at ${offset} are not aligned to ${state.limits.requestAlignment}`
  throw new BlockError('ENOTSUP', message, { node: node.nodeName, op: 'write-zeroes' })
}

async function deepZeroes(edge: BlockChild, offset: Offset, bytes: number, flags: RequestFlags): Promise<void> {
  await unwound()
  await writeZeroes(edge, offset, bytes, flags)
}
