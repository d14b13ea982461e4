// Tables that somebody else may have changed: a repair, or another owner of the image.

import type { BlockChild } from '../../../io/block-node.js'
import { read } from '../../../io/read.js'
import { ENTRY_BYTES, type HostOffset, host } from '../format/layout.js'
import { Table64 } from '../format/table.js'
import type { Qcow2State } from '../state.js'
import { mapActiveTables, mapRefcountBlocks } from './overlap.js'

/** Drops everything known of the tables, and reads those anew that stay in memory. */
export async function reloadTables(state: Qcow2State): Promise<void> {
  const { header, layout } = state
  forgetTables(state)
  state.l1 = await readTable(state.file, header.l1TableOffset, header.l1Size * ENTRY_BYTES)
  const tableBytes = header.refcountTableClusters * layout.clusterSize
  state.refcountTable = await readTable(state.file, header.refcountTableOffset, tableBytes)
  mapActiveTables(state)
  mapRefcountBlocks(state)
}

/** Drops what is known of tables and of the clusters they name; the L1 and the refcount table stay. */
export function forgetTables(state: Qcow2State): void {
  state.l2Cache.invalidate()
  state.refcountCache.invalidate()
  state.owedDecrements.clear()
  state.freed.settle()
  state.decompressed.clear()
  state.freeClusterIndex = 0
  state.freeByteOffset = host(0)
}

/** Reads a table whose size was judged. What lies behind the end of the file is zero. */
export async function readTable(file: BlockChild, offset: HostOffset, bytes: number): Promise<Table64> {
  const table = new Uint8Array(bytes)
  if (bytes > 0) await read(file, offset, table)
  return new Table64(table)
}
