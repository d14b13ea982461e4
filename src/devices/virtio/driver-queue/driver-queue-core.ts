// What a driver's queue has whatever its format: counts, the chain that is being built, and the batch that is being reaped.

import { assert } from '../../../common/assert.js'
import { BlockError } from '../../../common/error.js'
import type { GuestMemory } from '../memory/guest-memory.js'
import type { QueueFeatures } from '../queue/queue-state.js'
import { type DriverTables, driverTables } from './driver-tables.js'
import type { QueuePlan } from './queue-plan.js'

/** The part of a `DriverQueue` that is the same for every format. */
export abstract class DriverQueueCore {
  readonly plan: QueuePlan
  readonly size: number
  free: number
  inFlight = 0
  usedLength = 0

  protected readonly eventIndex: boolean
  protected readonly inOrder: boolean
  protected readonly tables: DriverTables | undefined
  /** Of the chain of each head: bytes to write. */
  protected readonly writable: Uint32Array
  protected firstFree = 0
  /** The chain being built: where its next descriptor goes in a table, how many are still to come, bytes to write so far. */
  protected word = 0
  protected left = 0
  protected bytes = 0
  protected nested = false
  /** In order: the chain the device has had longest, and the last one of the batch that is being reaped, -1 for none. */
  protected oldest = 0
  protected batchLast = -1
  protected batchLength = 0

  constructor(memory: GuestMemory, plan: QueuePlan, features: QueueFeatures) {
    this.plan = plan
    this.size = plan.size
    this.free = plan.size
    this.eventIndex = features.eventIndex
    this.inOrder = features.inOrder
    this.tables = driverTables(memory, plan, features.indirect)
    this.writable = new Uint32Array(plan.size)
  }

  /** Ends the chain of `head`. */
  protected endChain(head: number): void {
    assert(this.left === 0, `${this.left} buffers of the chain are missing`)
    this.writable[head] = this.bytes
    this.inFlight++
  }
}

/** The device broke the rules. */
export function broken(what: string): BlockError {
  return new BlockError('EPROTO', `the device ${what}`)
}
