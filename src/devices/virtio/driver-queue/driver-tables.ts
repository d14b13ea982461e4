// The indirect tables of a driver's queue (virtio 1.2, 2.7.5.3 and 2.8.7): one for each head, at a fixed place, so that a
// chain needs one descriptor of the queue and no allocation.

import { BlockError } from '../../../common/error.js'
import { highHalf, lowHalf } from '../../../common/units.js'
import { VIRTQ_DESC_BYTES } from '../../../protocols/virtio/split-ring.js'
import type { GuestMemory } from '../memory/guest-memory.js'
import type { QueuePlan } from './queue-plan.js'

/** The tables of a plan. */
export class DriverTables {
  /** Descriptors in each. */
  readonly entries: number
  readonly words: Uint32Array
  private readonly address: number
  private readonly firstWord: number

  /** Throws EINVAL where they do not lie in one region. */
  constructor(memory: GuestMemory, plan: QueuePlan) {
    const bytes = plan.end - plan.tables
    const region = memory.find(highHalf(plan.tables), lowHalf(plan.tables), bytes)
    if (region === undefined)
      throw new BlockError('EINVAL', 'the indirect tables do not lie in one region of guest memory')
    this.entries = plan.tableEntries
    this.words = region.words
    this.address = plan.tables
    this.firstWord = (plan.tables - region.base) / 4
  }

  /** Index of the first word of the table of `head`. */
  wordOf(head: number): number {
    return this.firstWord + head * this.entries * 4
  }

  /** Its guest address. */
  addressOf(head: number): number {
    return this.address + head * this.entries * VIRTQ_DESC_BYTES
  }
}

/** The tables of a queue that was agreed to have some; undefined where there are none. */
export function driverTables(memory: GuestMemory, plan: QueuePlan, indirect: boolean): DriverTables | undefined {
  return indirect && plan.tableEntries > 0 ? new DriverTables(memory, plan) : undefined
}
