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
import { TableWindow } from '../metadata/table-window.js'
import type { Qcow2State } from '../state.js'
import { invalidEntry } from './read.js'

/** Slices of the first look beyond the cache, and by how much further each next look goes. */
const FIRST_WINDOW = 4
const WINDOW_GROWTH = 4

/** What stands at `offset`, for up to `bytes` bytes, in one run as long as it goes. EIO for damaged metadata. */
export function statusOf(state: Qcow2State, offset: GuestOffset, bytes: number): MaybePromise<StatusExtent> {
  const run = newRun()
  const found = lookupRun(state, offset, bytes, run)
  return found && isWhole(state, offset, bytes, run)
    ? extentOf(state, offset, run)
    : findStatus(state, offset, bytes, run)
}

/** Whether a run ended because something else follows, not because a table is not in memory. */
function isWhole(state: Qcow2State, offset: GuestOffset, bytes: number, run: GuestRun, beside?: TableWindow): boolean {
  if (run.bytes >= bytes) return true
  const next = sliceAt(state, guest(offset + run.bytes))
  if (next === undefined || state.l2Cache.peek(next.offset) !== undefined) return true
  return beside?.viewOf(next.offset, state.settings.l2SliceBytes) !== undefined
}

/** The first slice that is missing is loaded into the cache; where the run goes on, those behind it are only looked at. */
async function findStatus(state: Qcow2State, offset: GuestOffset, bytes: number, run: GuestRun): Promise<StatusExtent> {
  await findRun(state, offset, bytes, run)
  let beside: TableWindow | undefined
  let slices = FIRST_WINDOW
  const next = newRun()
  while (!isWhole(state, offset, bytes, run, beside)) {
    const at = guest(offset + run.bytes)
    const left = bytes - run.bytes
    beside ??= takeWindow(state)
    if (!(await showTable(state, at, left, beside, slices)) || !lookupRun(state, at, left, next, false, beside))
      await findRun(state, at, left, next)
    slices *= WINDOW_GROWTH
    const follows = !hasHostCluster(run.kind) || next.host === run.host + run.bytes
    if (next.kind !== run.kind || !follows || run.kind === COMPRESSED || run.kind === INVALID) break
    run.bytes += next.bytes
  }
  if (beside !== undefined) state.spareWindow = beside
  return extentOf(state, offset, run)
}

/** Shows what follows `offset`, up to `most` slices of one table; false where it cannot be read, or is not worth while. */
async function showTable(
  state: Qcow2State,
  offset: GuestOffset,
  bytes: number,
  beside: TableWindow,
  most: number,
): Promise<boolean> {
  const { l2SliceBytes } = state.settings
  const slice = sliceAt(state, offset)
  if (slice === undefined) return false
  const wanted = Math.ceil((slice.index + Math.ceil(bytes / state.layout.clusterSize)) / slice.entries)
  const count = Math.min(most, wanted, slice.left, TableWindow.slices(l2SliceBytes))
  if (count < 2) return false
  try {
    await beside.load(state.file, slice.offset, count * l2SliceBytes)
    return true
  } catch {
    // The slice that is needed may be a good one: it is read for itself.
    return false
  }
}

function takeWindow(state: Qcow2State): TableWindow {
  const window = state.spareWindow ?? new TableWindow()
  state.spareWindow = undefined
  return window
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
