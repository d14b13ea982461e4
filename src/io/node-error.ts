// What a failed driver call becomes: a BlockError that names its node. A broken contract stays what it is.

import { AssertionFailure } from '../common/assert.js'
import { type BlockError, toBlockError } from '../common/error.js'
import type { BlockDriverState } from './block-node.js'

/** What to throw for `thrown`, met at `node` while doing `op`. */
export function nodeError(thrown: unknown, node: BlockDriverState, op: string): BlockError | AssertionFailure {
  if (thrown instanceof AssertionFailure) return thrown
  return toBlockError(thrown, { node: node.nodeName, op })
}
