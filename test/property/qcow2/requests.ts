// Requests as data. Places are clusters of a few, often the same, and a bit of a cluster; what they come to depends on the image.

import * as fc from 'fast-check'
import { type Bytes, IoVector } from '../../../src/common/io-vector.js'

/** One request of a run. */
export interface GuestRequest {
  kind: 'write' | 'compressed' | 'zero' | 'discard' | 'read' | 'flush'
  /** Which of the places. */
  place: number
  /** Sixteenths of a cluster behind it. */
  inside: number
  /** A byte off, or a few. */
  off: number
  /** Sixteenths of a cluster. */
  length: number
  unmap: boolean
  fua: boolean
  /** Steps until it is aborted; 0 for never. */
  abort: number
  /** Its data does not compress. */
  noise: boolean
  /** Buffers that its data is spread over. */
  buffers: number
}

/** The same memory as several buffers, cut at odd places. */
export function spread(data: Uint8Array, buffers: number): Bytes {
  if (buffers === 1) return data
  const cuts = Array.from({ length: buffers + 1 }, (_, index) => Math.floor((data.byteLength * index) / buffers) | 1)
  const ends = [0, ...cuts.slice(1, -1).filter((cut) => cut < data.byteLength), data.byteLength]
  return new IoVector(ends.slice(1).map((end, index) => data.subarray(ends[index], end)))
}

const kinds = fc.oneof(
  { weight: 8, arbitrary: fc.constant('write' as const) },
  { weight: 2, arbitrary: fc.constant('compressed' as const) },
  { weight: 4, arbitrary: fc.constant('zero' as const) },
  { weight: 4, arbitrary: fc.constant('discard' as const) },
  { weight: 4, arbitrary: fc.constant('read' as const) },
  { weight: 2, arbitrary: fc.constant('flush' as const) },
)

/** Requests to one of `places` clusters. */
export const guestRequest = fc.record({
  kind: kinds,
  place: fc.nat(11),
  inside: fc.constantFrom(0, 0, 0, 1, 4, 8, 15),
  off: fc.constantFrom(0, 0, 0, 0, 1, 100),
  length: fc.constantFrom(16, 16, 32, 48, 160, 1, 4, 8, 12),
  unmap: fc.boolean(),
  fua: fc.constantFrom(false, false, false, true),
  abort: fc.constantFrom(0, 0, 0, 0, 0, 0, 0, 0, 3, 12),
  noise: fc.constantFrom(false, false, true),
  buffers: fc.constantFrom(1, 1, 2, 3, 7),
}) satisfies fc.Arbitrary<GuestRequest>

/** Clusters that stand for the places: some side by side, some on both sides of the end of an L2 table, the last one. */
export function placesOf(clusters: number, l2Entries: number): number[] {
  const wanted = [0, 1, 2, 3, 4, l2Entries - 2, l2Entries - 1, l2Entries, l2Entries + 1, 2 * l2Entries, clusters - 2]
  return [...wanted, clusters - 1].map((cluster) => (cluster >= 0 && cluster < clusters ? cluster : cluster % clusters))
}

/** Where a request goes; nothing where that is empty. */
export function rangeOf(
  request: GuestRequest,
  image: { length: number; clusterSize: number; places: readonly number[] },
): { offset: number; bytes: number } | undefined {
  const { length, clusterSize, places } = image
  if (length === 0) return undefined
  const cluster = places[request.place] ?? 0
  const whole = request.kind === 'compressed'
  const inside = whole ? 0 : Math.floor((request.inside * clusterSize) / 16) + request.off
  const offset = Math.max(cluster * clusterSize, 0) + inside
  if (offset >= length) return undefined
  const wanted = whole
    ? Math.max(1, Math.floor(request.length / 16)) * clusterSize
    : Math.max(Math.floor((request.length * clusterSize) / 16), 1)
  return { offset, bytes: Math.min(wanted, length - offset) }
}

/** Data that tells who wrote it where: no two requests write the same to a sector, none writes zeroes. */
export function dataOf(serial: number, offset: number, bytes: number, noise: boolean): Uint8Array {
  const data = new Uint8Array(bytes)
  for (let at = 0; at < bytes; at++) {
    const sector = (offset + at) >>> 9
    const salt = noise ? Math.imul(offset + at + serial * 7919, 2654435761) >>> 13 : 0
    data[at] = ((serial * 37 + sector * 101 + salt) % 255) + 1
  }
  return data
}
