// Debug points of a chain: the first node along the primary children whose driver has them (blkdebug) takes the call.

import { BlockError } from '../common/error.js'
import type { BlockDriver } from './driver.js'
import type { MainLoop } from './main-loop.js'
import { primaryEdge } from './node-filename.js'
import type { NodeState } from './node-state.js'

type DebugPoints = NonNullable<BlockDriver['debug']>

/** Holds requests that raise `event` until `resumeBreakpoint` with the same tag. ENOTSUP where no node has debug points. */
export function setBreakpoint(main: MainLoop, node: NodeState, event: string, tag: string): void {
  main.check('setBreakpoint', node.environment)
  withDebug(node, (points, state) => points.breakpoint(state, event, tag))
}

/** Removes a breakpoint; what it holds goes on. */
export function removeBreakpoint(main: MainLoop, node: NodeState, tag: string): void {
  main.check('removeBreakpoint', node.environment)
  withDebug(node, (points, state) => points.removeBreakpoint(state, tag))
}

/** Lets a request held under `tag` go on. */
export function resumeBreakpoint(main: MainLoop, node: NodeState, tag: string): void {
  main.check('resumeBreakpoint', node.environment)
  withDebug(node, (points, state) => points.resume(state, tag))
}

/** Whether a request is held under `tag`. */
export function isSuspended(node: NodeState, tag: string): boolean {
  return withDebug(node, (points, state) => points.isSuspended(state, tag))
}

function withDebug<T>(node: NodeState, act: (points: DebugPoints, state: unknown) => T): T {
  for (let at: NodeState | undefined = node; at !== undefined; at = primaryEdge(at)?.node) {
    const { debug } = at.definition
    if (debug !== undefined) return act(debug, at.driverState)
  }
  throw new BlockError('ENOTSUP', 'no node of this chain has debug points', { node: node.nodeName, op: 'debug' })
}
