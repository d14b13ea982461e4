// Requests of a root whose promise is pending. A plain one is in the record of its node already, which tells the root how it
// ended. Any other gets a pooled record with functions bound once, as those of nodes are.

import type { Bytes } from '../../common/io-vector.js'
import type { RequestKind } from '../../common/request.js'
import type { Offset } from '../../common/units.js'
import type { BlockChild } from '../block-node.js'
import type { Completion } from '../node-io.js'
import type { RequestIssuer } from '../request-state.js'
import { takeOver } from '../stages/track.js'
import { countsFor, type OperationCounts } from './accounting.js'
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
export type Again = (root: BackendRoot, offset: number, data: Bytes) => Work

let pool: RootRequest | undefined
let pooled = 0
const MAX_POOLED = 4096
const NOBODY = undefined as unknown as BackendRoot
const NO_DATA = new Uint8Array(0)
const NOTHING = undefined as unknown as OperationCounts

/**
 * Counts a pending read or write that went through `edge` at its root until it settles. With `again` it is a backend's own:
 * its errors go to the policy, and it settles on a new turn where one is due. Without, neither.
 */
export function trackTransfer(
  root: BackendRoot,
  edge: BlockChild,
  counts: OperationCounts,
  offset: Offset,
  data: Bytes,
  pending: Promise<void>,
  again: Again | undefined = undefined,
): Promise<void> {
  if (takeOver(edge.node.state, pending, issuerOf(root, again), again === undefined ? undefined : data)) {
    root.inFlight++
    return pending
  }
  return trackRoot(root, counts, data.byteLength, pending, again, offset, data)
}

function issuerOf(root: BackendRoot, again: Again | undefined): RequestIssuer {
  for (const issuer of root.issuers) if (issuer.again === again) return issuer
  const issuer = new RootIssuer(root, again)
  root.issuers.push(issuer)
  return issuer
}

/** What a root does at the end of its plain requests. One for each way of running them again, shared by all of them. */
export class RootIssuer implements RequestIssuer {
  readonly again: Again | undefined
  readonly #root: BackendRoot

  constructor(root: BackendRoot, again: Again | undefined) {
    this.#root = root
    this.again = again
  }

  done(kind: RequestKind, bytes: number): Completion {
    const root = this.#root
    const counts = countsFor(root.accounting, kind)
    counts.operations++
    counts.bytes += bytes
    leaveRoot(root)
    return this.again === undefined ? undefined : root.budget.spend(bytes)
  }

  failed(kind: RequestKind, offset: Offset, data: Bytes | undefined, error: unknown): Completion {
    const { again } = this
    const root = this.#root
    leaveRoot(root)
    if (again !== undefined) return recover(root, again(root, offset, data ?? NO_DATA), error)
    countsFor(root.accounting, kind).failed++
    throw error
  }
}

/** Counts any pending request, as {@link trackTransfer} does. */
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
