// A format with a backing file that keeps its own layer in memory, cluster by cluster: what backing chains are tested with. It
// stores nothing on a child, and nothing of it survives a close.

import { BDRV_BLOCK_DATA, BDRV_BLOCK_ZERO } from '../common/block-status.js'
import { BDRV_CHILD_COW } from '../common/child-role.js'
import { BlockError } from '../common/error.js'
import { type Bytes, copyBytes, sliceBytes, zeroBytes } from '../common/io-vector.js'
import { BDRV_REQ_MAY_UNMAP, BDRV_REQ_WRITE_UNCHANGED, BDRV_REQ_ZERO_WRITE } from '../common/request.js'
import { isPowerOfTwo, type Offset } from '../common/units.js'
import { defineDriver } from '../global-state/driver.js'
import { integerOption, sizeOption } from '../global-state/options/option-schema.js'
import type { BlockChild } from '../io/block-node.js'
import type { Completion, NodeIo, StatusExtent } from '../io/node-io.js'
import { read } from '../io/read.js'
import { settleAll } from '../io/settle-all.js'

/** What an open overlay keeps: its clusters by index; `null` is a zero cluster, an absent one is the backing file's. */
export interface OverlayState {
  readonly clusterSize: number
  readonly clusters: Map<number, Uint8Array | null>
  length: number
  backing: () => BlockChild | undefined
}

/** Format driver `overlay`: options `size` (default: that of the backing file) and `cluster-size` (power of two). */
export const overlayDriver = defineDriver({
  name: 'overlay',
  kind: 'format',
  supportsBacking: true,
  childNames: ['backing'],
  options: {
    size: sizeOption({ description: 'length in bytes; by default that of the backing file' }),
    'cluster-size': integerOption({ default: 4096, min: 512, max: 2097152, description: 'allocation unit in bytes' }),
  },
  async open(context, options) {
    const clusterSize = options['cluster-size']
    if (!isPowerOfTwo(clusterSize)) {
      throw new BlockError('EINVAL', `cluster-size ${clusterSize} is no power of two`, {
        node: context.nodeName,
        op: 'open',
      })
    }
    const backing = context.hasChild('backing') ? await context.child('backing', BDRV_CHILD_COW) : undefined
    const { node } = context
    const state: OverlayState = {
      clusterSize,
      clusters: new Map(),
      length: options.size ?? backing?.node.state.length ?? 0,
      backing: () => node.backing,
    }
    return {
      io: overlayIo(state),
      state,
      writeFlags: BDRV_REQ_WRITE_UNCHANGED,
      zeroFlags: BDRV_REQ_MAY_UNMAP | BDRV_REQ_WRITE_UNCHANGED,
      truncateFlags: BDRV_REQ_ZERO_WRITE,
    }
  },
  hasZeroInit: (state) => state.backing() === undefined,
  makeEmpty(state) {
    state.clusters.clear()
  },
})

function overlayIo(state: OverlayState): NodeIo {
  return {
    length: () => state.length,
    read: (offset, into) => readClusters(state, offset, into),
    write: (offset, data) => writeClusters(state, offset, data),
    writeZeroes: (offset, bytes) => writeClusters(state, offset, new Uint8Array(bytes)),
    // Old backing data must not come into view: a discarded cluster reads as zero.
    discard: (offset, bytes) => discardClusters(state, offset, bytes),
    flush: () => {},
    blockStatus: (offset, bytes) => statusOf(state, offset, bytes),
    info: () => ({ clusterSize: state.clusterSize, vmStateOffset: 0, isDirty: false, needsCompressedWrites: false }),
    truncate: (length) => truncateClusters(state, length),
    allocatedSize: () => [...state.clusters.values()].filter((cluster) => cluster !== null).length * state.clusterSize,
  }
}

/** Runs of clusters that lie at the same place: own data, own zeroes, or the backing file. */
function readClusters(state: OverlayState, offset: Offset, into: Bytes): Completion {
  const below: { offset: Offset; part: Bytes }[] = []
  for (let done = 0; done < into.byteLength; ) {
    const run = runAt(state, offset + done, into.byteLength - done)
    const part = sliceBytes(into, done, done + run.bytes)
    if (run.cluster === null) zeroBytes(part)
    else if (run.cluster === undefined) below.push({ offset: offset + done, part })
    else {
      const start = (offset + done) % state.clusterSize
      copyBytes(part, run.cluster.subarray(start, start + run.bytes))
    }
    done += run.bytes
  }
  const [first] = below
  if (first === undefined) return undefined
  return below.length === 1 ? readBacking(state, first.offset, first.part) : readAll(state, below)
}

async function readAll(state: OverlayState, parts: readonly { offset: Offset; part: Bytes }[]): Promise<void> {
  await settleAll(parts, ({ offset, part }) => readBacking(state, offset, part))
}

