// Copy-on-read: what a read finds below this layer is written into it, so that the next read needs the layers below no
// more. Asserts: the request is tracked and serialising on the copy unit. Guarantees: visible content never changes, and
// the range is allocated afterwards, unless the node may not be written (inactive), where it is an ordinary read.

import { type Bytes, copyBytes, isZeroBytes, sliceBytes } from '../../common/io-vector.js'
import { MAX_BOUNCE_BUFFER } from '../../common/limits.js'
import { BDRV_REQ_PREFETCH, BDRV_REQ_WRITE_UNCHANGED, type RequestFlags } from '../../common/request.js'
import { alignDown, alignUp, type Offset } from '../../common/units.js'
import { isAllocated } from '../block-status.js'
import type { RequestState } from '../request-state.js'
import { canZero, readDriver, writeDriver, zeroDriver } from './dispatch.js'
import { transferLimit } from './fragment.js'
import { settleWrite } from './settle.js'

/** The unit of copying: a cluster where the format has clusters and tells their size at once, else an alignment unit. */
export function copyUnit(state: RequestState): number {
  const info = state.node.io.info?.()
  if (info instanceof Promise) info.catch(() => {})
  const clusterSize = info === undefined || info instanceof Promise ? 0 : info.clusterSize
  return Math.max(clusterSize, state.limits.requestAlignment)
}

/** Reads an aligned range, copying up what is not allocated here. With PREFETCH the buffer need not be filled. */
export async function readWithCopy(
  state: RequestState,
  offset: Offset,
  into: Bytes,
  flags: RequestFlags,
): Promise<void> {
  const { node, length } = state
  const prefetch = (flags & BDRV_REQ_PREFETCH) !== 0
  const end = Math.min(offset + into.length, alignUp(length, state.limits.requestAlignment))
  let at = offset
  while (at < end) {
    const { allocated, bytes } = await isAllocated(node, at, end - at)
    if (bytes <= 0) break
    // Extents are aligned, but for one that ends with the node.
    const piece = Math.min(alignUp(bytes, state.limits.requestAlignment), end - at)
    const part = sliceBytes(into, at - offset, at - offset + piece)
    if (allocated || node.inactive || node.readOnly) {
      if (!prefetch) await readDriver(state, at, part)
    } else await copyUp(state, at, part, prefetch)
    at += piece
  }
  // Behind the end, also one that has moved meanwhile.
  if (!prefetch && at < offset + into.length) {
    await readDriver(state, at, sliceBytes(into, at - offset, into.length))
  }
}

/** Copies whole units in pieces through private memory: a guest may scribble on its own buffer meanwhile. */
async function copyUp(state: RequestState, offset: Offset, into: Bytes, prefetch: boolean): Promise<void> {
  const unit = copyUnit(state)
  const alignment = state.limits.requestAlignment
  const start = alignDown(offset, unit)
  const end = Math.min(alignUp(offset + into.length, unit), alignUp(state.length, alignment))
  const step = Math.max(alignDown(Math.min(transferLimit(state.limits), MAX_BOUNCE_BUFFER), alignment), alignment)
  for (let at = start; at < end; at += step) {
    const bounce = new Uint8Array(Math.min(step, end - at))
    await readDriver(state, at, bounce)
    await writeUp(state, at, bounce)
    const from = Math.max(at, offset)
    const to = Math.min(at + bounce.length, offset + into.length)
    if (!prefetch && from < to) copyBytes(into, bounce.subarray(from - at, to - at), from - offset)
  }
}

async function writeUp(state: RequestState, offset: Offset, data: Uint8Array): Promise<void> {
  const zero = canZero(state) && isZeroBytes(data)
  try {
    if (zero) await zeroDriver(state, offset, data.length, BDRV_REQ_WRITE_UNCHANGED)
    else await writeDriver(state, offset, data, BDRV_REQ_WRITE_UNCHANGED)
  } finally {
    // The copied content was visible before: bitmaps, thresholds and the length are none of its business.
    settleWrite(state, offset, 0, true)
  }
}
