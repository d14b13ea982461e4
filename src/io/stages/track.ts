// Requests in flight. Each is a record in its node's intrusive list: serialising requests, drains and reports walk it.
// Whatever has begun and is not done is in a list; what completes synchronously never enters one.

import type { Bytes } from '../../common/io-vector.js'
import type { RequestKind } from '../../common/request.js'
import type { Offset } from '../../common/units.js'
import { stampTime, wakeDrains } from '../environment.js'
import { recomputeGates } from '../gates.js'
import { nodeError } from '../node-error.js'
import type { Completion } from '../node-io.js'
import type { RequestIssuer, RequestState, TrackedRequest } from '../request-state.js'
import { growTo, settleTrackedWrite } from './settle.js'

/** Links a request into its node's list. Guarantees: in flight until {@link leave}. */
export function enter(state: RequestState, kind: RequestKind, offset: Offset, bytes: number): TrackedRequest {
  const { first } = state
  const request: TrackedRequest = {
    state,
    kind,
    offset,
    bytes,
    since: stampTime(state.environment, first === undefined),
    serialising: false,
    order: undefined,
    previous: undefined,
    next: first,
    above: undefined,
    issuer: undefined,
    data: undefined,
  }
  if (first !== undefined) first.previous = request
  state.first = request
  state.inFlight++
  return request
}

/** Unlinks a request, wakes those that wait for it, and a drain where one may be waiting. */
export function leave(request: TrackedRequest): void {
  const { state, previous, next } = request
  if (previous === undefined) state.first = next
  else previous.next = next
  if (next !== undefined) next.previous = previous
  // The list goes on without it: an old record that pointed into it would keep others alive.
  request.previous = undefined
  request.next = undefined
  state.inFlight--
  if (request === latest) latest = latestPromise = undefined
  if (request.order !== undefined) leaveOrder(request)
  if (state.quiesceCounter !== 0) wakeDrains(state.environment)
}

function leaveOrder(request: TrackedRequest): void {
  const { state, order } = request
  if (request.serialising) {
    request.serialising = false
    state.serialising--
    recomputeGates(state)
  }
  for (const { wake } of order?.waiters ?? []) wake()
}

/** The request of the plain path that was tracked last, while it is in flight, and the promise its issuer got. */
let latest: TrackedRequest | undefined
let latestPromise: Promise<void> | undefined

/** Tracks a plain request whose driver returned a promise. The promise returned settles after the request has left. */
export function track(
  state: RequestState,
  kind: RequestKind,
  offset: Offset,
  bytes: number,
  pending: Promise<void>,
): Promise<void> {
  const request = enter(state, kind, offset, bytes)
  let promise = pending
  if (latest !== undefined && pending === latestPromise && state.node.io.relays === true) latest.above = request
  else promise = endsWith(request, pending)
  latest = request
  latestPromise = promise
  return promise
}

/**
 * Takes over the promise of a request that has just been issued: `issuer` hears how it ends. False where the promise is
 * none of the plain path, which has no record to write that into.
 */
export function takeOver(pending: Promise<void>, issuer: RequestIssuer, data: Bytes | undefined): boolean {
  if (latest === undefined || pending !== latestPromise) return false
  latest.issuer = issuer
  latest.data = data
  return true
}

function endsWith(request: TrackedRequest, pending: Promise<void>): Promise<void> {
  return pending.then(
    () => succeed(request),
    (error) => fail(request, error),
  )
}

/** Ends a request, and with it those above that were waiting for nothing else. */
function succeed(lowest: TrackedRequest): Completion {
  let request = lowest
  for (;;) {
    const { kind, above, issuer } = request
    if (kind !== 'read') {
      settleTrackedWrite(request.state, request.offset, request.bytes)
      growTo(request.state, request.offset + request.bytes)
    }
    leave(request)
    if (above === undefined) return issuer === undefined ? undefined : issuer.done(kind, request.bytes)
    request = above
  }
}

function fail(lowest: TrackedRequest, thrown: unknown): Completion {
  let request = lowest
  let error = thrown
  for (;;) {
    const { state, kind, offset, above, issuer } = request
    if (kind !== 'read') settleTrackedWrite(state, offset, request.bytes)
    leave(request)
    error = nodeError(error, state.node, kind)
    if (above === undefined) {
      if (issuer === undefined) throw error
      return issuer.failed(kind, offset, request.data, error)
    }
    request = above
  }
}
