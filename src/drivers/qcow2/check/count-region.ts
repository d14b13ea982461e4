// Counting one reference for every cluster of a region that a structure occupies.

import { MAX_L1_BYTES } from '../format/layout.js'
import type { CheckRun } from './check-run.js'

/** How far behind the end of the file a region is kept free: as far as any L1 table reaches, whatever an entry says. */
const MAX_BEHIND_FILE = MAX_L1_BYTES

/** As `%x`. */
export function hex(value: number): string {
  return value.toString(16)
}

/** As `%x` of a u64 in halves. */
export function hexOfHalves(high: number, low: number): string {
  return high === 0 ? hex(low) : hex(high) + hex(low).padStart(8, '0')
}

/**
 * Counts a reference to each cluster of `bytes` bytes at `offset`. A region that ends a cluster or more behind the end of the file
 * is damage and not counted. `written` is the offset for people where it is larger than a safe integer. `into` collects the
 * clusters that were counted for a refcount structure, which a repair may replace.
 */
export function countRegion(run: CheckRun, offset: number, bytes: number, written?: string, into?: number[]): void {
  if (bytes <= 0) return
  const { findings, fileBytes, counts } = run
  const { clusterSize } = run.image.layout
  if (offset + bytes - fileBytes >= clusterSize) {
    findings.corruption(
      'ERROR: counting reference for region exceeding the end of the file by one cluster or more: ' +
        `offset 0x${written ?? hex(offset)} size 0x${hex(bytes)}`,
    )
    // Where a refcount structure is said to be matters to nobody once there is a new one.
    if (into === undefined) doubtRegion(run, offset, bytes)
    return
  }
  const first = Math.floor(offset / clusterSize)
  const last = Math.floor((offset + bytes - 1) / clusterSize)
  run.clusterCount = Math.max(run.clusterCount, last + 1)
  for (let cluster = first; cluster <= last; cluster++) {
    if (counts.add(cluster)) {
      into?.push(cluster)
      continue
    }
    findings.corruption(`ERROR: overflow cluster offset=0x${hex(cluster * clusterSize)}`)
    findings.say(
      'Use blockgraph-img amend to increase the refcount entry width or blockgraph-img convert to create a clean copy ' +
        'if the image cannot be opened for writing',
    )
  }
}

/** Keeps a repair from taking or freeing the clusters of a region that was not counted, also of what lies behind the file. */
export function doubtRegion(run: CheckRun, offset: number, bytes: number): void {
  const { clusterSize } = run.image.layout
  const end = Math.min(offset + bytes, run.fileBytes + MAX_BEHIND_FILE)
  if (offset >= end) return
  run.doubtful.paint(Math.floor(offset / clusterSize), Math.ceil(end / clusterSize), true)
}
