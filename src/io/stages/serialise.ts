// Order between overlapping requests. Two requests conflict when they overlap and at least one is serialising. A request
// never waits for one that itself waits: the other will look again when it wakes, and find this one in flight. Nor does it
// wait for one that cannot end before it: of two copies that cross each other, the one that would close the ring goes first.

import { BlockError } from '../../common/error.js'
import { alignDown, alignUp, type Offset } from '../../common/units.js'
import { recomputeGates } from '../gates.js'
import type { RequestOrder, TrackedRequest } from '../request-state.js'

/** Makes `request` serialising over its range widened to `alignment`. Those already on their way are still to be awaited. */
export function makeSerialising(request: TrackedRequest, alignment: number): void {
  claim(request, alignDown(request.offset, alignment), alignUp(request.offset + request.bytes, alignment))
}

/** Makes `request` serialising from byte `start` to `end`, besides its own range. */
export function claim(request: TrackedRequest, start: Offset, end: Offset): void {
  const order = orderOf(request)
  const from = Math.min(start, order.offset)
  order.bytes = Math.max(end, order.offset + order.bytes) - from
  order.offset = from
  if (request.serialising) return
  const { state } = request
  request.serialising = true
  state.serialising++
  recomputeGates(state)
}

/** Waits until no conflicting request is in flight. Asserts nothing; guarantees exclusiveness where serialising. */
export async function waitForConflicts(request: TrackedRequest): Promise<void> {
  if (request.state.serialising === 0) return
  for (let other = findConflict(request); other !== undefined; other = findConflict(request)) {
    await left(other, request)
  }
}

/** Resolves when `other` has left. `waiting` is the request that waits for that, where it is one. */
export function left(other: TrackedRequest, waiting?: TrackedRequest): Promise<void> {
  const order = waiting === undefined ? undefined : orderOf(waiting)
  if (order !== undefined) order.waitingFor = other
  return new Promise((resolve) => {
    const wake = () => {
      if (order !== undefined) order.waitingFor = undefined
      resolve()
    }
    orderOf(other).waiters.push({ request: waiting, wake })
  })
}

/** Throws EBUSY where {@link waitForConflicts} would wait. */
export function refuseConflicts(request: TrackedRequest): void {
  const { node } = request.state
  if (findConflict(request, true) === undefined) return
  throw new BlockError('EBUSY', 'an overlapping request is in flight', { node: node.nodeName, op: request.kind })
}

/** Makes `request` a part of `whole`, which does not end before it. */
export function makePartOf(request: TrackedRequest, whole: TrackedRequest): void {
  orderOf(request).within = whole
}

function orderOf(request: TrackedRequest): RequestOrder {
  const { offset, bytes } = request
  request.order ??= { offset, bytes, waitingFor: undefined, waiters: [], within: undefined }
  return request.order
}

/** A status changes no data, and the state of a machine lies beside the guest's data: their ranges conflict with none. */
function hasRange({ kind }: TrackedRequest): boolean {
  return kind !== 'block-status' && kind !== 'vmstate'
}

function findConflict(request: TrackedRequest, alsoWaiting = false): TrackedRequest | undefined {
  const { serialising } = request
  const { offset: start, bytes } = request.order ?? request
  const end = start + bytes
  if (bytes === 0) return undefined
  for (let other = request.state.first; other !== undefined; other = other.next) {
    if (other === request || !(serialising || other.serialising) || !hasRange(other)) continue
    const taken = other.order ?? other
    if (taken.bytes === 0 || taken.offset >= end || start >= taken.offset + taken.bytes) continue
    if (alsoWaiting || (other.order?.waitingFor === undefined && !endsAfter(other, request))) return other
  }
  return undefined
}

/** Whether `other` cannot end before `request`: `request` is part of it, or holds up a part of it, over however many. */
function endsAfter(other: TrackedRequest, request: TrackedRequest): boolean {
  const heldUp = new Set([request])
  // A set that grows while it is walked visits what was added.
  for (const { order } of heldUp) {
    if (order?.within !== undefined) heldUp.add(order.within)
    for (const { request: held } of order?.waiters ?? []) if (held !== undefined) heldUp.add(held)
  }
  return heldUp.has(other)
}
