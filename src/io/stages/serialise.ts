// Order between overlapping requests. Two requests conflict when they overlap and at least one is serialising. A request
// never waits for one that itself waits: the other will look again when it wakes, and find this one in flight.

import { BlockError } from '../../common/error.js'
import { alignDown, alignUp, type Offset } from '../../common/units.js'
import { recomputeGates } from '../gates.js'
import type { TrackedRequest } from '../request-state.js'

/** Makes `request` serialising over its range widened to `alignment`. Those already on their way are still to be awaited. */
export function makeSerialising(request: TrackedRequest, alignment: number): void {
  const { state } = request
  const start = alignDown(request.offset, alignment)
  const end = alignUp(request.offset + request.bytes, alignment)
  widen(request, start, end)
  if (request.serialising) return
  request.serialising = true
  state.serialising++
  recomputeGates(state)
}

/** Waits until no conflicting request is in flight. Asserts nothing; guarantees exclusiveness where serialising. */
export async function waitForConflicts(request: TrackedRequest): Promise<void> {
  if (request.state.serialising === 0) return
  for (let other = findConflict(request); other !== undefined; other = findConflict(request)) {
    await leaving(request, other)
  }
}

/** Throws EBUSY where {@link waitForConflicts} would wait. */
export function refuseConflicts(request: TrackedRequest): void {
  const { node } = request.state
  if (findConflict(request, true) === undefined) return
  throw new BlockError('EBUSY', 'an overlapping request is in flight', { node: node.nodeName, op: request.kind })
}

function widen(request: TrackedRequest, start: Offset, end: Offset): void {
  const from = Math.min(start, request.overlapOffset)
  const to = Math.max(end, request.overlapOffset + request.overlapBytes)
  request.overlapOffset = from
  request.overlapBytes = to - from
}

function findConflict(request: TrackedRequest, alsoWaiting = false): TrackedRequest | undefined {
  const { overlapOffset: start, serialising } = request
  const end = start + request.overlapBytes
  if (end === start) return undefined
  for (let other = request.state.first; other !== undefined; other = other.next) {
    if (other === request || other.overlapBytes === 0 || !(serialising || other.serialising)) continue
    if (other.overlapOffset >= end || start >= other.overlapOffset + other.overlapBytes) continue
    if (alsoWaiting || other.waitingFor === undefined) return other
  }
  return undefined
}

function leaving(request: TrackedRequest, other: TrackedRequest): Promise<void> {
  request.waitingFor = other
  return new Promise((resolve) => {
    other.waiters ??= []
    other.waiters.push(() => {
      request.waitingFor = undefined
      resolve()
    })
  })
}
