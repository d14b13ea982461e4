// Zero writes and discards of a backend.

import type { Offset } from '../../common/units.js'
import { makeZero } from '../make-zero.js'
import { writeZeroes } from '../write-zeroes.js'
import { perform, type RequestOptions } from './perform.js'
import type { BackendRoot } from './root.js'
import { allow, mediumOf } from './submit.js'
import { stableFlags } from './write.js'

/** Makes a range read as zeroes; any number of bytes. Rejects as a write does, and with ENOTSUP under NO_FALLBACK. */
export function backendWriteZeroes(
  root: BackendRoot,
  offset: Offset,
  bytes: number,
  options: RequestOptions = {},
): Promise<void> {
  return perform(root, {
    kind: 'write-zeroes',
    bytes,
    signal: options.signal,
    allow: () => allow(root, root.accounting.write, 'write-zeroes', offset, bytes),
    issue: (edge) => writeZeroes(edge, offset, bytes, stableFlags(root, options.flags ?? 0)),
  })
}

/** Makes the whole node read as zeroes, touching only what does not yet. */
export function backendMakeZero(root: BackendRoot, options: RequestOptions = {}): Promise<void> {
  return perform(root, {
    kind: 'write-zeroes',
    bytes: root.edge?.node.state.length ?? 0,
    signal: options.signal,
    allow: () => mediumOf(root, root.accounting.write, 'write-zeroes'),
    issue: (edge) => makeZero(edge, stableFlags(root, options.flags ?? 0)),
  })
}
