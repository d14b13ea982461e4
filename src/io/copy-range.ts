// Copying between nodes without the bytes passing through this process. The request goes down the source to the leaf
// that holds the data, then down the target to the leaf that takes it. Never emulated: ENOTSUP means that the caller reads
// and writes, and does not ask again. Each node on the way has a request of its own in flight, part of the one before.

import { BlockError } from '../common/error.js'
import {
  BDRV_REQ_FUA,
  BDRV_REQ_NO_FALLBACK,
  BDRV_REQ_NO_WAIT,
  BDRV_REQ_ZERO_WRITE,
  type RequestFlags,
} from '../common/request.js'
import { isAligned, type Offset } from '../common/units.js'
import type { BlockChild, BlockDriverState } from './block-node.js'
import { MAX_NESTING, nested, nesting, unwound } from './nesting.js'
import { nodeError } from './node-error.js'
import type { CopySource, CopyTarget } from './node-io.js'
import type { TrackedRequest } from './request-state.js'
import { checkData, checkWritable, checkWriteFlags } from './stages/check.js'
import { flushForFua, zeroDriver } from './stages/dispatch.js'
import { prepareWrite } from './stages/prepare.js'
import { makePartOf, waitForConflicts } from './stages/serialise.js'
import { settleWrite } from './stages/settle.js'
import { enter, leave } from './stages/track.js'
import { writeZeroes } from './write-zeroes.js'

/**
 * Copies `bytes` bytes. ENOTSUP where either side cannot; EINVAL for NO_FALLBACK and NO_WAIT, and where the source ends
 * before the range does; else as a write. With ZERO_WRITE the target range becomes zero.
 */
export async function copyRange(
  source: BlockChild,
  sourceOffset: Offset,
  target: BlockChild,
  targetOffset: Offset,
  bytes: number,
  flags: RequestFlags = 0,
): Promise<void> {
  if ((flags & (BDRV_REQ_NO_FALLBACK | BDRV_REQ_NO_WAIT)) !== 0) {
    const message = 'no-fallback and no-wait do not apply to a copy'
    throw new BlockError('EINVAL', message, { node: target.node.nodeName, op: 'copy-range' })
  }
  if ((flags & BDRV_REQ_ZERO_WRITE) !== 0) {
    await writeZeroes(target, targetOffset, bytes, flags & ~BDRV_REQ_ZERO_WRITE)
    return
  }
  checkTarget(target, targetOffset, bytes, flags)
  const into: CopyTarget = {
    copyFrom: (leaf, from, to, count, given) => copyRangeTo(target, leaf, from, to, count, given),
  }
  await copyRangeFrom(source, sourceOffset, into, targetOffset, bytes, flags)
}

/** The reading half. Drivers call it to pass a copy on to a child; the leaf calls `target.copyFrom`. */
export async function copyRangeFrom(
  edge: BlockChild,
  offset: Offset,
  target: CopyTarget,
  targetOffset: Offset,
  bytes: number,
  flags: RequestFlags,
): Promise<void> {
  const { node } = edge
  checkData(node, offset, bytes, 'copy-range')
  checkCopies(node, node.io.copyRangeFrom !== undefined)
  if (offset + bytes > node.state.length) {
    throw new BlockError('EINVAL', 'the source ends before the range does', { node: node.nodeName, op: 'copy-range' })
  }
  if (bytes === 0) return
  if (nesting.depth >= MAX_NESTING) await unwound()
  const request = enter(node.state, 'read', offset, bytes)
  joinCopy(request, target)
  try {
    await waitForConflicts(request)
    const onward = targetBehind(request, target)
    await nested(() => node.io.copyRangeFrom?.(offset, onward, targetOffset, bytes, flags))
  } catch (error) {
    throw nodeError(error, node, 'copy-range')
  } finally {
    leave(request)
  }
}

/**
 * The writing half, with all that a write of the target needs. Drivers call it to pass a copy on to a child. With ZERO_WRITE, which
 * is how the reading half says that nothing is there, the range becomes zero; ENOTSUP where it has no boundaries of the target's.
 */
export async function copyRangeTo(
  edge: BlockChild,
  source: CopySource,
  sourceOffset: Offset,
  offset: Offset,
  bytes: number,
  flags: RequestFlags,
): Promise<void> {
  const { node } = edge
  checkTarget(edge, offset, bytes, flags)
  if (bytes === 0) return
  if (nesting.depth >= MAX_NESTING) await unwound()
  const request = enter(node.state, 'write', offset, bytes)
  joinCopy(request, source)
  let succeeded = false
  try {
    await prepareWrite(edge, request, flags)
    const onward = sourceBehind(request, source)
    if ((flags & BDRV_REQ_ZERO_WRITE) !== 0) {
      checkAligned(node, offset, bytes)
      await zeroDriver(node.state, offset, bytes, flags & ~BDRV_REQ_ZERO_WRITE)
    } else {
      await nested(() => node.io.copyRangeTo?.(onward, sourceOffset, offset, bytes, flags & ~BDRV_REQ_FUA))
      if ((flags & BDRV_REQ_FUA) !== 0) await flushForFua(node.state)
    }
    succeeded = true
  } catch (error) {
    throw nodeError(error, node, 'copy-range')
  } finally {
    settleWrite(node.state, offset, bytes, succeeded)
    leave(request)
  }
}

/** The request that handed out the end of a copy: what is reached through that is part of it. */
const handedOutBy = new WeakMap<CopyTarget | CopySource, TrackedRequest>()

function joinCopy(request: TrackedRequest, end: CopyTarget | CopySource): void {
  const whole = handedOutBy.get(end)
  if (whole !== undefined) makePartOf(request, whole)
}

function targetBehind(request: TrackedRequest, target: CopyTarget): CopyTarget {
  const onward: CopyTarget = {
    copyFrom: (leaf, from, to, count, flags) =>
      target.copyFrom(handedOutBy.has(leaf) ? leaf : sourceBehind(request, leaf), from, to, count, flags),
  }
  handedOutBy.set(onward, request)
  return onward
}

function sourceBehind(request: TrackedRequest, { node }: CopySource): CopySource {
  const onward: CopySource = { node }
  handedOutBy.set(onward, request)
  return onward
}

function checkTarget(edge: BlockChild, offset: Offset, bytes: number, flags: RequestFlags): void {
  const { node } = edge
  checkData(node, offset, bytes, 'copy-range')
  checkWriteFlags(node, flags, 'copy-range')
  checkWritable(edge, offset, bytes, flags, 'copy-range')
  checkCopies(node, node.io.copyRangeTo !== undefined)
}

/** What stands beside the range in its units would have to be read. */
function checkAligned(node: BlockDriverState, offset: Offset, bytes: number): void {
  const alignment = node.state.limits.requestAlignment
  if (isAligned(offset, alignment) && isAligned(bytes, alignment)) return
  throw new BlockError('ENOTSUP', 'the range has no boundaries of the node', { node: node.nodeName, op: 'copy-range' })
}

function checkCopies(node: BlockDriverState, able: boolean): void {
  if (able && node.driver.encrypted !== true) return
  const why = node.driver.encrypted === true ? 'is encrypted' : `has a driver ('${node.driver.name}') that cannot copy`
  throw new BlockError('ENOTSUP', `the node ${why}`, { node: node.nodeName, op: 'copy-range' })
}
