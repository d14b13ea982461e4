// The careful path of a backend's requests: held where it must be, counted, judged by the error policy, and settled on a
// new turn where one is due. The plain paths beside this file end here when something goes wrong.

import { BlockError } from '../../common/error.js'
import { type Bytes, zeroBytes } from '../../common/io-vector.js'
import type { RequestFlags, RequestKind } from '../../common/request.js'
import type { BlockChild } from '../block-node.js'
import { countsFor, recordLatency } from './accounting.js'
import { admit } from './admit.js'
import { applyErrorAction, errorAction } from './error-policy.js'
import type { BackendRoot } from './root.js'
import { canceled } from './waiting-list.js'

/** What may be said of any request of a backend. */
export interface RequestOptions {
  flags?: RequestFlags
  /** Ends the request with ECANCELED at once while it is held or parked; afterwards it settles when the driver is done. */
  signal?: AbortSignal | undefined
}

/** A request as it may be issued, more than once where the policy says so. */
export interface Work<T = void> {
  readonly kind: RequestKind
  readonly bytes: number
  readonly signal: AbortSignal | undefined
  /** Whom a failed read that is ignored must not leave unfilled. */
  readonly into?: Bytes
  /** Checks the request against the root as it is now, and returns the edge to use. What it throws is the caller's fault. */
  allow(root: BackendRoot): BlockChild
  issue(edge: BlockChild): T | Promise<T>
}

/** Runs a request without a result, under the error policy of the root. */
export async function perform(root: BackendRoot, work: Work): Promise<void> {
  let bytes = 0
  try {
    await attempt(root, work)
    bytes = work.bytes
  } finally {
    await spent(root, bytes)
  }
}

/** Goes on after the first attempt, made on a plain path, failed with `error`. */
export async function recover(root: BackendRoot, work: Work, error: unknown): Promise<void> {
  let bytes = 0
  try {
    if (await survive(root, work, error)) await attempt(root, work)
    bytes = work.bytes
  } finally {
    await spent(root, bytes)
  }
}

/** Runs a request that has a result. Error policies have no say: there is nothing to put in the place of a result. */
export async function performQuery<T>(root: BackendRoot, work: Work<T>): Promise<T> {
  const counts = countsFor(root.accounting, work.kind)
  let reached = false
  try {
    const result = await admit(root, work.signal, () => {
      const edge = work.allow(root)
      reached = true
      return work.issue(edge)
    })
    counts.operations++
    counts.bytes += work.bytes
    return result
  } catch (error) {
    if (reached) counts.failed++
    throw error
  } finally {
    await spent(root, 0)
  }
}

/** A failure counts as well: whoever tries again and again must not keep the loop from turning. */
async function spent(root: BackendRoot, bytes: number): Promise<void> {
  const turn = root.budget.spend(bytes)
  if (turn !== undefined) await turn
}

async function attempt(root: BackendRoot, work: Work): Promise<void> {
  const counts = countsFor(root.accounting, work.kind)
  for (;;) {
    const { clock } = root.environment
    // Measuring may begin while the request is in flight.
    const began = root.timed ? clock.now() : undefined
    let reached = false
    try {
      await admit(root, work.signal, () => {
        const edge = work.allow(root)
        reached = true
        return work.issue(edge)
      })
      counts.operations++
      counts.bytes += work.bytes
      if (began !== undefined) recordLatency(counts, clock.now() - began)
      return
    } catch (error) {
      // A request that was refused, aborted or never started is the caller's business, not the policy's.
      if (!reached) throw error
      if (!(await survive(root, work, error))) return
    }
  }
}

/** What the policy makes of an error: it is thrown, dropped (false), or the request runs again when resumed (true). */
async function survive(root: BackendRoot, work: Work, error: unknown): Promise<boolean> {
  countsFor(root.accounting, work.kind).failed++
  if (!(error instanceof BlockError)) throw error
  const action = errorAction(root, work.kind, error)
  applyErrorAction(root, work.kind, error, action)
  if (action === 'report') throw error
  if (action === 'ignore') {
    if (work.into !== undefined) zeroBytes(work.into)
    return false
  }
  await parked(root, work.signal)
  return true
}

async function parked(root: BackendRoot, signal: AbortSignal | undefined): Promise<void> {
  if (signal?.aborted === true) throw canceled(root.name, 'the request was aborted when it failed')
  if (root.closed) throw canceled(root.name, 'the backend was closed')
  await new Promise<void>((resolve, reject) => {
    root.parked.add(signal, resolve, reject)
  })
}
