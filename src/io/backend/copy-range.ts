// Copying between backends without the bytes passing through this process.

import { BDRV_REQ_FUA } from '../../common/request.js'
import type { Offset } from '../../common/units.js'
import { copyRange } from '../copy-range.js'
import { admit } from './admit.js'
import { performQuery, type RequestOptions } from './perform.js'
import { type BackendRoot, mustHold } from './root.js'
import { allow } from './submit.js'

/** Copies a range. Both backends have it in flight. ENOTSUP means: read and write instead, and do not ask again. */
export async function backendCopyRange(
  source: BackendRoot,
  sourceOffset: Offset,
  target: BackendRoot,
  targetOffset: Offset,
  bytes: number,
  options: RequestOptions = {},
): Promise<void> {
  const { signal } = options
  // Held at one root it must not be in flight at the other: a section there would wait for the end of the section here.
  while (mustHold(source) || mustHold(target)) {
    await admit(source, signal, () => {})
    await admit(target, signal, () => {})
  }
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
