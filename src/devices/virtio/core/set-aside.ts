// Requests that the `stop` policy has set aside: they have failed, their heads are still the device's, and they count
// nowhere until somebody resumes them, stops or suspends their queue, or resets it.

import type { BlockError } from '../../../common/error.js'
import type { DescriptorChain } from '../memory/descriptor-chain.js'
import type { Lane } from './lane.js'

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

  get size(): number {
    return this.entries.length
  }

  add(request: R, error: BlockError): void {
    // It may have written before it failed, and go elsewhere without an answer.
    if (request.lane.log !== undefined) request.chain.tellWritable(request.lane.log)
    this.entries.push({ request, error })
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
