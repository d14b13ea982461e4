// Waiting for what is on its way to a range. A driver that is about to give a range of its child to somebody else lets the
// requests end that still use it under its old meaning.

import type { Offset } from '../common/units.js'
import type { BlockDriverState } from './block-node.js'
import type { Completion } from './node-io.js'
import { left } from './stages/serialise.js'

/**
 * Waits until no request that is in flight at `node` now, and overlaps the range, is in flight any more; undefined where there
 * is none. The caller has none there itself.
 */
export function settleRange(node: BlockDriverState, offset: Offset, bytes: number): Completion {
  const overlapping: Promise<void>[] = []
  for (let request = node.state.first; request !== undefined; request = request.next) {
    if (request.offset < offset + bytes && offset < request.offset + request.bytes) overlapping.push(left(request))
  }
  return overlapping.length === 0 ? undefined : allLeft(overlapping)
}

async function allLeft(pending: readonly Promise<void>[]): Promise<void> {
  for (const request of pending) await request
}
