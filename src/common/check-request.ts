// Bounds of a range before anything else looks at it. The cap of this library is
// MAX_LENGTH, so that every offset, length and sum of the two stays an exact number.

import { BlockError, type BlockErrorDetails } from './error.js'
import { MAX_LENGTH } from './limits.js'

/**
 * Throws EINVAL where `bytes` bytes at `offset` are no range, EFBIG where it ends beyond MAX_LENGTH; `details` say whose it
 * is. The range may still exceed its node.
 */
export function checkOffsetBytes(offset: number, bytes: number, details: BlockErrorDetails): void {
  if (!Number.isInteger(offset) || !Number.isInteger(bytes) || offset < 0 || bytes < 0) {
    throw new BlockError('EINVAL', `${String(bytes)} bytes at ${String(offset)} are no range`, details)
  }
  if (offset > MAX_LENGTH || bytes > MAX_LENGTH - offset) {
    throw new BlockError('EFBIG', `the range ends beyond the largest length, ${MAX_LENGTH}`, details)
  }
}
