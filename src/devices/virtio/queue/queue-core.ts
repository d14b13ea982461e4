// What a device's queue has whatever its format: the heads it holds, their order, the table of a chain, and its end.

import type { GuestMemory } from '../memory/guest-memory.js'
import { IndirectTable } from './chain-rules.js'
import { FETCH_FAULT, type FetchResult } from './device-queue.js'
import type { InflightTracker } from './inflight-tracker.js'
import type { QueueFeatures } from './queue-state.js'
import { type OrderedHead, ReturnOrder } from './return-order.js'
import { type EarlierChain, TakenHeads } from './taken-heads.js'

/** The part of a `DeviceQueue` that is the same for every format. */
export abstract class QueueCore {
  readonly id: number
  readonly size: number
  live = true
  fault: string | undefined

  protected readonly memory: GuestMemory
  protected readonly eventIndex: boolean
  protected readonly heads: TakenHeads
  protected readonly order: ReturnOrder | undefined
  protected readonly indirect: IndirectTable | undefined
  protected readonly tracker: InflightTracker | undefined

  constructor(memory: GuestMemory, size: number, features: QueueFeatures, id: number, tracker?: InflightTracker) {
    this.id = id
    this.size = size
    this.memory = memory
    this.eventIndex = features.eventIndex
    this.heads = new TakenHeads(size)
    this.order = features.inOrder ? new ReturnOrder(size) : undefined
    this.indirect = features.indirect ? new IndirectTable(size) : undefined
    this.tracker = tracker
  }

  get inFlight(): number {
    return this.heads.inFlight
  }

  get earlier(): number {
    return this.heads.earlier
  }

  earlierChains(): EarlierChain[] {
    return this.heads.waiting()
  }

  ordered(): OrderedHead[] {
    return this.order?.heads() ?? []
  }

  retire(): void {
    this.live = false
    this.fault ??= 'the queue was reset'
  }

  protected fail(reason: string): FetchResult {
    this.fault = reason
    return FETCH_FAULT
  }
}
