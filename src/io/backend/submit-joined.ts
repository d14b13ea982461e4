// Several requests of a guest that its device joined, submitted as one. Each counts for itself.

import { BlockError } from '../../common/error.js'
import type { IoVector } from '../../common/io-vector.js'
import { BDRV_REQ_FUA, type RequestFlags } from '../../common/request.js'
import type { Offset } from '../../common/units.js'
import type { Completion } from '../node-io.js'
import { read } from '../read.js'
import { write } from '../write.js'
import { countJoined, countsFor, type OperationCounts } from './accounting.js'
import { leaveRoot } from './admit.js'
import type { BackendRoot } from './root.js'
import { isInside } from './submit.js'

/**
 * Reads or writes the range that `parts` sequential requests make up. In the end each of them is an operation. A failure,
 * thrown or rejected, counts nothing: nobody knows which part is to blame. The client submits each by itself then, which
 * counts it, or says by `countFailed` that all have failed.
 */
export function submitJoined(
  root: BackendRoot,
  kind: 'read' | 'write',
  offset: Offset,
  data: IoVector,
  parts: number,
  flags: RequestFlags = 0,
): Completion {
  const { edge } = root
  const bytes = data.length
  if (edge === undefined || edge.node.closed || !isInside(root, edge, kind, offset, bytes)) {
    throw new BlockError('EIO', `${bytes} bytes at ${offset} cannot be one request`, { node: root.name, op: kind })
  }
  const pending =
    kind === 'read'
      ? read(edge, offset, data, flags)
      : write(edge, offset, data, root.writeCache ? flags : flags | BDRV_REQ_FUA)
  const counts = countsFor(root.accounting, kind)
  if (pending !== undefined) return settleJoined(root, counts, parts, bytes, pending)
  countJoined(counts, parts, bytes)
  return undefined
}

async function settleJoined(
  root: BackendRoot,
  counts: OperationCounts,
  parts: number,
  bytes: number,
  pending: Promise<void>,
): Promise<void> {
  root.inFlight++
  try {
    await pending
    countJoined(counts, parts, bytes)
  } finally {
    leaveRoot(root)
  }
}
