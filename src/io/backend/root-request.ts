// Requests of a root whose promise is pending. The record of a plain one is its node's: it tells the root how the request
// ended. On the promise of any other the root hangs that itself.

import type { Bytes } from '../../common/io-vector.js'
import type { RequestKind } from '../../common/request.js'
import type { Offset } from '../../common/units.js'
import type { Completion } from '../node-io.js'
import type { RequestIssuer } from '../request-state.js'
import { takeOver } from '../stages/track.js'
import { countsFor } from './accounting.js'
import { leaveRoot } from './admit.js'
import { recover, type Work } from './perform.js'
import type { BackendRoot } from './root.js'

/** Makes a request to run again of what is kept of it. A function of its own, since a closure would cost each request. */
export type Again = (root: BackendRoot, offset: number, data: Bytes) => Work

const NO_DATA = new Uint8Array(0)

/**
 * Counts a pending read or write at its root until it settles. With `again` it is a backend's own: its errors go to the
 * policy, and it settles on a new turn where one is due. Without, neither.
 */
export function trackTransfer(
  root: BackendRoot,
  kind: 'read' | 'write',
  offset: Offset,
  data: Bytes,
  pending: Promise<void>,
  again: Again | undefined = undefined,
): Promise<void> {
  const issuer = issuerOf(root, again)
  root.inFlight++
  // Only who may run the request again needs its buffer.
  if (takeOver(pending, issuer, again === undefined ? undefined : data)) return pending
  return hangOn(issuer, kind, offset, data.length, data, pending)
}

/** Counts any pending request of a submitter, as {@link trackTransfer} does. */
export function trackRoot(root: BackendRoot, kind: RequestKind, bytes: number, pending: Promise<void>): Promise<void> {
  root.inFlight++
  return hangOn(issuerOf(root, undefined), kind, 0, bytes, undefined, pending)
}

function hangOn(
  issuer: RequestIssuer,
  kind: RequestKind,
  offset: Offset,
  bytes: number,
  data: Bytes | undefined,
  pending: Promise<void>,
): Promise<void> {
  return pending.then(
    () => issuer.done(kind, bytes),
    (error) => issuer.failed(kind, offset, data, error),
  )
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
