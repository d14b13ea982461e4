// Where the image file ends: behind the last cluster in use. What is behind that can be cut off, or be given to new clusters.

import type { Offset } from '../../../common/units.js'
import type { BlockChild } from '../../../io/block-node.js'
import { truncate } from '../../../io/truncate.js'
import { readRefcount } from '../format/refcount-codec.js'
import { blockOffset } from '../refcounts/refcounts.js'
import type { Qcow2State } from '../state.js'
import { barrier } from './barrier.js'
import { settleMetadata, takeOver } from './flush.js'

/**
 * Where nothing of a file was ever written: behind its end, and behind whatever a write may have left there that failed
 * before it made the file longer.
 */
export function endOfWritten({ node }: BlockChild): Offset {
  return Math.max(node.state.length, node.state.writtenUpTo)
}

/** The number of clusters up to the last one that is in use. The caller holds the image's lock. */
export async function usedClusters(state: Qcow2State): Promise<number> {
  const { refcountBlockEntries, refcountOrder } = state.layout
  for (let index = state.refcountTable.length - 1; index >= 0; index--) {
    const offset = blockOffset(state, index)
    if (offset === undefined) continue
    const entry = await state.refcountCache.get(offset)
    state.refcountCache.release(entry)
    const { view } = entry.table
    for (let i = refcountBlockEntries - 1; i >= 0; i--) {
      if (readRefcount(view, i, refcountOrder) > 0) return index * refcountBlockEntries + i + 1
    }
  }
  return 0
}

/**
 * Cuts the file behind the last cluster in use, once nothing on stable storage names what goes. Gives the number of clusters
 * that stay. The caller holds the image's lock.
 */
export async function cutFile(state: Qcow2State): Promise<number> {
  await settleMetadata(state)
  await barrier(state)
  const clusters = await usedClusters(state)
  const end = clusters * state.layout.clusterSize
  if (state.file.node.state.length > end) {
    await takeOver(state, clusters, Math.ceil(state.file.node.state.length / state.layout.clusterSize) - clusters)
    await truncate(state.file, end)
  }
  return clusters
}
