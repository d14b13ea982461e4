// Reads of a backend.

import type { Bytes } from '../../common/io-vector.js'
import type { Offset } from '../../common/units.js'
import type { Completion } from '../node-io.js'
import { read } from '../read.js'
import { perform, type RequestOptions, recover, type Work } from './perform.js'
import type { BackendRoot } from './root.js'
import { trackTransfer } from './root-request.js'
import { allow, isInside } from './submit.js'
import { DONE } from './turn-budget.js'

/**
 * Fills all of `into` from byte `offset` on. Rejects with EIO out of range, EINVAL, ENOMEDIUM, ECANCELED, or what the graph
 * says, as far as the error policy reports it. `into` is the request's until the promise settles.
 */
export function backendRead(root: BackendRoot, offset: Offset, into: Bytes, options?: RequestOptions): Promise<void> {
  const bytes = into.length
  const { edge, gates } = root
  if (gates !== 0 || options !== undefined || edge === undefined || !isInside(root, edge, 'read', offset, bytes)) {
    return perform(root, readWork(root, offset, into, options))
  }
  let pending: Completion
  try {
    pending = read(edge, offset, into, 0)
  } catch (error) {
    return recover(root, readWork(root, offset, into), error)
  }
  if (pending !== undefined) return trackTransfer(root, 'read', offset, into, pending, readWork)
  const counts = root.accounting.read
  counts.operations++
  counts.bytes += bytes
  return root.budget.spend(bytes) ?? DONE
}

function readWork(root: BackendRoot, offset: Offset, into: Bytes, options?: RequestOptions): Work {
  return {
    kind: 'read',
    bytes: into.length,
    signal: options?.signal,
    into,
    allow: () => allow(root, root.accounting.read, 'read', offset, into.length),
    issue: (edge) => read(edge, offset, into, options?.flags ?? 0),
  }
}
