// Bounds of a range before anything else looks at it. The cap of this library is
// MAX_LENGTH, so that every offset, length and sum of the two stays an exact number.

import type { ErrnoName } from './errno.js'
import { MAX_LENGTH } from './limits.js'

/**
 * Why `bytes` bytes at `offset` are no range: EINVAL for what is no integer, EIO for a negative number, EFBIG for a range
 * that begins or ends beyond MAX_LENGTH. Undefined where they are one; the range may still exceed its node.
 */
export function checkOffsetBytes(offset: number, bytes: number): ErrnoName | undefined {
  if (!Number.isInteger(offset) || !Number.isInteger(bytes)) return 'EINVAL'
  if (offset < 0 || bytes < 0) return 'EIO'
  if (offset > MAX_LENGTH || bytes > MAX_LENGTH - offset) return 'EFBIG'
  return undefined
}
