// Block status of the image's own layer: what the L2 tables say, in runs as long as they go.

import {
  BDRV_BLOCK_DATA,
  BDRV_BLOCK_OFFSET_VALID,
  BDRV_BLOCK_RECURSE,
  BDRV_BLOCK_ZERO,
} from '../../../common/block-status.js'
import type { MaybePromise } from '../../../common/maybe-promise.js'
import type { StatusExtent } from '../../../io/node-io.js'
import {
  COMPRESSED,
  hasHostCluster,
  INVALID,
  NORMAL,
  UNALLOCATED,
  UNALLOCATED_HOST,
  ZERO_ALLOCATED,
} from '../format/l2-entry.js'
import { type GuestOffset, guest } from '../format/layout.js'
import { findRun, type GuestRun, lookupRun, newRun, sliceAt } from '../metadata/l2-map.js'
import type { Qcow2State } from '../state.js'
import { invalidEntry } from './read.js'

/** What stands at `offset`, for up to `bytes` bytes, in one run as long as it goes. EIO for damaged metadata. */
export function statusOf(state: Qcow2State, offset: GuestOffset, bytes: number): MaybePromise<StatusExtent> {
  const run = newRun()
  const found = lookupRun(state, offset, bytes, run)
  return found && isWhole(state, offset, bytes, run)
    ? extentOf(state, offset, run)
    : findStatus(state, offset, bytes, run)
}

/** Whether a run ended because something else follows, not because a table is not in memory. */
function isWhole(state: Qcow2State, offset: GuestOffset, bytes: number, run: GuestRun): boolean {
  if (run.bytes >= bytes) return true
  const next = sliceAt(state, guest(offset + run.bytes))
  return next === undefined || state.l2Cache.peek(next.offset) !== undefined
}

async function findStatus(state: Qcow2State, offset: GuestOffset, bytes: number, run: GuestRun): Promise<StatusExtent> {
  await findRun(state, offset, bytes, run)
  const next = newRun()
  while (!isWhole(state, offset, bytes, run)) {
    await findRun(state, guest(offset + run.bytes), bytes - run.bytes, next)
    const follows = !hasHostCluster(run.kind) || next.host === run.host + run.bytes
    if (next.kind !== run.kind || !follows || run.kind === COMPRESSED || run.kind === INVALID) break
    run.bytes += next.bytes
  }
  return extentOf(state, offset, run)
}

function extentOf(state: Qcow2State, offset: GuestOffset, run: GuestRun): StatusExtent {
  const { kind, bytes, host } = run
  const placed = state.cipher === undefined ? { map: host, file: state.dataFile.node } : undefined
  const valid = placed === undefined ? 0 : BDRV_BLOCK_OFFSET_VALID
  switch (kind) {
    case NORMAL: {
      // Clusters that were allocated ahead may be holes in the file.
      const recurse = state.preallocated && placed !== undefined ? BDRV_BLOCK_RECURSE : 0
      return { bits: BDRV_BLOCK_DATA | valid | recurse, bytes, ...placed }
    }
    case ZERO_ALLOCATED:
      return { bits: BDRV_BLOCK_ZERO | valid, bytes, ...placed }
    case UNALLOCATED:
      return { bits: 0, bytes }
    case UNALLOCATED_HOST:
      return { bits: valid, bytes, ...placed }
    case COMPRESSED:
      return { bits: BDRV_BLOCK_DATA, bytes }
    case INVALID:
      throw invalidEntry(state, offset, run)
    default:
      return { bits: BDRV_BLOCK_ZERO, bytes }
  }
}
