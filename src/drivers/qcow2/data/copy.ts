// Copies that the files below do by themselves. Reading, each run is passed on to where its data stands; writing, whole
// clusters are taken and the copy passed on to them. What would need the bytes in memory is ENOTSUP.

import { BlockError } from '../../../common/error.js'
import { BDRV_REQ_ZERO_WRITE, type RequestFlags } from '../../../common/request.js'
import { copyRangeFrom, copyRangeTo } from '../../../io/copy-range.js'
import type { CopySource, CopyTarget } from '../../../io/node-io.js'
import { COMPRESSED, INVALID, NORMAL, UNALLOCATED, UNALLOCATED_HOST } from '../format/l2-entry.js'
import { type GuestOffset, guest } from '../format/layout.js'
import { findRun, type GuestRun, lookupRun, newRun } from '../metadata/l2-map.js'
import { refuseOverlap } from '../metadata/overlap.js'
import { backingOf, hasDataFile, type Qcow2State } from '../state.js'
import { linkAllocation, readsZero, releaseAllocation } from './cow.js'
import { invalidEntry } from './read.js'
import { type TakenPiece, takePiece } from './take-piece.js'
import { isInPlace, mayWrite } from './write.js'

/** The reading half. ENOTSUP for compressed and encrypted clusters. */
export async function copyFromGuest(
  state: Qcow2State,
  offset: GuestOffset,
  target: CopyTarget,
  targetOffset: number,
  bytes: number,
  flags: RequestFlags,
): Promise<void> {
  const run = newRun()
  for (let done = 0; done < bytes; done += run.bytes) {
    const at = guest(offset + done)
    while (!lookupRun(state, at, bytes - done, run)) await findRun(state, at, bytes - done, run)
    await copyRun(state, at, run, target, targetOffset + done, flags)
  }
}

async function copyRun(
  state: Qcow2State,
  offset: GuestOffset,
  run: GuestRun,
  target: CopyTarget,
  targetOffset: number,
  flags: RequestFlags,
): Promise<void> {
  const zeroes = () =>
    target.copyFrom({ node: state.node }, offset, targetOffset, run.bytes, flags | BDRV_REQ_ZERO_WRITE)
  switch (run.kind) {
    case NORMAL:
      if (state.cipher !== undefined) throw unsupported(state)
      await copyRangeFrom(state.dataFile, run.host, target, targetOffset, run.bytes, flags)
      return
    case UNALLOCATED:
    case UNALLOCATED_HOST: {
      const backing = backingOf(state)
      const length = backing === undefined ? 0 : backing.node.state.length
      if (backing === undefined || offset >= length) return zeroes()
      // The rest of the run is another run.
      run.bytes = Math.min(run.bytes, length - offset)
      await copyRangeFrom(backing, offset, target, targetOffset, run.bytes, flags)
      return
    }
    case COMPRESSED:
      throw unsupported(state)
    case INVALID:
      throw invalidEntry(state, offset, run)
    default:
      return zeroes()
  }
}

/** The writing half. ENOTSUP where data beside the range would have to be copied, and for an encrypted image. */
export async function copyToGuest(
  state: Qcow2State,
  source: CopySource,
  sourceOffset: number,
  offset: GuestOffset,
  bytes: number,
  flags: RequestFlags,
): Promise<void> {
  if (state.cipher !== undefined) throw unsupported(state)
  const run = newRun()
  for (let done = 0; done < bytes; ) {
    const at = guest(offset + done)
    const from = sourceOffset + done
    if (mayWrite(state) && lookupRun(state, at, bytes - done, run, true) && isInPlace(run)) {
      if (!hasDataFile(state)) refuseOverlap(state, run.host, run.bytes, [])
      await copyRangeTo(state.dataFile, source, from, run.host, run.bytes, flags)
      done += run.bytes
      continue
    }
    const piece = await takePiece(state, at, bytes - done, undefined)
    if (piece === undefined) continue
    await copyPiece(state, piece, source, from, at, flags)
    done += piece.bytes
  }
}

async function copyPiece(
  state: Qcow2State,
  piece: TakenPiece,
  source: CopySource,
  sourceOffset: number,
  offset: GuestOffset,
  flags: RequestFlags,
): Promise<void> {
  try {
    const { validStart, validEnd } = piece.allocation
    const end = guest(offset + piece.bytes)
    const beside = (from: GuestOffset, to: GuestOffset) =>
      to > from && !(piece.fresh && readsZero(state, from, to - from))
    if (beside(validStart, offset) || beside(end, validEnd)) throw unsupported(state)
    if (!hasDataFile(state)) refuseOverlap(state, piece.host, piece.bytes, [])
    await copyRangeTo(state.dataFile, source, sourceOffset, piece.host, piece.bytes, flags)
  } catch (error) {
    await releaseAllocation(state, piece)
    throw error
  }
  await linkAllocation(state, piece)
}

function unsupported(state: Qcow2State): BlockError {
  return new BlockError('ENOTSUP', 'this range cannot be copied without reading it', {
    node: state.node.nodeName,
    op: 'copy-range',
  })
}
