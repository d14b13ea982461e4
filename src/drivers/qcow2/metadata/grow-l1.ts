// A larger L1 table: the new one stands whole, then one write lets the header name it, then the old one is free (rule O6). The
// caller holds the image's lock.

import { ENTRY_BYTES, MAX_L1_BYTES } from '../format/layout.js'
import { Table64 } from '../format/table.js'
import { freeClusters } from '../refcounts/allocator.js'
import { writeToNewClusters } from '../snapshots/snapshot-tables.js'
import { imageError, type Qcow2State } from '../state.js'
import { barrier } from './barrier.js'
import { isWatched, reach } from './debug-points.js'
import { settleMetadata } from './flush.js'
import { writeHeaderFields } from './header-update.js'

/**
 * Lets the L1 table have at least `entries` entries: exactly so many, or with `ahead` half as many again as often as that takes.
 * EFBIG beyond the largest table. On failure the old table stays.
 */
export async function growL1(state: Qcow2State, entries: number, ahead = false): Promise<void> {
  const { l1, header } = state
  if (entries <= l1.length) return
  let size = entries
  if (ahead) for (size = Math.max(l1.length, 1); size < entries; ) size = Math.ceil((size * 3) / 2)
  if (entries * ENTRY_BYTES > MAX_L1_BYTES)
    throw imageError(state, 'EFBIG', 'Failed to grow the L1 table: File too large')
  size = Math.min(size, MAX_L1_BYTES / ENTRY_BYTES)
  const grown = Table64.ofEntries(size)
  grown.bytes.set(l1.bytes)
  if (isWatched(state)) await reach(state, 'l1_grow_alloc_table')
  const offset = await writeToNewClusters(state, grown.bytes, 'l1_grow_write_table')
  try {
    await settleMetadata(state)
    await barrier(state)
    if (isWatched(state)) await reach(state, 'l1_grow_activate_table')
  } catch (error) {
    await freeClusters(state, offset, grown.bytes.byteLength, 'never')
    throw error
  }
  // Where this fails, nobody knows which table the disk names: the new one stays taken.
  await writeHeaderFields(state, 'l1', { l1Size: size, l1TableOffset: offset })
  state.l1 = grown
  if (header.l1TableOffset > 0 && header.l1Size > 0) {
    await freeClusters(state, header.l1TableOffset, header.l1Size * ENTRY_BYTES, 'other')
  }
}
