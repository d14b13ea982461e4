// Requests of a root whose promise is pending: pooled records with functions bound once, as those of nodes are.

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
  again: (() => Work) | undefined
  next: RootRequest | undefined
  readonly done: () => Completion
  readonly fail: (error: unknown) => Completion
}

let pool: RootRequest | undefined
let pooled = 0
const MAX_POOLED = 4096
const NOBODY = undefined as unknown as BackendRoot
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
  again: (() => Work) | undefined = undefined,
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
  root.inFlight++
  return pending.then(request.done, request.fail)
}

function release(request: RootRequest): void {
  const { root } = request
  request.root = NOBODY
  request.counts = NOTHING
  request.again = undefined
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
    next: undefined,
    done: () => {
      const { root, counts, bytes, again } = request
      counts.operations++
      counts.bytes += bytes
      release(request)
      return again === undefined ? undefined : root.budget.spend(bytes)
    },
    fail: (error) => {
      const { root, counts, again } = request
      if (again === undefined) counts.failed++
      release(request)
      if (again === undefined) throw error
      return recover(root, again(), error)
    },
  }
  return request
}
