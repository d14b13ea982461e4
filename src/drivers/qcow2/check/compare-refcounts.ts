// Comparing refcounts with the references that were counted: too low is damage, too high is a leak.

import type { ErrnoName } from '../../../common/errno.js'
import { errnoMessage } from '../../../common/errno.js'
import { toBlockError } from '../../../common/error.js'
import type { CheckRun } from './check-run.js'
import type { RefcountBlocks } from './refcount-blocks.js'

/** Lines about clusters of one block that cannot be looked at. */
const MAX_FAILURE_LINES = 65536

/** What a comparison may change. */
export interface CompareFixes {
  leaks: boolean
  errors: boolean
}

/** Compares all clusters, and repairs as `fixes` says. The clusters that became free. */
export async function compareRefcounts(run: CheckRun, blocks: RefcountBlocks, fixes: CompareFixes): Promise<number[]> {
  const { findings, clusterCount } = run
  const { refcountBlockEntries } = run.image.layout
  const freed: number[] = []
  findings.lastCluster = 0
  for (const index of comparedBlocks(run, blocks)) {
    const first = index * refcountBlockEntries
    const end = Math.min(first + refcountBlockEntries, clusterCount)
    let bytes: Uint8Array
    try {
      bytes = await blocks.load(index)
    } catch (thrown) {
      tellUnreadable(run, first, end, toBlockError(thrown).code)
      continue
    }
    await compareBlock({ run, blocks, fixes, freed }, bytes, first, end)
  }
  await blocks.save()
  return freed
}

/** Blocks that exist or ought to, ascending: others describe nothing and need not. */
function comparedBlocks(run: CheckRun, blocks: RefcountBlocks): number[] {
  const { counts, clusterCount } = run
  const { refcountBlockEntries } = run.image.layout
  const indices = new Set<number>(blocks.indices())
  for (const page of counts.pages()) indices.add(Math.floor((page * counts.pageEntries) / refcountBlockEntries))
  const end = Math.ceil(clusterCount / refcountBlockEntries)
  return [...indices].filter((index) => index < end).sort((a, b) => a - b)
}

interface Comparison {
  run: CheckRun
  blocks: RefcountBlocks
  fixes: CompareFixes
  freed: number[]
}

async function compareBlock(task: Comparison, bytes: Uint8Array, first: number, end: number): Promise<void> {
  const { findings, counts } = task.run
  for (let at = first; at < end; at += counts.pageEntries) {
    const start = ((at - first) / counts.pageEntries) * counts.pageBytes
    const theirs = bytes.subarray(start, start + counts.pageBytes)
    const ours = counts.page(at / counts.pageEntries)
    const pageEnd = Math.min(at + counts.pageEntries, end)
    if (ours === undefined ? theirs.every((byte) => byte === 0) : sameBytes(ours, theirs)) {
      const last = ours === undefined ? -1 : lastUsed(task.run, at, pageEnd)
      if (last >= 0) findings.lastCluster = last
      continue
    }
    for (let cluster = at; cluster < pageEnd; cluster++) await compareCluster(task, cluster)
  }
}

async function compareCluster({ run, blocks, fixes, freed }: Comparison, cluster: number): Promise<void> {
  const { findings, counts } = run
  const stored = await blocks.get(cluster)
  const counted = counts.get(cluster)
  if (stored > 0 || counted > 0) findings.lastCluster = cluster
  if (stored === counted) return
  const leak = stored > counted
  const line = `cluster ${cluster} refcount=${blocks.text(cluster)} reference=${counted}`
  if (!leak && stored === 0) findings.needsRebuild = true
  const repairs = blocks.describes(cluster) && (leak ? fixes.leaks && !run.doubtful.get(cluster) : fixes.errors)
  if (repairs) {
    findings.say(`Repairing ${line}`)
    blocks.set(cluster, counted)
    if (leak) findings.counts.leaksFixed++
    else findings.counts.corruptionsFixed++
    if (counted === 0) freed.push(cluster)
  } else if (leak) {
    findings.counts.leaks++
    findings.say(`Leaked ${line}`)
  } else findings.corruption(`ERROR ${line}`)
}

function tellUnreadable(run: CheckRun, first: number, end: number, code: ErrnoName): void {
  const { findings } = run
  const told = Math.min(end, first + MAX_FAILURE_LINES)
  for (let cluster = first; cluster < told; cluster++) {
    findings.failure(`Can't get refcount for cluster ${cluster}: ${errnoMessage(code)}`)
  }
  findings.counts.checkErrors += end - told
}

function lastUsed(run: CheckRun, first: number, end: number): number {
  let cluster = end - 1
  while (cluster >= first && run.counts.get(cluster) === 0) cluster--
  return cluster < first ? -1 : cluster
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  const [left, right] = [wordsOf(a), wordsOf(b)]
  for (let index = 0; index < left.length; index++) if (left[index] !== right[index]) return false
  return true
}

/** Pages are multiples of 4 bytes, and so is where they stand. */
function wordsOf(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)
}
