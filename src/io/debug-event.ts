// Points in a driver's work that a test below may stop at or fail (blkdebug).

import type { BlockChild } from './block-node.js'
import type { Completion } from './node-io.js'

/** Tells the child that the driver above reached `event` ("l2_update"). A child without an interest costs one comparison. */
export function debugEvent(edge: BlockChild | undefined, event: string): Completion {
  return edge?.node.io.debugEvent?.(event)
}
