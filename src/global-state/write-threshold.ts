// The write threshold of a node: a mark that somebody sets below the end of a thin volume, to be told by a
// `write-threshold` event when a write passes it and grow the volume in time. The event disarms it.

import { BlockError } from '../common/error.js'
import { MAX_LENGTH } from '../common/limits.js'
import type { Offset } from '../common/units.js'
import type { BlockDriverState } from '../io/block-node.js'
import { setWriteThreshold as armWriteThreshold } from '../io/gates.js'
import type { MainLoop } from './main-loop.js'

/** Arms the threshold: the first write that ends beyond `bytes` emits the event. 0 disarms; EINVAL for what is no offset. */
export function setWriteThreshold(main: MainLoop, node: BlockDriverState, bytes: Offset): void {
  main.check('setWriteThreshold', node.state.environment)
  if (!Number.isInteger(bytes) || bytes < 0 || bytes > MAX_LENGTH) {
    throw new BlockError('EINVAL', `a write threshold is an offset in bytes, not ${bytes}`, {
      node: node.nodeName,
      op: 'threshold',
    })
  }
  armWriteThreshold(node, bytes)
}

/** The threshold in bytes; 0 where none is armed. */
export function writeThreshold(node: BlockDriverState): Offset {
  return node.state.writeThreshold
}
