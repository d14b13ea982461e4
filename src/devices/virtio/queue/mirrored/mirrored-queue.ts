// A queue whose parts cross from one region of guest memory into the next: a queue over mirrors of them, which are brought
// in line with the guest's around each call. Slower than one whose parts lie in one region each, which is what drivers make;
// that one has nothing of this.

import type { DescriptorChain } from '../../memory/descriptor-chain.js'
import type { DeviceQueue, FetchResult, QueueBytes, QueueState } from '../device-queue.js'
import type { InflightTracker } from '../inflight-tracker.js'
import type { OrderedHead } from '../return-order.js'
import type { EarlierChain, EarlierList } from '../taken-heads.js'

/** What does not depend on the format. */
export abstract class MirroredQueue implements DeviceQueue {
  /** Over the mirrors. */
  protected readonly inner: DeviceQueue
  protected readonly tracker: InflightTracker | undefined

  constructor(inner: DeviceQueue, tracker: InflightTracker | undefined) {
    this.inner = inner
    this.tracker = tracker
  }

  abstract fetch(chain: DescriptorChain): FetchResult
  abstract publish(): boolean

  /** Brings what is available into the mirrors. */
  protected abstract look(): void
  /** Tells the driver what notifications the inner queue asks for. */
  protected abstract pushWishes(): void

  get id(): number {
    return this.inner.id
  }

  get size(): number {
    return this.inner.size
  }

  get inFlight(): number {
    return this.inner.inFlight
  }

  get live(): boolean {
    return this.inner.live
  }

  get fault(): string | undefined {
    return this.inner.fault
  }

  set fault(reason: string | undefined) {
    this.inner.fault = reason
  }

  get unpublished(): boolean {
    return this.inner.unpublished
  }

  get earlier(): number {
    return this.inner.earlier
  }

  push(head: number, length: number): void {
    this.inner.push(head, length)
  }

  suppressNotifications(): void {
    this.inner.suppressNotifications()
    this.pushWishes()
  }

  /** The inner queue looks at its mirror, which is in line with the guest's only behind the wish: it is asked again. */
  allowNotifications(): boolean {
    this.inner.allowNotifications()
    this.pushWishes()
    this.look()
    return this.inner.allowNotifications()
  }

  availableBytes(limits: QueueBytes): QueueBytes {
    this.look()
    return this.inner.availableBytes(limits)
  }

  refetch(heads: readonly number[], lists?: readonly EarlierList[]): number {
    return this.inner.refetch(heads, lists)
  }

  earlierChains(): readonly EarlierChain[] {
    return this.inner.earlierChains()
  }

  slotsOf(head: number): number {
    return this.inner.slotsOf(head)
  }

  ordered(): readonly OrderedHead[] {
    return this.inner.ordered()
  }

  save(): QueueState {
    return this.inner.save()
  }

  retire(): void {
    this.inner.retire()
  }
}

/** What the inner queue tells a tracker: all but `published`, since what is in its mirror the driver has not seen. */
export function trackerOfMirror(tracker: InflightTracker | undefined): InflightTracker | undefined {
  if (tracker === undefined) return undefined
  return {
    taken: (head, descriptors, count) => tracker.taken(head, descriptors, count),
    returning: (head) => tracker.returning(head),
    published: () => {},
  }
}
