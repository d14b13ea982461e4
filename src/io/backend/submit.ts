// Requests of a client that does its own holding and keeps its own turn budget (a device, an export): they reach the graph
// at once, complete synchronously where the graph does, and are counted by the root. Error policy is the client's to ask.

import { checkOffsetBytes } from '../../common/check-request.js'
import { BlockError } from '../../common/error.js'
import type { Bytes } from '../../common/io-vector.js'
import { BDRV_REQUEST_MAX_BYTES } from '../../common/limits.js'
import { BDRV_REQ_FUA, type RequestFlags, type RequestKind } from '../../common/request.js'
import type { Offset } from '../../common/units.js'
import type { BlockChild } from '../block-node.js'
import { discard } from '../discard.js'
import { flush } from '../flush.js'
import type { Completion } from '../node-io.js'
import { read } from '../read.js'
import { write } from '../write.js'
import { writeZeroes } from '../write-zeroes.js'
import { countsFor, type OperationCounts } from './accounting.js'
import type { BackendRoot } from './root.js'
import { trackRoot, trackTransfer } from './root-request.js'

/** Reads. EIO out of range, ENOMEDIUM without a node; may throw as well as reject. */
export function submitRead(root: BackendRoot, offset: Offset, into: Bytes, flags: RequestFlags = 0): Completion {
  const counts = root.accounting.read
  const edge = allow(root, counts, 'read', offset, into.length)
  let pending: Completion
  try {
    pending = read(edge, offset, into, flags)
  } catch (error) {
    counts.failed++
    throw error
  }
  if (pending !== undefined) return trackTransfer(root, 'read', offset, into, pending)
  counts.operations++
  counts.bytes += into.length
  return undefined
}

/** Writes; with the write cache off, stable when it completes. */
export function submitWrite(root: BackendRoot, offset: Offset, data: Bytes, flags: RequestFlags = 0): Completion {
  const counts = root.accounting.write
  const edge = allow(root, counts, 'write', offset, data.length)
  let pending: Completion
  try {
    pending = write(edge, offset, data, root.writeCache ? flags : flags | BDRV_REQ_FUA)
  } catch (error) {
    counts.failed++
    throw error
  }
  if (pending !== undefined) return trackTransfer(root, 'write', offset, data, pending)
  counts.operations++
  counts.bytes += data.length
  return undefined
}

/** Zeroes a range. */
export function submitWriteZeroes(
  root: BackendRoot,
  offset: Offset,
  bytes: number,
  flags: RequestFlags = 0,
): Completion {
  const counts = root.accounting.write
  const edge = allow(root, counts, 'write-zeroes', offset, bytes)
  const wanted = root.writeCache ? flags : flags | BDRV_REQ_FUA
  return submit(root, 'write-zeroes', bytes, () => writeZeroes(edge, offset, bytes, wanted))
}

/** Discards a range. */
export function submitDiscard(root: BackendRoot, offset: Offset, bytes: number): Completion {
  const counts = root.accounting.unmap
  const edge = allow(root, counts, 'discard', offset, bytes)
  return submit(root, 'discard', bytes, () => discard(edge, offset, bytes))
}

/** Flushes. */
export function submitFlush(root: BackendRoot): Completion {
  const counts = root.accounting.flush
  const edge = mediumOf(root, counts, 'flush')
  return submit(root, 'flush', 0, () => flush(edge))
}

/** Runs a request that is not on the hot path, counted. */
export function submit(root: BackendRoot, kind: RequestKind, bytes: number, issue: () => Completion): Completion {
  const counts = countsFor(root.accounting, kind)
  let pending: Completion
  try {
    pending = issue()
  } catch (error) {
    counts.failed++
    throw error
  }
  if (pending !== undefined) return trackRoot(root, kind, bytes, pending)
  counts.operations++
  counts.bytes += bytes
  return undefined
}

/** The root's edge, once the range is found to lie inside its node: EIO (or EINVAL) where not, ENOMEDIUM without one. */
export function allow(
  root: BackendRoot,
  counts: OperationCounts,
  kind: RequestKind,
  offset: Offset,
  bytes: number,
): BlockChild {
  const { edge } = root
  if (edge !== undefined && !edge.node.closed && isInside(root, edge, kind, offset, bytes)) return edge
  return refuse(root, counts, kind, offset, bytes)
}

/** The root's edge; ENOMEDIUM without one. */
export function mediumOf(root: BackendRoot, counts: OperationCounts, kind: RequestKind): BlockChild {
  const { edge } = root
  if (edge !== undefined && !edge.node.closed) return edge
  counts.invalid++
  throw new BlockError('ENOMEDIUM', 'no medium', { node: root.name, op: kind })
}

/** Whether a range lies inside the node, or may grow it. */
export function isInside(
  root: BackendRoot,
  edge: BlockChild,
  kind: RequestKind,
  offset: Offset,
  bytes: number,
): boolean {
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(bytes) || offset < 0 || bytes < 0) return false
  return offset + bytes <= edge.node.state.length || (root.allowWriteBeyondEof && kind !== 'discard')
}

function refuse(root: BackendRoot, counts: OperationCounts, kind: RequestKind, offset: Offset, bytes: number): never {
  const edge = mediumOf(root, counts, kind)
  counts.invalid++
  const details = { node: root.name, op: kind }
  checkOffsetBytes(offset, bytes, details)
  if ((kind === 'read' || kind === 'write') && bytes > BDRV_REQUEST_MAX_BYTES) {
    throw new BlockError('EINVAL', `${bytes} bytes in one request; ${BDRV_REQUEST_MAX_BYTES} are the most`, details)
  }
  const message = `${bytes} bytes at ${offset} end behind the ${edge.node.state.length} bytes of the medium`
  throw new BlockError('EIO', message, details)
}
