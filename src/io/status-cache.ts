// The status cache of a leaf node: the last range known to hold data. It saves a tool that walks a sparse file a system
// call per step. Zero writes and discards through this node invalidate it; zeroing by others may leave it claiming data,
// which is allowed: data is always a truthful answer.

import type { Offset } from '../common/units.js'
import type { RequestState } from './request-state.js'

/** Remembers that `start` to `end` (exclusive) holds data. Joins the range before it where they touch. */
export function fillStatusCache(state: RequestState, start: Offset, end: Offset): void {
  if (start <= state.statusCacheEnd && start >= state.statusCacheStart) {
    state.statusCacheEnd = Math.max(end, state.statusCacheEnd)
    return
  }
  state.statusCacheStart = start
  state.statusCacheEnd = end
}

/** How many bytes from `offset` on are known to hold data; 0 where nothing is known. */
export function cachedDataBytes(state: RequestState, offset: Offset): number {
  return offset >= state.statusCacheStart && offset < state.statusCacheEnd ? state.statusCacheEnd - offset : 0
}

/** Forgets the range where it overlaps `start` to `end` (exclusive). */
export function invalidateStatusCache(state: RequestState, start: Offset, end: Offset): void {
  if (start >= state.statusCacheEnd || end <= state.statusCacheStart) return
  state.statusCacheStart = 0
  state.statusCacheEnd = 0
}
