// Reading compressed clusters (qcow2 specification, "Compressed Clusters Descriptor"). Never makes more than one cluster of
// output, and a damaged stream is an error of that cluster alone (threats.md I19, I20).

import { type Bytes, copyBytes } from '../../../common/io-vector.js'
import type { Completion } from '../../../io/node-io.js'
import { read } from '../../../io/read.js'
import { decodeCompressed } from '../format/l2-entry.js'
import type { GuestOffset } from '../format/layout.js'
import { markCorrupt } from '../metadata/corruption.js'
import { isWatched, reach } from '../metadata/debug-points.js'
import { imageError, type Qcow2State } from '../state.js'

/** Reads a part of the compressed cluster that the entry `high`, `low` names; `into` does not reach beyond the cluster. */
export function readCompressed(
  state: Qcow2State,
  high: number,
  low: number,
  offset: GuestOffset,
  into: Bytes,
): Completion {
  const { layout, decompressed } = state
  const range = decodeCompressed(layout, high, low)
  if (range === undefined) throw markCorrupt(state, 'a compressed cluster lies beyond the largest offset')
  const inCluster = offset & (layout.clusterSize - 1)
  const known = decompressed.get(range.offset)
  if (known === undefined) return decompress(state, range.offset, range.bytes, inCluster, into)
  copyBytes(into, known.subarray(inCluster, inCluster + into.byteLength))
  return undefined
}

async function decompress(
  state: Qcow2State,
  place: number,
  bytes: number,
  inCluster: number,
  into: Bytes,
): Promise<void> {
  const { compressor, decompressed, layout } = state
  if (compressor === undefined)
    throw imageError(state, 'ENOTSUP', 'this host cannot decompress the clusters of the image')
  const { generation } = decompressed
  // The last sector may reach behind the end of the file, where it reads as zeroes.
  const packed = new Uint8Array(bytes)
  if (isWatched(state)) await reach(state, 'read_compressed')
  await read(state.file, place, packed)
  const cluster = await compressor.decompress(packed, layout.clusterSize)
  decompressed.keep(place, cluster, generation)
  copyBytes(into, cluster.subarray(inCluster, inCluster + into.byteLength))
}
