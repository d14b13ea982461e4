// Discards of a backend.

import type { Offset } from '../../common/units.js'
import { discard } from '../discard.js'
import { perform, type RequestOptions } from './perform.js'
import type { BackendRoot } from './root.js'
import { allow } from './submit.js'

/** Says that a range is no longer needed; its content may stay. Rejects as a write does. */
export function backendDiscard(
  root: BackendRoot,
  offset: Offset,
  bytes: number,
  options: RequestOptions = {},
): Promise<void> {
  return perform(root, {
    kind: 'discard',
    bytes,
    signal: options.signal,
    allow: () => allow(root, root.accounting.unmap, 'discard', offset, bytes),
    issue: (edge) => discard(edge, offset, bytes),
  })
}
