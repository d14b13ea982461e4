// Requests that the `stop` policy has set aside: they have failed, their heads are still the device's, and they count
// nowhere until somebody resumes them, stops or suspends their queue, or resets it.

import type { Clock } from '../../../common/clock.js'
import type { BlockError } from '../../../common/error.js'
import type { DescriptorChain } from '../memory/descriptor-chain.js'
import type { Lane } from './lane.js'
import type { QueueService } from './queue-service.js'

/** What can be set aside. */
export interface LaneRequest {
  readonly lane: Lane
  readonly chain: DescriptorChain
}

/** A request, and the error that it met. */
export interface SetAside<R extends LaneRequest> {
  readonly request: R
  readonly error: BlockError
}

/** The requests of one device, in the order in which they failed. */
export class SetAsideList<R extends LaneRequest> {
  private entries: SetAside<R>[] = []
  private resumeWhenReleased = false

  private readonly service: QueueService
  private readonly clock: Clock
  private readonly begin: (request: R) => void

  /** `begin` begins a request once more. */
  constructor(service: QueueService, clock: Clock, begin: (request: R) => void) {
    this.service = service
    this.clock = clock
    this.begin = begin
  }

  get size(): number {
    return this.entries.length
  }

  add(request: R, error: BlockError): void {
    // It may have written before it failed, and go elsewhere without an answer.
    if (request.lane.log !== undefined) request.chain.tellWritable(request.lane.log)
    this.entries.push({ request, error })
  }

  /** Begins all of them again; while the device is held, after that. */
  resume(): void {
    const { service } = this
    this.resumeWhenReleased = service.held
    if (service.held) return
    const taken = this.take()
    // None of them is at rest before all have begun.
    service.inFlight += taken.length
    for (const { request } of taken) {
      service.inFlight--
      this.begin(request)
    }
    for (const lane of service.lanes) service.answered(lane)
  }

  /** Nothing holds the device any more. */
  released(): void {
    if (this.resumeWhenReleased) this.clock.nextTurn(() => this.resume())
  }

  /** Removes those of a lane, or all of them, whose queues have ended. */
  drop(lane?: Lane): SetAside<R>[] {
    const dropped = this.take(lane)
    if (this.size === 0) this.resumeWhenReleased = false
    return dropped
  }

  /** Removes those of a lane, or all of them. */
  take(lane?: Lane): SetAside<R>[] {
    const taken = this.entries.filter(({ request }) => lane === undefined || request.lane === lane)
    this.entries = lane === undefined ? [] : this.entries.filter(({ request }) => request.lane !== lane)
    return taken
  }

  /** All of them. */
  all(): R[] {
    return this.entries.map(({ request }) => request)
  }

  /** Removes one; false where it is not here. */
  remove(request: R): boolean {
    const before = this.entries.length
    this.entries = this.entries.filter((entry) => entry.request !== request)
    return this.entries.length < before
  }

  /** The chains of a lane. */
  chains(lane: Lane): DescriptorChain[] {
    return this.entries.filter(({ request }) => request.lane === lane).map(({ request }) => request.chain)
  }
}
