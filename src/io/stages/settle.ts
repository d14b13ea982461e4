// The last stage of a write-like request, successful or not: write generation, highest offset, growth, bitmaps. What
// parents and listeners hear of it is told in a microtask, when the request is no longer on the stack.

import type { AsyncContext } from '../../common/context-tracker.js'
import type { Offset } from '../../common/units.js'
import { reportBackground } from '../background.js'
import { markDirty, truncateBitmaps } from '../dirty-bitmap.js'
import type { RequestState } from '../request-state.js'
import { invalidateStatusCache } from '../status-cache.js'

/** Settles a write that met no bitmap. Called whether it failed or not. */
export function settlePlainWrite(state: RequestState, end: Offset): void {
  state.writeGeneration++
  if (end > state.writtenUpTo) state.writtenUpTo = end
}

/** Settles a plain write that took a while: a bitmap made meanwhile has to know of it, since nobody knows when it took effect. */
export function settleTrackedWrite(state: RequestState, offset: Offset, bytes: number): void {
  settlePlainWrite(state, offset + bytes)
  if (state.bitmaps.length > 0) markBitmaps(state, offset, bytes)
}

/** After a write of the plain path that succeeded: the node is as long as it reached. */
export function growTo(state: RequestState, end: Offset): void {
  if (end > state.length) setLength(state, end)
}

/**
 * Settles a write or zero write of the careful path. Bitmaps are marked also where it failed: nobody knows how much
 * was written.
 */
export function settleWrite(state: RequestState, offset: Offset, bytes: number, succeeded: boolean): void {
  const end = offset + bytes
  state.writeGeneration++
  if (succeeded) growTo(state, end)
  if (bytes > 0 && end > state.writtenUpTo) state.writtenUpTo = end
  markBitmaps(state, offset, bytes)
}

/** Settles a discard: as a write, but what it deallocates was not written. */
export function settleDiscard(state: RequestState, offset: Offset, bytes: number): void {
  state.writeGeneration++
  markBitmaps(state, offset, bytes)
}

/** Records a new length, fits the bitmaps to it and tells the parents soon. */
export function setLength(state: RequestState, length: Offset): void {
  if (length === state.length) return
  invalidateStatusCache(state, Math.min(length, state.length), Number.POSITIVE_INFINITY)
  state.length = length
  if (state.bitmaps.length > 0) truncateBitmaps(state.bitmaps, length)
  if (state.resizeQueued) return
  state.resizeQueued = true
  deliverSoon(state, () => tellResized(state))
}

/** Runs `deliver` in the next microtask, outside the request that asked for it. What it throws is reported. */
export function deliverSoon(state: RequestState, deliver: () => void): void {
  const { tracker } = state.environment
  queueMicrotask(() => {
    try {
      if (tracker === undefined) deliver()
      else tracker.run(outsideOf(tracker.current(), state), deliver)
    } catch (error) {
      reportBackground(state.node, error)
    }
  })
}

function markBitmaps(state: RequestState, offset: Offset, bytes: number): void {
  const inside = Math.min(bytes, state.length - offset)
  if (inside <= 0) return
  for (const bitmap of state.bitmaps) markDirty(bitmap, offset, inside)
}

/** Hooks may start work that outlives the request, which must not count as part of it. */
function outsideOf(_current: AsyncContext | undefined, state: RequestState): AsyncContext {
  return { kind: 'request', subject: state, outer: undefined, ended: true }
}

function tellResized(state: RequestState): void {
  state.resizeQueued = false
  const { node, length } = state
  state.environment.trace.emit('resized', { node: node.nodeName, length })
  for (const edge of [...node.parents]) {
    try {
      edge.parent.resized?.(edge, length)
    } catch (error) {
      reportBackground(node, error)
    }
  }
}
