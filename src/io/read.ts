// Reading. The plain path serves an aligned read inside the node in one driver call; everything else goes through the
// stages, each of which may wait. What lies behind the end of the node reads as zeroes.

import type { Bytes } from '../common/io-vector.js'
import { BDRV_REQUEST_MAX_BYTES } from '../common/limits.js'
import { BDRV_REQ_COPY_ON_READ, type RequestFlags } from '../common/request.js'
import type { Offset } from '../common/units.js'
import type { BlockChild, BlockDriverState } from './block-node.js'
import { MAX_NESTING, nesting, unwound } from './nesting.js'
import { nodeError } from './node-error.js'
import type { Completion } from './node-io.js'
import type { RequestState } from './request-state.js'
import { checkRead } from './stages/check.js'
import { copyUnit, readWithCopy } from './stages/copy-on-read.js'
import { readDriver } from './stages/dispatch.js'
import { pad } from './stages/pad.js'
import { makeSerialising, waitForConflicts } from './stages/serialise.js'
import { enter, leave, track } from './stages/track.js'

/**
 * Fills all of `into` from byte `offset` on, or fails: EINVAL for what is no request, EFBIG beyond the largest length,
 * ENOMEDIUM for a closed node, else what the driver says. May throw as well as reject. `into` is the request's until then.
 */
export function read(edge: BlockChild, offset: Offset, into: Bytes, flags: RequestFlags = 0): Completion {
  const { node } = edge
  const { state } = node
  // A plain request passes every check by what makes it plain, so the checks need not run.
  if (flags === 0 && isPlainRead(node, state, offset, into)) return plainRead(node, state, offset, into)
  checkRead(node, offset, into.length, flags)
  if (into.length === 0) return undefined
  return nesting.depth < MAX_NESTING ? carefulRead(state, offset, into, flags) : deepRead(edge, offset, into, flags)
}

function isPlainRead(node: BlockDriverState, state: RequestState, offset: Offset, into: Bytes): boolean {
  const bytes = into.length
  const { limits } = state
  return (
    state.readGates === 0 &&
    !node.closed &&
    nesting.depth < MAX_NESTING &&
    Number.isSafeInteger(offset) &&
    offset >= 0 &&
    bytes > 0 &&
    offset + bytes <= state.length &&
    ((offset | bytes) & (limits.requestAlignment - 1)) === 0 &&
    bytes <= (limits.maxTransfer === 0 ? BDRV_REQUEST_MAX_BYTES : limits.maxTransfer) &&
    bytes <= BDRV_REQUEST_MAX_BYTES &&
    (into instanceof Uint8Array || into.buffers.length <= limits.maxIov)
  )
}

function plainRead(node: BlockDriverState, state: RequestState, offset: Offset, into: Bytes): Completion {
  let pending: Completion
  nesting.depth++
  try {
    pending = node.io.read(offset, into, 0)
  } catch (error) {
    nesting.depth--
    throw nodeError(error, node, 'read')
  }
  nesting.depth--
  return pending === undefined ? undefined : track(state, 'read', offset, into.length, pending)
}

async function carefulRead(state: RequestState, offset: Offset, into: Bytes, flags: RequestFlags): Promise<void> {
  const request = enter(state, 'read', offset, into.length)
  try {
    const copies = state.copyOnRead > 0 || (flags & BDRV_REQ_COPY_ON_READ) !== 0
    if (copies) makeSerialising(request, copyUnit(state))
    await waitForConflicts(request)
    const padded = pad(state, offset, into)
    if (copies) await readWithCopy(state, padded.offset, padded.data, flags)
    else await readDriver(state, padded.offset, padded.data, flags)
  } catch (error) {
    throw nodeError(error, state.node, 'read')
  } finally {
    leave(request)
  }
}

async function deepRead(edge: BlockChild, offset: Offset, into: Bytes, flags: RequestFlags): Promise<void> {
  await unwound()
  await read(edge, offset, into, flags)
}
