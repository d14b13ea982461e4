// The memory of a guest as its front-end describes it.

import {
  encodeMemoryTable,
  MEMORY_REGION_BYTES,
  type MemoryRegionDescription,
} from '../../../src/protocols/vhost-user/memory-regions.js'

/** Where it begins for the guest, and for the front-end. */
export const GUEST_BASE = 0x10_0000
export const USER_BASE = 0x7f00_0000_0000n

const PAGE = 4096

/** `bytes` of memory as one region, or `cut`: the first four pages, where the rings are, as regions of their own. */
export function regionsOf(bytes: number, cut: boolean): MemoryRegionDescription[] {
  const starts = cut ? [0, PAGE, 2 * PAGE, 3 * PAGE, 4 * PAGE] : [0]
  return starts.map((start, i) => ({
    guestAddress: BigInt(GUEST_BASE + start),
    size: BigInt((starts[i + 1] ?? bytes) - start),
    userAddress: USER_BASE + BigInt(start),
    mmapOffset: BigInt(start),
    xen: undefined,
  }))
}

/** The payload of a table; `long`: padded by the length of one region more. */
export function tableOf(regions: readonly MemoryRegionDescription[], long: boolean): Uint8Array {
  const payload = encodeMemoryTable(regions)
  if (!long) return payload
  const padded = new Uint8Array(payload.length + MEMORY_REGION_BYTES)
  padded.set(payload)
  return padded
}
