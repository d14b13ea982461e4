// A request of a device that has no path so hot that it needs one of its own: the chain, where it came from, and how it
// goes back.

import { DescriptorChain } from '../memory/descriptor-chain.js'
import { type DeviceQueue, FETCH_CHAIN, FETCH_EMPTY, type FetchResult, NO_HEAD } from '../queue/device-queue.js'
import type { Lane } from './lane.js'
import { returnChain } from './return-chain.js'

/** A chain on its way through a device. */
export class ChainRequest {
  readonly chain = new DescriptorChain()
  readonly lane: Lane
  /** The life of the queue it came from; one that has ended is not touched any more. */
  readonly queue: DeviceQueue

  constructor(lane: Lane, queue: DeviceQueue) {
    this.lane = lane
    this.queue = queue
  }

  /** Whether its driver still waits for it. */
  get live(): boolean {
    return this.queue.live
  }

  /** Takes the next chain. A head that came with a fault goes back with nothing written. */
  fetch(): FetchResult {
    const result = this.queue.fetch(this.chain)
    if (result !== FETCH_CHAIN && result !== FETCH_EMPTY && this.chain.head !== NO_HEAD) this.giveBack(0)
    return result
  }

  /** The chain makes no sense and has no place for an answer: it goes back, and the device will ask for a reset. */
  refuse(reason: string): void {
    this.queue.fault ??= reason
    this.giveBack(0)
  }

  /** Puts the head back with `length` bytes written, unless its queue has been reset. To be called then, too. */
  giveBack(length: number): void {
    returnChain(this.lane, this.queue, this.chain, length)
  }
}
