// What I/O owns of a node: one plain object per node, made by global state, written by io/ only (global state sets limits,
// flags and length of a node under construction or inside a drained section).

import type { Bytes } from '../common/io-vector.js'
import type { BlockLimits } from '../common/limits.js'
import type { RequestFlags, RequestKind } from '../common/request.js'
import type { Offset } from '../common/units.js'
import type { BlockDriverState } from './block-node.js'
import type { DirtyBitmap } from './dirty-bitmap.js'
import type { IoEnvironment } from './environment.js'
import type { Completion } from './node-io.js'

/** A request in flight, linked into its node's list. */
export interface TrackedRequest {
  readonly state: RequestState
  readonly kind: RequestKind
  offset: Offset
  bytes: number
  /** The coarse clock when it began. */
  readonly since: number
  /** Makes others that overlap wait. */
  serialising: boolean
  /** Its place among overlapping requests; made where it meets one or is serialising. */
  order: RequestOrder | undefined
  previous: TrackedRequest | undefined
  next: TrackedRequest | undefined
  /** The request of the node above that ends together with this one, on the same promise. */
  above: TrackedRequest | undefined
  /** The root that issued it and has taken over its promise, instead of keeping a record and a promise of its own. */
  issuer: RequestIssuer | undefined
  /** The buffer, where there is such an issuer: it may run the request again. */
  data: Bytes | undefined
}

/** What a request keeps that meets overlapping ones, or is part of another. */
export interface RequestOrder {
  /** The range others keep out of, in bytes: the request's own, widened to an alignment. */
  offset: Offset
  bytes: number
  /** What it waits for, to break cycles of waiting. */
  waitingFor: TrackedRequest | undefined
  /** Who waits for it, and is woken when it leaves. */
  readonly waiters: RequestWaiter[]
  /** The request, here or at another node, that it is part of: that one does not end before it. */
  within: TrackedRequest | undefined
}

/** Somebody who waits for a request. */
export interface RequestWaiter {
  /** The request that waits; undefined where it is none. */
  readonly request: TrackedRequest | undefined
  wake(): void
}

/** Hears how a request ended that has left its node, and may hold its promise back or change how it settles. */
export interface RequestIssuer {
  done(kind: RequestKind, bytes: number): Completion
  failed(kind: RequestKind, offset: Offset, data: Bytes | undefined, error: unknown): Completion
}

/** The I/O state of one node. */
export interface RequestState {
  readonly environment: IoEnvironment
  readonly node: BlockDriverState

  /** Head of the intrusive list of requests in flight; its length is `inFlight`. */
  first: TrackedRequest | undefined
  inFlight: number
  /** Serialising requests in flight. */
  serialising: number

  /** Open sections on this node + open drain-alls + edges to children whose own counter is above 0. */
  quiesceCounter: number

  /** Rises with every write-like request, failed or not. */
  writeGeneration: number
  /** `writeGeneration` at the start of the last flush that succeeded. */
  flushedGeneration: number
  /** Set while a flush is under way. Never rejects. */
  activeFlush: Promise<void> | undefined
  /** The one flush that begins after it, shared by all who came meanwhile. */
  queuedFlush: Promise<void> | undefined

  /** Cached length in bytes; decides bounds. */
  length: Offset
  limits: BlockLimits
  readFlags: RequestFlags
  writeFlags: RequestFlags
  zeroFlags: RequestFlags
  truncateFlags: RequestFlags

  /** Users who asked for copy-on-read on this node. */
  copyOnRead: number
  /** Highest byte written (exclusive). */
  writtenUpTo: Offset
  /** Write threshold in bytes; 0 is off. */
  writeThreshold: number
  /** Bitmaps that record, or that forbid writing. */
  bitmaps: readonly DirtyBitmap[]
  /** The last range known to hold data (leaf nodes only). */
  statusCacheStart: Offset
  statusCacheEnd: Offset

  /** Waiting drains that asked this node to hurry. */
  expediters: number
  /** A microtask is about to tell the parents of a new length. */
  resizeQueued: boolean

  /** Not 0: a read must take the careful path (serialising requests in flight, copy-on-read). See gates.ts. */
  readGates: number
  /** Not 0: a write must (the reasons of reads, bitmaps, an armed threshold). */
  writeGates: number
}

/** The state of a node that has just been made. */
export function createRequestState(
  environment: IoEnvironment,
  node: BlockDriverState,
  limits: BlockLimits,
): RequestState {
  return {
    environment,
    node,
    first: undefined,
    inFlight: 0,
    serialising: 0,
    quiesceCounter: 0,
    writeGeneration: 0,
    flushedGeneration: 0,
    activeFlush: undefined,
    queuedFlush: undefined,
    length: 0,
    limits,
    readFlags: 0,
    writeFlags: 0,
    zeroFlags: 0,
    truncateFlags: 0,
    copyOnRead: 0,
    writtenUpTo: 0,
    writeThreshold: 0,
    bitmaps: [],
    statusCacheStart: 0,
    statusCacheEnd: 0,
    expediters: 0,
    resizeQueued: false,
    readGates: 0,
    writeGates: 0,
  }
}
