// Requests to a disk of a given length, at any offset or aligned, inside it and across its end.

import * as fc from 'fast-check'
import type { RequestKind } from '../../common/request.js'

/** A request as data. */
export interface ArbitraryRequest {
  kind: RequestKind
  offset: number
  bytes: number
}

export interface RequestConstraints {
  /** Length of the disk in bytes. */
  length: number
  /** Offsets and lengths are multiples of it; 1 by default. */
  alignment?: number
  maxBytes?: number
  kinds?: readonly RequestKind[]
}

const KINDS: readonly RequestKind[] = ['read', 'write', 'write-zeroes', 'discard', 'flush']

/** A kind of request. Reads and writes come most often. */
export function requestKind(kinds: readonly RequestKind[] = KINDS): fc.Arbitrary<RequestKind> {
  return fc.oneof(
    ...kinds.map((kind) => ({ weight: kind === 'read' || kind === 'write' ? 4 : 1, arbitrary: fc.constant(kind) })),
  )
}

/** A request inside the disk. */
export function request(constraints: RequestConstraints): fc.Arbitrary<ArbitraryRequest> {
  const { length, alignment = 1, maxBytes = length, kinds } = constraints
  const units = Math.floor(length / alignment)
  return fc
    .record({
      kind: requestKind(kinds),
      first: fc.integer({ min: 0, max: units }),
      count: fc.integer({ min: 0, max: Math.floor(maxBytes / alignment) }),
    })
    .map(({ kind, first, count }) => ({
      kind,
      offset: first * alignment,
      bytes: Math.min(count, units - first) * alignment,
    }))
}
