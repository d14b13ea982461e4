// Cutting a request into what the driver takes at once. Asserts: the range is aligned to the request alignment.
// Guarantees: every piece is aligned, at most `maxTransfer` bytes, and at most `maxIov` buffers.

import { type Bytes, flattenBytes, IoVector, sliceBytes } from '../../common/io-vector.js'
import { BDRV_REQUEST_MAX_BYTES, type BlockLimits, MAX_BOUNCE_BUFFER } from '../../common/limits.js'
import { alignDown } from '../../common/units.js'

/** The most bytes one transfer of a node may have: a multiple of its request alignment. */
export function transferLimit(limits: BlockLimits): number {
  const most = limits.maxTransfer === 0 ? BDRV_REQUEST_MAX_BYTES : Math.min(limits.maxTransfer, BDRV_REQUEST_MAX_BYTES)
  return Math.max(alignDown(most, limits.requestAlignment), limits.requestAlignment)
}

/** The most bytes of one bounce buffer: a transfer, but no more than 16 MiB unless one alignment unit is larger. */
export function bounceLimit(limits: BlockLimits): number {
  const { requestAlignment } = limits
  return Math.max(alignDown(Math.min(transferLimit(limits), MAX_BOUNCE_BUFFER), requestAlignment), requestAlignment)
}

/** The part of a write from `start` to `end` (exclusive) in few enough buffers, copied into one where it has too many. */
export function gatherPart(limits: BlockLimits, data: Bytes, start: number, end: number): Bytes {
  const part = sliceBytes(data, start, end)
  return hasTooManyBuffers(limits, part) ? flattenBytes(part) : part
}

/** Whether a driver of these limits cannot take `data` for its number of buffers. */
export function hasTooManyBuffers(limits: BlockLimits, data: Bytes): boolean {
  return data instanceof IoVector && limits.maxIov !== 0 && data.buffers.length > limits.maxIov
}
