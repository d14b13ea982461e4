// Where the parts of a queue lie when its driver packs them from one address on. Each part begins on a cache line of its
// own: the two ends of a queue write different parts.

import { alignUp, highHalf, lowHalf } from '../../../common/units.js'
import { PACKED_EVENT_BYTES, packedRingBytes } from '../../../protocols/virtio/packed-ring.js'
import {
  availRingBytes,
  descriptorTableBytes,
  usedRingBytes,
  VIRTQ_DESC_BYTES,
} from '../../../protocols/virtio/split-ring.js'
import type { GuestAddress, QueueConfig } from '../queue/queue-layout.js'

const CACHE_LINE = 64

/** What a queue has besides its size. */
export interface QueuePlanOptions {
  /** A packed queue. */
  readonly packed?: boolean
  /** Descriptors in the indirect table that each chain may have; 0, the default, for no tables. */
  readonly tableEntries?: number
}

/** Where the three parts of a queue lie when packed from `address` on. */
export interface QueuePlan {
  readonly size: number
  /** The descriptor table, or the ring of a packed queue. */
  readonly table: number
  /** The available ring, or the driver's event suppression. */
  readonly avail: number
  /** The used ring, or the device's event suppression. */
  readonly used: number
  /** The indirect tables, one for each entry, and how many descriptors each has. */
  readonly tables: number
  readonly tableEntries: number
  /** Address behind the queue and its tables. */
  readonly end: number
  /** The same for the device. */
  readonly config: QueueConfig
}

/** Lays a queue out. A packed one never needs more than a split one. */
export function planQueue(address: number, size: number, options: QueuePlanOptions = {}): QueuePlan {
  const { packed = false, tableEntries = 0 } = options
  const table = alignUp(address, CACHE_LINE)
  const avail = alignUp(table + (packed ? packedRingBytes(size) : descriptorTableBytes(size)), CACHE_LINE)
  const used = alignUp(avail + (packed ? PACKED_EVENT_BYTES : availRingBytes(size)), CACHE_LINE)
  const behind = used + (packed ? PACKED_EVENT_BYTES : usedRingBytes(size))
  const tables = tableEntries === 0 ? behind : alignUp(behind, CACHE_LINE)
  return {
    size,
    table,
    avail,
    used,
    tables,
    tableEntries,
    end: tables + size * tableEntries * VIRTQ_DESC_BYTES,
    config: { size, descriptorTable: halves(table), availRing: halves(avail), usedRing: halves(used) },
  }
}

function halves(address: number): GuestAddress {
  return { high: highHalf(address), low: lowHalf(address) }
}
