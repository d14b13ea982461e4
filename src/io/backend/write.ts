// Writes of a backend. With its write cache off, each is stable when it completes.

import type { Bytes } from '../../common/io-vector.js'
import { BDRV_REQ_FUA, type RequestFlags } from '../../common/request.js'
import type { Offset } from '../../common/units.js'
import type { Completion } from '../node-io.js'
import { write } from '../write.js'
import { perform, type RequestOptions, recover, type Work } from './perform.js'
import type { BackendRoot } from './root.js'
import { trackTransfer } from './root-request.js'
import { allow, isInside } from './submit.js'
import { DONE } from './turn-budget.js'

/**
 * Writes `data` at byte `offset`. Rejects with EIO out of range, EPERM, EINVAL, ENOMEDIUM, ECANCELED, or what the graph says,
 * as far as the error policy reports it. `data` is the request's until the promise settles.
 */
export function backendWrite(root: BackendRoot, offset: Offset, data: Bytes, options?: RequestOptions): Promise<void> {
  const bytes = data.length
  const { edge, gates } = root
  if (gates !== 0 || options !== undefined || edge === undefined || !isInside(root, edge, 'write', offset, bytes)) {
    return perform(root, writeWork(root, offset, data, options))
  }
  let pending: Completion
  try {
    pending = write(edge, offset, data, stableFlags(root, 0))
  } catch (error) {
    return recover(root, writeWork(root, offset, data), error)
  }
  if (pending !== undefined) return trackTransfer(root, 'write', offset, data, pending, writeWork)
  const counts = root.accounting.write
  counts.operations++
  counts.bytes += bytes
  return root.budget.spend(bytes) ?? DONE
}

/** `flags`, and FUA where the write cache is off. */
export function stableFlags(root: BackendRoot, flags: RequestFlags): RequestFlags {
  return root.writeCache ? flags : flags | BDRV_REQ_FUA
}

function writeWork(root: BackendRoot, offset: Offset, data: Bytes, options?: RequestOptions): Work {
  return {
    kind: 'write',
    bytes: data.length,
    signal: options?.signal,
    allow: () => allow(root, root.accounting.write, 'write', offset, data.length),
    issue: (edge) => write(edge, offset, data, stableFlags(root, options?.flags ?? 0)),
  }
}
