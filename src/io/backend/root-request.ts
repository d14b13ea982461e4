// Requests of a root whose promise is pending: pooled records with functions bound once, as those of nodes are.

import type { Bytes } from '../../common/io-vector.js'
import type { Completion } from '../node-io.js'
import type { OperationCounts } from './accounting.js'
import { leaveRoot } from './admit.js'
import { recover, type Work } from './perform.js'
import type { BackendRoot } from './root.js'

interface RootRequest {
  root: BackendRoot
  counts: OperationCounts
  bytes: number
  /** How to run it again; undefined for a submitted request, whose client decides. */
  again: Again | undefined
  offset: number
  data: Bytes
  next: RootRequest | undefined
  readonly done: () => Completion
  readonly fail: (error: unknown) => Completion
}

/** Makes a request to run again of what the record keeps. A function of its own, since a closure would cost each request. */
type Again = (root: BackendRoot, offset: number, data: Bytes) => Work

let pool: RootRequest | undefined
let pooled = 0
const MAX_POOLED = 4096
const NOBODY = undefined as unknown as BackendRoot
const NO_DATA = new Uint8Array(0)
const NOTHING = undefined as unknown as OperationCounts

/**
 * Counts a pending request at its root until it settles. With `again` it is a backend's own: its errors go to the policy,
 * and it settles on a new turn where one is due. Without, neither.
 */
export function trackRoot(
  root: BackendRoot,
  counts: OperationCounts,
  bytes: number,
  pending: Promise<void>,
  again: Again | undefined = undefined,
  offset = 0,
  data: Bytes = NO_DATA,
): Promise<void> {
  let request = pool
  if (request === undefined) request = createRecord()
  else {
    pool = request.next
    pooled--
  }
  request.root = root
  request.counts = counts
  request.bytes = bytes
  request.again = again
  request.offset = offset
  request.data = data
  root.inFlight++
  return pending.then(request.done, request.fail)
}

function release(request: RootRequest): void {
  const { root } = request
  request.root = NOBODY
  request.counts = NOTHING
  request.again = undefined
  request.data = NO_DATA
  if (pooled < MAX_POOLED) {
    request.next = pool
    pool = request
    pooled++
  } else request.next = undefined
  leaveRoot(root)
}

function createRecord(): RootRequest {
  const request: RootRequest = {
    root: NOBODY,
    counts: NOTHING,
    bytes: 0,
    again: undefined,
    offset: 0,
    data: NO_DATA,
    next: undefined,
    done: () => {
      const { root, counts, bytes, again } = request
      counts.operations++
      counts.bytes += bytes
      release(request)
      return again === undefined ? undefined : root.budget.spend(bytes)
    },
    fail: (error) => {
      const { root, counts, again, offset, data } = request
      if (again === undefined) counts.failed++
      release(request)
      if (again === undefined) throw error
      return recover(root, again(root, offset, data), error)
    },
  }
  return request
}
