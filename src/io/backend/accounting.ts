// What a backend counts: operations and bytes that succeeded, failed and invalid requests, merged ones. Latency is measured
// where asked only: two clock reads cost more than the request path itself.

import type { RequestKind } from '../../common/request.js'

/** What requests are counted as. Zero writes count as writes. */
export const ACCOUNTED = ['read', 'write', 'flush', 'unmap', 'other'] as const
export type Accounted = (typeof ACCOUNTED)[number]

/** Counts of one kind of request. */
export interface OperationCounts {
  /** Requests that succeeded, and their bytes. */
  operations: number
  bytes: number
  /** Requests that the graph failed. */
  failed: number
  /** Requests refused before they reached the graph: out of range, malformed, no medium. */
  invalid: number
  /** Of those that succeeded: requests of a guest that a device joined to the one before. */
  merged: number
  /** Where latency is measured. */
  latency: LatencyHistogram | undefined
}

/** Times of requests in bins whose upper bounds double. */
export interface LatencyHistogram {
  count: number
  totalMs: number
  minMs: number
  maxMs: number
  /** `bins[i]` counts times below `2^i` microseconds that were in no bin before; the last takes the rest. */
  bins: number[]
}

/** The counts of a backend. */
export type Accounting = Record<Accounted, OperationCounts>

const BINS = 32

/** Counts that stand at 0. */
export function createAccounting(): Accounting {
  return { read: zeroCounts(), write: zeroCounts(), flush: zeroCounts(), unmap: zeroCounts(), other: zeroCounts() }
}

/** The counts a request of `kind` belongs to. */
export function countsFor(accounting: Accounting, kind: RequestKind): OperationCounts {
  switch (kind) {
    case 'read':
      return accounting.read
    case 'write':
    case 'write-zeroes':
      return accounting.write
    case 'flush':
      return accounting.flush
    case 'discard':
      return accounting.unmap
    default:
      return accounting.other
  }
}

/** Begins to measure latency, from empty histograms. */
export function startLatency(accounting: Accounting): void {
  for (const name of ACCOUNTED) {
    const bins = new Array<number>(BINS).fill(0)
    accounting[name].latency = { count: 0, totalMs: 0, minMs: Number.POSITIVE_INFINITY, maxMs: 0, bins }
  }
}

/** Ends measuring; the histograms are dropped. */
export function stopLatency(accounting: Accounting): void {
  for (const name of ACCOUNTED) accounting[name].latency = undefined
}

/** Adds one request that took `ms` milliseconds. */
export function recordLatency(counts: OperationCounts, ms: number): void {
  const { latency } = counts
  if (latency === undefined) return
  latency.count += 1
  latency.totalMs += ms
  latency.minMs = Math.min(latency.minMs, ms)
  latency.maxMs = Math.max(latency.maxMs, ms)
  const bin = Math.min(Math.ceil(Math.log2(Math.max(ms * 1000, 1))), BINS - 1)
  latency.bins[bin] = (latency.bins[bin] ?? 0) + 1
}

/** Counts `requests` requests of a guest, of `bytes` bytes altogether, that were issued as one and succeeded. */
export function countJoined(counts: OperationCounts, requests: number, bytes: number): void {
  counts.operations += requests
  counts.merged += requests - 1
  counts.bytes += bytes
}

/** Counts `requests` requests of a guest that were issued as one, failed, and will not be issued one by one. */
export function countFailed(counts: OperationCounts, requests: number): void {
  counts.failed += requests
}

/** Counts a request that a client refused before it could reach the graph. */
export function countInvalid(counts: OperationCounts): void {
  counts.invalid++
}

function zeroCounts(): OperationCounts {
  return { operations: 0, bytes: 0, failed: 0, invalid: 0, merged: 0, latency: undefined }
}
