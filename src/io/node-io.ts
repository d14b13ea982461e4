// The I/O half of a driver: what `open` returns. It sees edges and bytes, never a main-loop token.
//
// A capability is a present method. Methods are called by dispatch only, with requests that fit the node's limits; a
// driver's own requests to its children go through io/*, never through a child's NodeIo.

import type { BdrvCheckResult, BlockDriverInfo } from '../common/block-info.js'
import type { Bytes } from '../common/io-vector.js'
import type { MaybePromise } from '../common/maybe-promise.js'
import type { Preallocation } from '../common/option-names.js'
import type { RequestFlags } from '../common/request.js'
import type { Offset } from '../common/units.js'
import type { BlockDriverState } from './block-node.js'

/** Undefined: done already. Otherwise a promise that settles when the driver is done with the buffers. */
export type Completion = void | Promise<void>

export type { MaybePromise } from '../common/maybe-promise.js'

/** How exact a status answer has to be. `fast` prefers long ranges and correct ALLOCATED; `precise` also finds zeroes. */
export type StatusMode = 'fast' | 'precise'

/** What this layer knows of a range that begins at the offset asked for. */
export interface StatusExtent {
  /** `BDRV_BLOCK_*`; 0 leaves the range to the backing file. */
  bits: number
  /** Greater than 0 and a multiple of the request alignment; may exceed what was asked. */
  bytes: number
  /** Host offset in `file`; meaningful with OFFSET_VALID. */
  map?: Offset
  /** The node whose bytes stand at `map`. */
  file?: BlockDriverState
}

/** How to change the length of a node. */
export interface TruncateOptions {
  /** False allows a node that cannot have this length exactly to become longer. */
  exact: boolean
  preallocation: Preallocation
  /** `BDRV_REQ_ZERO_WRITE`: the grown area must read zero. */
  flags: RequestFlags
}

/** The door to the area behind the guest's data where VM state is stored. */
export interface VmstateIo {
  save(offset: Offset, data: Bytes): Completion
  load(offset: Offset, into: Bytes): Completion
}

/** The methods dispatch calls on a node. Offsets and lengths are bytes, multiples of the request alignment. */
export interface NodeIo {
  /**
   * Where `read` and `write` return the promise of a child's request, they return it as they got it and hang nothing of their
   * own on it. The request of this node then ends together with the child's, on that one promise.
   */
  readonly relays?: true
  /** Length in bytes. Asked at open, after truncate and on refreshLength; its cached value decides bounds. */
  length(): MaybePromise<Offset>
  /** Fills all of `into` or fails. `flags` is a subset of what the driver declared as `readFlags`. */
  read(offset: Offset, into: Bytes, flags: RequestFlags): Completion
  /** `flags` is a subset of what the driver declared as `writeFlags`. The buffer is the driver's until it completes. */
  write?(offset: Offset, data: Bytes, flags: RequestFlags): Completion
  writeCompressed?(offset: Offset, data: Bytes): Completion
  /** May fail with ENOTSUP: dispatch then writes zeroes, unless NO_FALLBACK forbids. `flags` within `zeroFlags`. */
  writeZeroes?(offset: Offset, bytes: number, flags: RequestFlags): Completion
  /** Advisory; may get pieces smaller than the request alignment. ENOTSUP is ignored. */
  discard?(offset: Offset, bytes: number): Completion
  /** Hands cached state of this node to its children (a format's metadata). Called even where NO_FLUSH is set. */
  flushToOs?(): Completion
  /** Makes what was written durable. Children with a writing edge are flushed after it by dispatch. */
  flush?(): Completion
  /** Own layer only; the range is aligned and inside the length. */
  blockStatus?(offset: Offset, bytes: number, mode: StatusMode): MaybePromise<StatusExtent>
  /** ENOTSUP where `exact` is impossible but an inexact length is not. */
  truncate?(length: Offset, options: TruncateOptions): Completion
  /** Passes a copy on towards the source of the data; ENOTSUP where that cannot be done without reading it. */
  copyRangeFrom?(
    offset: Offset,
    target: CopyTarget,
    targetOffset: Offset,
    bytes: number,
    flags: RequestFlags,
  ): Completion
  /** Called on the target, with the source leaf of the copy. */
  copyRangeTo?(source: CopySource, sourceOffset: Offset, offset: Offset, bytes: number, flags: RequestFlags): Completion
  info?(): MaybePromise<BlockDriverInfo>
  /** Facts only this format has, as plain data. */
  specificInfo?(): MaybePromise<Record<string, unknown> | undefined>
  /** Bytes allocated on the host. */
  allocatedSize?(): MaybePromise<number>
  /** `fix` is a set of `BDRV_FIX_*`; while it is not 0 nothing else is in flight. `report` gets each finding as a line of text. */
  check?(fix: number, report: (line: string) => void): Promise<BdrvCheckResult>
  vmstate?: VmstateIo
  /** An event of a driver above, as in blkdebug's rules ("l2_update"). May hold the caller back. */
  debugEvent?(event: string): Completion
  /** Stop own sources of requests; synchronous. Called on 0 -> 1 of the quiesce counter, `drainEnd` on 1 -> 0. */
  drainBegin?(): void
  drainEnd?(): void
  /** Somebody above waits (true): release what waits on a timer. */
  expedite?(on: boolean): void
  /** A hint: abandon what can be abandoned. */
  cancelInFlight?(): void
}

/** The writing end of a copy as a driver on the reading end sees it. */
export interface CopyTarget {
  /** Hands the copy to the target, naming the leaf that holds the data. */
  copyFrom(
    source: CopySource,
    sourceOffset: Offset,
    targetOffset: Offset,
    bytes: number,
    flags: RequestFlags,
  ): Completion
}

/** The leaf that holds the data of a copy. */
export interface CopySource {
  readonly node: BlockDriverState
}
