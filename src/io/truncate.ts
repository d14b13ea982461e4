// Changing the length of a node, and learning that it has changed.

import { BlockError } from '../common/error.js'
import { MAX_LENGTH } from '../common/limits.js'
import { BDRV_REQ_ZERO_WRITE, type RequestFlags } from '../common/request.js'
import { alignDown, type Offset } from '../common/units.js'
import { type BlockChild, type BlockDriverState, cowChild, filterChild } from './block-node.js'
import { MAX_NESTING, nested, nesting, unwound } from './nesting.js'
import { nodeError } from './node-error.js'
import type { Completion, TruncateOptions } from './node-io.js'
import type { TrackedRequest } from './request-state.js'
import { checkOpen, checkResizable } from './stages/check.js'
import { claim, waitForConflicts } from './stages/serialise.js'
import { setLength } from './stages/settle.js'
import { enter, leave } from './stages/track.js'

/**
 * Makes the node `length` bytes long; by default exactly, without preallocation. Rejects with EACCES for a read-only node,
 * EPERM without the resize permission, EINVAL or EFBIG for what is no length, ENOTSUP where the driver cannot. A grown
 * area never shows data of a longer backing file.
 */
export async function truncate(
  edge: BlockChild,
  length: Offset,
  options: Partial<TruncateOptions> = {},
): Promise<void> {
  const { node } = edge
  checkOpen(node, 'truncate')
  checkLength(node, length)
  checkResizable(edge, 'truncate')
  if (nesting.depth >= MAX_NESTING) await unwound()
  const request = enter(node.state, 'truncate', Math.min(length, node.state.length), 0)
  try {
    await claimRange(request, length)
    checkResizable(edge, 'truncate')
    const flags = options.flags ?? 0
    const wanted: TruncateOptions = {
      exact: options.exact ?? true,
      preallocation: options.preallocation ?? 'off',
      flags: uncoversBacking(node, length) ? flags | BDRV_REQ_ZERO_WRITE : flags,
    }
    await truncateDriver(node, length, wanted)
    await learnLength(node, length)
  } catch (error) {
    throw nodeError(error, node, 'truncate')
  } finally {
    node.state.writeGeneration++
    leave(request)
  }
}

/** Asks the driver for the length of the node, and tells the parents where it has changed. EFBIG beyond the cap. */
export function refreshLength(node: BlockDriverState): Completion {
  checkOpen(node, 'length')
  let length: Offset | Promise<Offset>
  try {
    length = nested(() => node.io.length())
  } catch (error) {
    throw nodeError(error, node, 'length')
  }
  if (typeof length === 'number') return acceptLength(node, length)
  return awaitLength(node, length)
}

async function awaitLength(node: BlockDriverState, length: Promise<Offset>): Promise<void> {
  const request = enter(node.state, 'truncate', 0, 0)
  try {
    acceptLength(node, await length)
  } catch (error) {
    throw nodeError(error, node, 'length')
  } finally {
    leave(request)
  }
}

function acceptLength(node: BlockDriverState, length: Offset): void {
  if (!Number.isInteger(length) || length < 0) {
    throw new BlockError('EIO', `the driver says the length is ${String(length)}`, {
      node: node.nodeName,
      op: 'length',
    })
  }
  checkLength(node, length)
  setLength(node.state, length)
}

/**
 * Takes all from the range that comes or goes on for this request alone: a write behind the new end, or another truncate,
 * would decide the length as well. Looks again, since a write may grow the node meanwhile.
 */
async function claimRange(request: TrackedRequest, length: Offset): Promise<void> {
  const { state } = request
  for (;;) {
    const present = state.length
    request.offset = Math.min(present, length)
    request.bytes = Math.abs(present - length)
    claim(request, alignDown(request.offset, state.limits.requestAlignment), MAX_LENGTH)
    await waitForConflicts(request)
    if (state.length === present) return
  }
}

/** Whether growth would bring backing data into view that the shorter node has hidden. */
function uncoversBacking(node: BlockDriverState, length: Offset): boolean {
  const present = node.state.length
  const backing = cowChild(node)
  return length > present && backing !== undefined && backing.node.state.length > present
}

async function truncateDriver(node: BlockDriverState, length: Offset, options: TruncateOptions): Promise<void> {
  const { io, state } = node
  if (io.truncate !== undefined) {
    checkFlags(node, options.flags & ~state.truncateFlags)
    await nested(() => io.truncate?.(length, options))
    return
  }
  const child = filterChild(node)
  if (child === undefined) {
    throw new BlockError('ENOTSUP', `driver '${node.driver.name}' cannot change its length`, { op: 'truncate' })
  }
  await nested(() => truncate(child, length, options))
}

function checkFlags(node: BlockDriverState, unsupported: RequestFlags): void {
  if (unsupported === 0) return
  throw new BlockError('ENOTSUP', `driver '${node.driver.name}' cannot promise that a grown area reads as zero`, {
    op: 'truncate',
  })
}

/** The driver has changed the length, so a failure to ask for it must not leave the old one in force. */
async function learnLength(node: BlockDriverState, requested: Offset): Promise<void> {
  try {
    acceptLength(node, await node.io.length())
  } catch (error) {
    setLength(node.state, requested)
    throw error
  }
}

function checkLength(node: BlockDriverState, length: Offset): void {
  const details = { node: node.nodeName, op: 'truncate' }
  if (!Number.isInteger(length) || length < 0) throw new BlockError('EINVAL', `${String(length)} is no length`, details)
  if (length > MAX_LENGTH)
    throw new BlockError('EFBIG', `a length of ${length} exceeds the largest, ${MAX_LENGTH}`, details)
}
