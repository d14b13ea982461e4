// Before a write-like request reaches its driver: its place among overlapping requests, then, since it may have waited,
// whether it is still allowed, then the write threshold. Asserts: tracked. Guarantees: no conflicting request runs.

import {
  BDRV_REQ_NO_WAIT,
  BDRV_REQ_SERIALISING,
  BDRV_REQ_WRITE_UNCHANGED,
  type RequestFlags,
} from '../../common/request.js'
import type { Offset } from '../../common/units.js'
import type { BlockChild } from '../block-node.js'
import { recomputeGates } from '../gates.js'
import type { RequestState, TrackedRequest } from '../request-state.js'
import { checkWritable } from './check.js'
import { copyUnit } from './copy-on-read.js'
import { isAlignedFor } from './pad.js'
import { makeSerialising, refuseConflicts, waitForConflicts } from './serialise.js'
import { deliverSoon } from './settle.js'

/** Prepares a write or zero write. EBUSY with NO_WAIT where it would have to wait; EPERM as `checkWritable`. */
export async function prepareWrite(edge: BlockChild, request: TrackedRequest, flags: RequestFlags): Promise<void> {
  const { state } = request
  if (!isAlignedFor(state, request.offset, request.bytes)) makeSerialising(request, state.limits.requestAlignment)
  if ((flags & BDRV_REQ_SERIALISING) !== 0) makeSerialising(request, copyUnit(state))
  if ((flags & BDRV_REQ_NO_WAIT) !== 0) refuseConflicts(request)
  else await waitForConflicts(request)
  checkWritable(edge, request.offset, request.bytes, flags, request.kind)
  if ((flags & BDRV_REQ_WRITE_UNCHANGED) === 0) checkThreshold(state, request.offset + request.bytes)
}

/** Tells once that a write ends beyond the threshold, and disarms it. */
function checkThreshold(state: RequestState, end: Offset): void {
  const threshold = state.writeThreshold
  if (threshold === 0 || end <= threshold) return
  state.writeThreshold = 0
  recomputeGates(state)
  const { node, environment } = state
  const event = { node: node.nodeName, threshold, exceededBy: end - threshold }
  deliverSoon(state, () => environment.trace.emit('write-threshold', event))
}
