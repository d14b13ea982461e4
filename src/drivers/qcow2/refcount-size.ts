// How much room the refcount structures of an image take. They describe themselves too, so the answer is a fixed point.

import { ENTRY_BYTES, type Layout } from './layout.js'

/** Blocks, and clusters of the table that names them. */
export interface RefcountStructures {
  blocks: number
  tableClusters: number
}

/** What describes `clusters` clusters and itself; `generous` leaves room in the table for growth. */
export function refcountStructures(layout: Layout, clusters: number, generous: boolean): RefcountStructures {
  const { refcountBlockEntries, clusterSize } = layout
  const settle = (described: number) => {
    let blocks = 0
    let tableClusters = 0
    for (;;) {
      const wanted = Math.ceil((described + blocks + tableClusters) / refcountBlockEntries)
      const wantedTable = Math.ceil((wanted * ENTRY_BYTES) / clusterSize)
      if (wanted === blocks && wantedTable === tableClusters) return { blocks, tableClusters }
      blocks = wanted
      tableClusters = wantedTable
    }
  }
  const exact = settle(clusters)
  // Room for half as many tables again, so that growth stays rare.
  return generous ? settle(clusters + Math.ceil(exact.tableClusters / 2)) : exact
}
