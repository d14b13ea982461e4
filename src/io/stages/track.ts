// Requests in flight. Each is a pooled record in its node's intrusive list: serialising requests, drains and reports
// walk it. Whatever has begun and is not done is in a list; what completes synchronously never enters one.

import type { Bytes } from '../../common/io-vector.js'
import type { RequestKind } from '../../common/request.js'
import type { Offset } from '../../common/units.js'
import { stampTime, wakeDrains } from '../environment.js'
import { recomputeGates } from '../gates.js'
import { nodeError } from '../node-error.js'
import type { RequestIssuer, RequestState, TrackedRequest } from '../request-state.js'
import { settleTrackedWrite } from './settle.js'

/** Free records, linked by `next`. */
let pool: TrackedRequest | undefined
let pooled = 0
const MAX_POOLED = 4096
const NOBODY = undefined as unknown as RequestState

/** Links a request into its node's list. Guarantees: in flight until {@link leave}. */
export function enter(state: RequestState, kind: RequestKind, offset: Offset, bytes: number): TrackedRequest {
  let request = pool
  if (request === undefined) request = createRecord()
  else {
    pool = request.next
    pooled--
  }
  request.state = state
  request.kind = kind
  request.offset = offset
  request.bytes = bytes
  request.overlapOffset = offset
  request.overlapBytes = bytes
  request.since = stampTime(state.environment, state.inFlight === 0)
  const { first } = state
  request.next = first
  if (first !== undefined) first.previous = request
  state.first = request
  state.inFlight++
  return request
}

/** Unlinks a request, wakes those that wait for it, and a drain where one may be waiting. The record is free then. */
export function leave(request: TrackedRequest): void {
  const { state, previous, next, waiters } = request
  if (previous === undefined) state.first = next
  else previous.next = next
  if (next !== undefined) next.previous = previous
  state.inFlight--
  if (request.serialising) {
    request.serialising = false
    state.serialising--
    recomputeGates(state)
  }
  request.previous = undefined
  request.state = NOBODY
  request.promise = undefined
  request.issuer = undefined
  request.data = undefined
  if (pooled < MAX_POOLED) {
    request.next = pool
    pool = request
    pooled++
  } else request.next = undefined
  if (waiters !== undefined) {
    request.waiters = undefined
    for (const wake of waiters) wake()
  }
  if (state.quiesceCounter !== 0) wakeDrains(state.environment)
}

/** Tracks a plain request whose driver returned a promise. The promise returned settles after the request has left. */
export function track(
  state: RequestState,
  kind: RequestKind,
  offset: Offset,
  bytes: number,
  pending: Promise<void>,
): Promise<void> {
  const request = enter(state, kind, offset, bytes)
  const promise = pending.then(request.done, request.fail)
  request.promise = promise
  return promise
}

/**
 * Takes over the promise of a request that has just been issued to the node of `state`: `issuer` hears how it ends. False
 * where the promise is none of the plain path, which has no record to write that into.
 */
export function takeOver(
  state: RequestState,
  pending: Promise<void>,
  issuer: RequestIssuer,
  data: Bytes | undefined,
): boolean {
  // Nothing has run since, so its record is the first.
  const request = state.first
  if (request === undefined || request.promise !== pending) return false
  request.issuer = issuer
  request.data = data
  return true
}

function createRecord(): TrackedRequest {
  const request: TrackedRequest = {
    state: NOBODY,
    kind: 'read',
    offset: 0,
    bytes: 0,
    serialising: false,
    overlapOffset: 0,
    overlapBytes: 0,
    since: 0,
    waitingFor: undefined,
    waiters: undefined,
    previous: undefined,
    next: undefined,
    promise: undefined,
    issuer: undefined,
    data: undefined,
    done: () => {
      const { kind, bytes, issuer } = request
      if (kind !== 'read') settleTrackedWrite(request.state, request.offset, bytes)
      leave(request)
      return issuer === undefined ? undefined : issuer.done(kind, bytes)
    },
    fail: (error) => {
      const { state, kind, offset, issuer, data } = request
      if (kind !== 'read') settleTrackedWrite(state, offset, request.bytes)
      leave(request)
      const named = nodeError(error, state.node, kind)
      if (issuer === undefined) throw named
      return issuer.failed(kind, offset, data, named)
    },
  }
  return request
}
