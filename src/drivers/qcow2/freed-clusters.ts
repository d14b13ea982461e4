// What a cluster leaves behind when its count falls to 0: tables in memory, its place in the map of metadata, and, where the
// user wants it, a discard of the file below. A discard waits until no table on stable storage names the cluster any more
// (rule O4), and is dropped where the cluster is taken again first.

import { SparseBits } from '../../common/sparse-bits.js'
import { discard } from '../../io/discard.js'
import type { FreePurpose } from './refcounts.js'
import type { Qcow2State } from './state.js'

/** Clusters that are free and still to be discarded below. */
export class PendingDiscards {
  readonly #clusters = new SparseBits()

  get count(): number {
    return this.#clusters.count
  }

  add(cluster: number): void {
    this.#clusters.paint(cluster, cluster + 1, true)
  }

  /** Clusters were taken again. */
  drop(cluster: number, count: number): void {
    if (this.#clusters.count > 0) this.#clusters.paint(cluster, cluster + count, false)
  }

  /** Takes out the first run of clusters. */
  take(): { cluster: number; count: number } | undefined {
    const end = 2 ** 45
    const first = this.#clusters.next(0, end, true)
    if (first < 0) return undefined
    const stop = this.#clusters.next(first, end, false)
    this.#clusters.paint(first, stop, false)
    return { cluster: first, count: stop - first }
  }
}

/** The count of `cluster` is 0 now. */
export function forgetFreed(state: Qcow2State, cluster: number, purpose: FreePurpose): void {
  const { layout, settings } = state
  const offset = (cluster * layout.clusterSize) as Parameters<typeof state.l2Cache.forget>[0]
  state.l2Cache.forget(offset, layout.clusterSize)
  state.refcountCache.forget(offset, layout.clusterSize)
  state.metadata.free(cluster)
  state.decompressed.clear()
  if (Math.floor(state.freeByteOffset / layout.clusterSize) === cluster) state.freeByteOffset = 0 as typeof offset
  if (purpose !== 'never' && settings.passDiscard[purpose]) state.discards.add(cluster)
}

/** Discards what is free on stable storage as well. Advisory: errors other than of the image's own are passed over. */
export async function passDiscards(state: Qcow2State): Promise<void> {
  const { clusterSize } = state.layout
  for (let run = state.discards.take(); run !== undefined; run = state.discards.take()) {
    try {
      await discard(state.file, run.cluster * clusterSize, run.count * clusterSize)
    } catch {
      // The clusters are free whether the host has taken them back or not.
    }
  }
}
