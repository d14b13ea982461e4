// The only place that waits for a drained section. A request is held first come first served; after each wake-up it looks
// again, and in the same step it is counted and started. It reads the root's edge after that, never before.

import type { AsyncContext } from '../../common/context-tracker.js'
import { BlockError } from '../../common/error.js'
import { DrainedSection } from '../drained.js'
import { wakeDrains } from '../environment.js'
import { type BackendRoot, mustHold, recomputeRootGates } from './root.js'
import { canceled } from './waiting-list.js'

/**
 * Starts `issue` as soon as no section forbids it. Rejects with ECANCELED where `signal` aborts or the root is closed before
 * that, and with EDEADLK where context tracking sees that the section is the caller's own.
 */
export async function admit<T>(
  root: BackendRoot,
  signal: AbortSignal | undefined,
  issue: () => T | Promise<T>,
): Promise<T> {
  if (signal?.aborted === true) throw canceled(root.name, 'the request was aborted before it began')
  if (root.closed) throw canceled(root.name, 'the backend was closed')
  if (!mustHold(root)) return counted(root, issue)
  refuseOwnSection(root)
  return new Promise<T>((resolve, reject) => {
    root.held.add(signal, () => counted(root, issue).then(resolve, reject), reject)
    recomputeRootGates(root)
  })
}

/** Counts a request as in flight while it runs. */
async function counted<T>(root: BackendRoot, issue: () => T | Promise<T>): Promise<T> {
  root.inFlight++
  const context = requestContext(root)
  try {
    const { tracker } = root.environment
    return await (tracker === undefined || context === undefined ? issue() : tracker.run(context, issue))
  } finally {
    if (context !== undefined) context.ended = true
    leaveRoot(root)
  }
}

/** Counts a request as done; a drain that waits for the root looks again. */
export function leaveRoot(root: BackendRoot): void {
  root.inFlight--
  if (root.quiesced !== 0) wakeDrains(root.environment)
}

function requestContext(root: BackendRoot): AsyncContext | undefined {
  const { environment } = root
  const { tracker } = environment
  if (tracker === undefined) return undefined
  return { kind: 'request', subject: root, scope: environment, outer: tracker.current() }
}

function refuseOwnSection(root: BackendRoot): void {
  const node = root.edge?.node
  if (node === undefined) return
  for (let at = root.environment.tracker?.current(); at !== undefined; at = at.outer) {
    if (at.ended === true || at.openSections === undefined) continue
    for (const section of at.openSections) {
      if (!(section instanceof DrainedSection) || !section.covers(node)) continue
      const message = 'a request was issued from inside a drained section that holds it'
      throw new BlockError('EDEADLK', message, { node: root.name })
    }
  }
}