function readBacking(state: OverlayState, offset: Offset, into: Bytes): Completion {
  const backing = state.backing()
  const available =
    backing === undefined ? 0 : Math.min(into.byteLength, Math.max(backing.node.state.length - offset, 0))
  if (available < into.byteLength) zeroBytes(into, available)
  return backing === undefined || available === 0 ? undefined : read(backing, offset, sliceBytes(into, 0, available))
}

interface Run {
  cluster: Uint8Array | null | undefined
  bytes: number
}

function runAt(state: OverlayState, offset: Offset, most: number): Run {
  const { clusterSize, clusters } = state
  const index = Math.floor(offset / clusterSize)
  const cluster = clusters.get(index)
  let end = (index + 1) * clusterSize
  if (cluster === undefined || cluster === null) {
    for (let next = index + 1; end < offset + most && clusters.get(next) === cluster; next++) end += clusterSize
  }
  return { cluster, bytes: Math.min(end - offset, most) }
}

function writeClusters(state: OverlayState, offset: Offset, data: Bytes): Completion {
  const missing = partialClusters(state, offset, data.byteLength)
  if (missing.length === 0) {
    storeClusters(state, offset, data)
    return undefined
  }
  return fillAndStore(state, missing, offset, data)
}

/** Clusters that the range covers only in part and that are the backing file's still: they have to be copied first. */
function partialClusters(state: OverlayState, offset: Offset, bytes: number): number[] {
  const { clusterSize } = state
  const first = Math.floor(offset / clusterSize)
  const last = Math.floor((offset + bytes - 1) / clusterSize)
  const partial = new Set<number>()
  if (offset % clusterSize !== 0) partial.add(first)
  if ((offset + bytes) % clusterSize !== 0) partial.add(last)
  return [...partial].filter((index) => !state.clusters.has(index))
}

async function fillAndStore(
  state: OverlayState,
  missing: readonly number[],
  offset: Offset,
  data: Bytes,
): Promise<void> {
  for (const index of missing) {
    const copy = new Uint8Array(state.clusterSize)
    await readBacking(state, index * state.clusterSize, copy)
    // Another write may have copied the cluster meanwhile; its data is newer than the copy.
    if (!state.clusters.has(index)) state.clusters.set(index, copy)
  }
  storeClusters(state, offset, data)
}

function storeClusters(state: OverlayState, offset: Offset, data: Bytes): void {
  const { clusterSize, clusters } = state
  for (let done = 0; done < data.byteLength; ) {
    const index = Math.floor((offset + done) / clusterSize)
    const start = (offset + done) % clusterSize
    const length = Math.min(clusterSize - start, data.byteLength - done)
    let cluster = clusters.get(index)
    if (cluster === undefined || cluster === null) {
      cluster = new Uint8Array(clusterSize)
      clusters.set(index, cluster)
    }
    copyBytes(cluster, sliceBytes(data, done, done + length), start)
    done += length
  }
}

function discardClusters(state: OverlayState, offset: Offset, bytes: number): void {
  const { clusterSize } = state
  const first = Math.ceil(offset / clusterSize)
  const end = Math.floor((offset + bytes) / clusterSize)
  for (let index = first; index < end; index++) state.clusters.set(index, null)
}

function statusOf(state: OverlayState, offset: Offset, bytes: number): StatusExtent {
  const run = runAt(state, offset, bytes)
  const bits = run.cluster === undefined ? 0 : run.cluster === null ? BDRV_BLOCK_ZERO : BDRV_BLOCK_DATA
  return { bits, bytes: run.bytes }
}

async function truncateClusters(state: OverlayState, length: Offset): Promise<void> {
  const { clusterSize, clusters } = state
  for (const index of [...clusters.keys()]) if (index * clusterSize >= length) clusters.delete(index)
  clusters.get(Math.floor(length / clusterSize))?.fill(0, length % clusterSize)
  if (length > state.length) await hideBacking(state, state.length, length)
  state.length = length
}

/** The grown area reads zero even where a longer backing file has data. */
async function hideBacking(state: OverlayState, from: Offset, to: Offset): Promise<void> {
  const { clusterSize, clusters } = state
  const end = Math.min(to, state.backing()?.node.state.length ?? 0)
  const partial = Math.floor(from / clusterSize)
  if (from % clusterSize !== 0) {
    // A cluster that was copied up whole holds what lay behind the end in the backing file.
    let cluster = clusters.get(partial)
    if (cluster === undefined && from < end) {
      cluster = new Uint8Array(clusterSize)
      await readBacking(state, partial * clusterSize, cluster)
      clusters.set(partial, cluster)
    }
    cluster?.fill(0, from % clusterSize)
  }
  for (let index = Math.ceil(from / clusterSize); index * clusterSize < end; index++) clusters.set(index, null)
}
