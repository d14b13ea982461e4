// Copying between backends without the bytes passing through this process.

import { BDRV_REQ_FUA } from '../../common/request.js'
import type { Offset } from '../../common/units.js'
import { copyRange } from '../copy-range.js'
import { performQuery, type RequestOptions } from './perform.js'
import type { BackendRoot } from './root.js'
import { allow } from './submit.js'

/** Copies a range. Both backends have it in flight. ENOTSUP means: read and write instead, and do not ask again. */
export function backendCopyRange(
  source: BackendRoot,
  sourceOffset: Offset,
  target: BackendRoot,
  targetOffset: Offset,
  bytes: number,
  options: RequestOptions = {},
): Promise<void> {
  const { signal } = options
  const flags = (options.flags ?? 0) | (target.writeCache ? 0 : BDRV_REQ_FUA)
  return performQuery(source, {
    kind: 'copy-range',
    bytes,
    signal,
    allow: () => allow(source, source.accounting.other, 'read', sourceOffset, bytes),
    issue: (from) =>
      performQuery(target, {
        kind: 'copy-range',
        bytes,
        signal,
        allow: () => allow(target, target.accounting.other, 'write', targetOffset, bytes),
        issue: (to) => copyRange(from, sourceOffset, to, targetOffset, bytes, flags),
      }),
  })
}
