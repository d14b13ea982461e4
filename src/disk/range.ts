// Ranges of a disk as callers give them.

import { BlockError } from '../common/error.js'
import type { Offset } from '../common/units.js'

/** The bytes from `start` to `end`, exclusive, if they lie inside `disk`: EINVAL where they do not. */
export function checkedRange(
  disk: { readonly size: Offset },
  start: Offset,
  end: Offset,
  op: string,
): { start: Offset; end: Offset } {
  const sound =
    Number.isSafeInteger(start) && Number.isSafeInteger(end) && start >= 0 && start <= end && end <= disk.size
  if (!sound) throw new BlockError('EINVAL', `the range ${start}..${end} does not lie inside the disk`, { op })
  return { start, end }
}
