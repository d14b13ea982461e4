// What convert has to do for each range of its target: copy data, write zeroes, or leave to the target's backing file. The
// sources stand one behind the other; offsets are those of the target.

import { BDRV_BLOCK_DATA, BDRV_BLOCK_ZERO } from '../../common/block-status.js'
import { GiB, type Offset } from '../../common/units.js'
import { skipFilters } from '../../io/block-node.js'
import { blockStatus } from '../../io/block-status.js'
import { errnoText } from '../error-text.js'
import { extentAt, readDisk, virtualSize } from '../image-data.js'
import type { OpenImage } from '../session.js'
import { ToolError } from '../tool.js'

/** What becomes of a range. `backing`: the target's backing file holds it already. */
export type CopyKind = 'data' | 'zero' | 'backing'

/** A range of the target. */
export interface CopyExtent {
  offset: Offset
  bytes: number
  kind: CopyKind
}

/** A source and where it begins in the target. */
export interface PlacedSource {
  image: OpenImage
  start: Offset
  bytes: number
}

/** Where each source goes. */
export function placeSources(images: readonly OpenImage[]): PlacedSource[] {
  let start = 0
  return images.map((image) => {
    const placed = { image, start, bytes: virtualSize(image) }
    start += placed.bytes
    return placed
  })
}

/** Fills `into` with what the sources hold from `offset` of the target on. */
export async function readSources(sources: readonly PlacedSource[], offset: Offset, into: Uint8Array): Promise<void> {
  for (const { image, start, bytes } of sources) {
    const from = Math.max(start, offset)
    const to = Math.min(start + bytes, offset + into.byteLength)
    if (from < to) await readDisk(image, from - start, into.subarray(from - offset, to - offset))
  }
}

/**
 * The extents of all sources, in order. With `backingBytes` the target has a backing file of that length, which holds what the
 * sources find in theirs.
 */
export async function* copyExtents(
  sources: readonly PlacedSource[],
  backingBytes: Offset | undefined,
): AsyncGenerator<CopyExtent> {
  for (const { image, start, bytes } of sources) {
    for (let at = 0; at < bytes; ) {
      const extent = await statusOf(image, at, bytes - at, backingBytes)
      yield { ...extent, offset: start + at }
      at += extent.bytes
    }
  }
}

async function statusOf(
  image: OpenImage,
  offset: Offset,
  bytes: number,
  backingBytes: Offset | undefined,
): Promise<{ bytes: number; kind: CopyKind }> {
  try {
    if (backingBytes !== undefined) return await ownStatus(image, offset, bytes, backingBytes)
    const { data, zero, bytes: known } = await extentAt(image, offset, bytes)
    return { bytes: known, kind: data && !zero ? 'data' : 'zero' }
  } catch (thrown) {
    throw new ToolError(`error while reading block status at offset ${offset}: ${errnoText(thrown)}`)
  }
}

/** What the image itself holds; the rest is in the backing files of both. */
async function ownStatus(
  image: OpenImage,
  offset: Offset,
  bytes: number,
  backingBytes: Offset,
): Promise<{ bytes: number; kind: CopyKind }> {
  const { length } = image.node.state
  if (offset >= length) return { bytes, kind: 'zero' }
  const behind = offset >= backingBytes
  const most = behind ? bytes : Math.min(bytes, backingBytes - offset)
  const status = await blockStatus(skipFilters(image.node), offset, Math.min(most, length - offset), 'precise')
  if ((status.bits & BDRV_BLOCK_ZERO) !== 0) return { bytes: status.bytes, kind: behind ? 'backing' : 'zero' }
  return { bytes: status.bytes, kind: (status.bits & BDRV_BLOCK_DATA) !== 0 ? 'data' : 'backing' }
}

/** The same with zeroes as data: they are to be written. */
export async function* asData(extents: AsyncIterable<CopyExtent>): AsyncGenerator<CopyExtent> {
  for await (const extent of extents) yield extent.kind === 'zero' ? { ...extent, kind: 'data' } : extent
}

/** Cuts extents into pieces: `dataBytes` of data at most, 1 GiB of anything else. */
export async function* cutExtents(extents: AsyncIterable<CopyExtent>, dataBytes: number): AsyncGenerator<CopyExtent> {
  for await (const { offset, bytes, kind } of extents) {
    const most = kind === 'data' ? dataBytes : GiB
    for (let done = 0; done < bytes; done += most) {
      yield { offset: offset + done, bytes: Math.min(most, bytes - done), kind }
    }
  }
}

/** Moves the ends of extents to cluster boundaries: a cluster with any data in it, or of two kinds, is data as a whole. */
export async function* wholeClusters(
  extents: AsyncIterable<CopyExtent>,
  clusterSize: number,
): AsyncGenerator<CopyExtent> {
  let run: CopyExtent | undefined
  for await (const extent of extents) {
    if (run === undefined) {
      run = { ...extent }
      continue
    }
    if (extent.kind === run.kind) {
      run.bytes += extent.bytes
      continue
    }
    const end = run.offset + run.bytes
    const inside = end % clusterSize
    if (inside === 0) {
      yield run
      run = { ...extent }
      continue
    }
    const next: CopyExtent = yield* splitAtCluster(run, extent, inside, clusterSize)
    run = next
  }
  if (run !== undefined) yield run
}

/** Ends `run` inside a cluster that `extent` shares with it; returns what goes on behind that cluster, or in it. */
function* splitAtCluster(
  run: CopyExtent,
  extent: CopyExtent,
  inside: number,
  clusterSize: number,
): Generator<CopyExtent, CopyExtent> {
  const end = extent.offset + extent.bytes
  const boundary = extent.offset - inside + clusterSize
  if (run.kind === 'data') {
    if (end <= boundary) return { ...run, bytes: end - run.offset }
    yield { ...run, bytes: boundary - run.offset }
    return { offset: boundary, bytes: end - boundary, kind: extent.kind }
  }
  const before = extent.offset - inside
  if (before > run.offset) yield { ...run, bytes: before - run.offset }
  const start = Math.max(before, run.offset)
  if (extent.kind === 'data' || end <= boundary) return { offset: start, bytes: end - start, kind: 'data' }
  yield { offset: start, bytes: boundary - start, kind: 'data' }
  return { offset: boundary, bytes: end - boundary, kind: extent.kind }
}
