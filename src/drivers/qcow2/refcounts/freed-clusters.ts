// What a cluster leaves behind when its count falls to 0: tables in memory, its place in the map of metadata, and, where the
// user wants it, a discard of the file below. A discard waits until no table on stable storage names the cluster any more
// (rule O4), and is dropped where the cluster is taken again first.

import { SparseBits } from '../../../common/sparse-bits.js'
import { discard } from '../../../io/discard.js'
import { type HostOffset, host } from '../format/layout.js'
import type { Qcow2State } from '../state.js'
import type { FreePurpose } from './refcounts.js'

const ALL = 2 ** 45

/** Clusters that are free in memory while tables on stable storage may name them still. */
export class FreedClusters {
  readonly #unstable = new SparseBits()
  readonly #toDiscard = new SparseBits()

  /** Whether the host is to be told of any. */
  get hasDiscards(): boolean {
    return this.#toDiscard.next(0, ALL, true) >= 0
  }

  add(cluster: number, discarded: boolean): void {
    this.#unstable.paint(cluster, cluster + 1, true)
    if (discarded) this.#toDiscard.paint(cluster, cluster + 1, true)
  }

  /** Whether any of these clusters may still be named on stable storage. */
  has(cluster: number, count: number): boolean {
    return this.#unstable.next(cluster, cluster + count, true) >= 0
  }

  /** All of them are free on stable storage as well; returns the runs to be discarded. */
  settle(): { cluster: number; count: number }[] {
    const runs: { cluster: number; count: number }[] = []
    for (let first = this.#toDiscard.next(0, ALL, true); first >= 0; first = this.#toDiscard.next(first, ALL, true)) {
      const stop = this.#toDiscard.next(first, ALL, false)
      runs.push({ cluster: first, count: stop - first })
      first = stop
    }
    this.#toDiscard.clear()
    this.#unstable.clear()
    return runs
  }
}

/** The count of `cluster` is 0 now. */
export function forgetFreed(state: Qcow2State, cluster: number, purpose: FreePurpose): void {
  const { layout, settings } = state
  const offset: HostOffset = host(cluster * layout.clusterSize)
  state.l2Cache.forget(offset, layout.clusterSize)
  state.refcountCache.forget(offset, layout.clusterSize)
  state.metadata.free(cluster)
  state.decompressed.clear()
  if (Math.floor(state.freeByteOffset / layout.clusterSize) === cluster) state.freeByteOffset = host(0)
  if (purpose === 'never') return
  state.freed.add(cluster, purpose === 'always' || settings.passDiscard[purpose])
}

/** Discards what is free on stable storage. Advisory: errors are passed over. */
export async function passDiscards(state: Qcow2State): Promise<void> {
  const { clusterSize } = state.layout
  for (const { cluster, count } of state.freed.settle()) {
    try {
      await discard(state.file, cluster * clusterSize, count * clusterSize)
    } catch {
      // The clusters are free whether the host has taken them back or not.
    }
  }
}
