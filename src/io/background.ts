// Work that nobody waits for. What it throws is reported as an event, never left floating.

import type { BlockDriverState } from './block-node.js'
import type { IoEnvironment } from './environment.js'
import type { Completion } from './node-io.js'

/** Reports a failure of `pending` as a `background-error` event of `node`; returns at once. */
export function background(node: BlockDriverState, pending: Completion | Promise<unknown>): void {
  if (pending === undefined) return
  pending.then(undefined, (error: unknown) => reportBackground(node, error))
}

/** Tells whoever listens that something nobody waits for failed at `node`. */
export function reportBackground(node: BlockDriverState, error: unknown): void {
  reportFailure(node.state.environment, node.nodeName, error)
}

/** The same for what has no node for certain, such as a backend: `name` stands for it in the event. */
export function reportFailure(environment: IoEnvironment, name: string, error: unknown): void {
  const message = error instanceof Error ? error.message : String(error)
  environment.trace.emit('background-error', { node: name, message, error })
}
