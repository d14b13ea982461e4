// The gates of a node: whether reads and writes may take the plain path, as far as I/O's own state decides. They are
// computed from scratch whenever a reason changes, so no reason can be forgotten. What global state owns (open flags,
// detect-zeroes, closed, permissions) is looked at by each request itself.

import { assert } from '../common/assert.js'
import type { BlockDriverState } from './block-node.js'
import type { DirtyBitmap } from './dirty-bitmap.js'
import type { RequestState } from './request-state.js'

const GATE_SERIALISING = 1
const GATE_COPY_ON_READ = 2
const GATE_BITMAPS = 4
const GATE_THRESHOLD = 8

/** Recomputes both gates. To be called after any change of what they depend on. */
export function recomputeGates(state: RequestState): void {
  const shared = (state.serialising > 0 ? GATE_SERIALISING : 0) | (state.copyOnRead > 0 ? GATE_COPY_ON_READ : 0)
  state.readGates = shared
  state.writeGates =
    (shared & GATE_SERIALISING) |
    (state.bitmaps.length > 0 ? GATE_BITMAPS : 0) |
    (state.writeThreshold > 0 ? GATE_THRESHOLD : 0)
}

/** Makes every read of the node copy what came from below into it. Counts: each call needs one to disable it. */
export function enableCopyOnRead(node: BlockDriverState): void {
  node.state.copyOnRead += 1
  recomputeGates(node.state)
}

/** Takes back one {@link enableCopyOnRead}. */
export function disableCopyOnRead(node: BlockDriverState): void {
  assert(node.state.copyOnRead > 0, `${node.nodeName}: copy-on-read is not enabled`)
  node.state.copyOnRead -= 1
  recomputeGates(node.state)
}

/** Arms the write threshold: the first write that ends beyond `bytes` emits an event and disarms it. 0 disarms. */
export function setWriteThreshold(node: BlockDriverState, bytes: number): void {
  node.state.writeThreshold = bytes
  recomputeGates(node.state)
}

/** Replaces the list of bitmaps that record writes to the node or forbid them. */
export function setBitmaps(node: BlockDriverState, bitmaps: readonly DirtyBitmap[]): void {
  node.state.bitmaps = bitmaps
  recomputeGates(node.state)
}
