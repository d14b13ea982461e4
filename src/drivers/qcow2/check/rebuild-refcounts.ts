// A new refcount structure from a full count, where the old one cannot be repaired in place. Blocks and table go into clusters
// that nothing names and no doubt lies on, and become valid with one write of the header (order rule O5): until then the image is
// what it was.

import { BlockError } from '../../../common/error.js'
import { flush } from '../../../io/flush.js'
import { write } from '../../../io/write.js'
import { ENTRY_BYTES, host, MAX_REFCOUNT_TABLE_BYTES } from '../format/layout.js'
import { Table64 } from '../format/table.js'
import { isWatched, reach } from '../metadata/debug-points.js'
import { repairHeaderFields } from '../metadata/header-update.js'
import type { CheckRun } from './check-run.js'

/** Behind every cluster there can be. */
const NO_CLUSTER = 2 ** 46

/** Where the new structure goes. */
interface Placement {
  /** Cluster of each block, by the block's number. */
  readonly blocks: Map<number, number>
  /** First cluster of the table. */
  tableCluster: number
  tableClusters: number
}

/** Builds, writes and enters a new structure. The new table. EFBIG where none is large enough. */
export async function rebuildRefcounts(run: CheckRun): Promise<Table64> {
  const { image, findings } = run
  const { clusterSize } = image.layout
  findings.say('Rebuilding refcount structure')
  const placement = place(run)
  releaseOldStructure(run)
  const table = new Table64(new Uint8Array(placement.tableClusters * clusterSize))
  for (const [index, cluster] of placement.blocks) {
    if (isWatched(image)) await reach(image, 'refblock_update')
    await write(image.file, cluster * clusterSize, blockBytes(run, index))
    table.setOffset(index, cluster * clusterSize)
  }
  const offset = placement.tableCluster * clusterSize
  await write(image.file, offset, table.bytes)
  await flush(image.file)
  await repairHeaderFields(image, 'refcountTable', {
    refcountTableOffset: host(offset),
    refcountTableClusters: placement.tableClusters,
  })
  return table
}

/** Finds clusters for blocks and table. They describe themselves too, so each may make another block necessary. */
function place(run: CheckRun): Placement {
  const { counts } = run
  const { clusterSize } = run.image.layout
  const blocks = new Map<number, number>()
  settleBlocks(run, blocks)
  for (let clusters = clustersOfTable(run, blocks); ; clusters = clustersOfTable(run, blocks)) {
    if (clusters > 1 && clusters * clusterSize > MAX_REFCOUNT_TABLE_BYTES) {
      throw new BlockError('EFBIG', 'the image is too large for a refcount table')
    }
    const tableCluster = take(run, 0, clusters)
    settleBlocks(run, blocks)
    if (clustersOfTable(run, blocks) <= clusters) return { blocks, tableCluster, tableClusters: clusters }
    for (let cluster = tableCluster; cluster < tableCluster + clusters; cluster++) counts.remove(cluster)
  }
}

/** Places blocks until all that is in use, or might be, is described. */
function settleBlocks(run: CheckRun, blocks: Map<number, number>): void {
  do placeBlocks(run, blocks)
  while (holdDoubtful(run))
}

/** What might hold something stays allocated, as far as the image goes. Whether anything was added. */
function holdDoubtful(run: CheckRun): boolean {
  const { doubtful, counts, clusterCount } = run
  let added = false
  for (let at = doubtful.next(0, clusterCount, true); at >= 0; at = doubtful.next(at + 1, clusterCount, true)) {
    if (counts.get(at) !== 0) continue
    counts.add(at)
    added = true
  }
  return added
}

/** Takes a cluster for each block that has something to say and none yet. */
function placeBlocks(run: CheckRun, blocks: Map<number, number>): void {
  const { counts } = run
  const { refcountBlockEntries } = run.image.layout
  let from = 0
  for (let settled = false; !settled; ) {
    settled = true
    for (const page of counts.pages()) {
      const index = Math.floor((page * counts.pageEntries) / refcountBlockEntries)
      if (blocks.has(index)) continue
      const cluster = take(run, from, 1)
      blocks.set(index, cluster)
      from = cluster + 1
      settled = false
    }
  }
}

function clustersOfTable(run: CheckRun, blocks: ReadonlyMap<number, number>): number {
  let last = 0
  for (const index of blocks.keys()) last = Math.max(last, index)
  return Math.ceil(((last + 1) * ENTRY_BYTES) / run.image.layout.clusterSize)
}

/** Takes the first `count` clusters in a row, from cluster `from` on, that nothing names for sure. They may lie behind the end of the file. */
function take(run: CheckRun, from: number, count: number): number {
  const { counts, doubtful } = run
  let start = from
  for (let cluster = from; cluster < start + count; cluster++) {
    if (doubtful.get(cluster)) start = doubtful.next(cluster, NO_CLUSTER, false)
    else if (counts.get(cluster) !== 0) start = cluster + 1
    else continue
    cluster = start - 1
  }
  for (let cluster = start; cluster < start + count; cluster++) counts.add(cluster)
  run.clusterCount = Math.max(run.clusterCount, start + count)
  return start
}

/** The old table and its blocks are nobody's once the header names the new one. */
function releaseOldStructure(run: CheckRun): void {
  const { counts, findings } = run
  const released = new Map<number, number>()
  for (const cluster of run.refcountClusters) {
    if (!released.has(cluster)) released.set(cluster, counts.get(cluster))
    counts.remove(cluster)
  }
  for (const [cluster, before] of [...released].sort(([a], [b]) => a - b)) {
    findings.say(`Repairing cluster ${cluster} refcount=${before} reference=${counts.get(cluster)}`)
  }
}

function blockBytes(run: CheckRun, index: number): Uint8Array {
  const { counts } = run
  const { clusterSize, refcountBlockEntries } = run.image.layout
  const bytes = new Uint8Array(clusterSize)
  const pages = refcountBlockEntries / counts.pageEntries
  for (let page = 0; page < pages; page++) {
    const content = counts.page(index * pages + page)
    if (content !== undefined) bytes.set(content, page * counts.pageBytes)
  }
  return bytes
}
