// How much room the refcount structures of an image take. They describe themselves too, so the answer is a fixed point.

import { ENTRY_BYTES, type Layout } from './layout.js'

/** Blocks, and clusters of the table that names them. */
export interface RefcountStructures {
  blocks: number
  tableClusters: number
}

/** What describes `clusters` clusters and itself; `generous` leaves room in the table for half as many blocks again. */
export function refcountStructures(layout: Layout, clusters: number, generous: boolean): RefcountStructures {
  const { refcountBlockEntries, clusterSize } = layout
  let blocks = 0
  let tableClusters = 0
  for (;;) {
    const wanted = Math.ceil((clusters + blocks + tableClusters) / refcountBlockEntries)
    // Growth stays rare that way.
    const entries = generous ? wanted + Math.floor(wanted / 2) : wanted
    const wantedTable = Math.ceil((entries * ENTRY_BYTES) / clusterSize)
    if (wanted === blocks && wantedTable === tableClusters) return { blocks, tableClusters }
    blocks = wanted
    tableClusters = wantedTable
  }
}
