// Writing guest data. Where the range is one run that may be written in place, it is one request to the child and no await of
// our own. Everything else goes piece by piece: clusters are taken under the lock, written without it, and named by their L2
// table under it again.

import { type Bytes, concatBytes, flattenBytes, sliceBytes } from '../../../common/io-vector.js'
import type { Completion } from '../../../io/node-io.js'
import { write } from '../../../io/write.js'
import { NORMAL } from '../format/l2-entry.js'
import { type GuestOffset, guest, type HostOffset, host } from '../format/layout.js'
import { isWatched, reach } from '../metadata/debug-points.js'
import { type GuestRun, lookupRun, newRun } from '../metadata/l2-map.js'
import { mayOverlap, refuseOverlap } from '../metadata/overlap.js'
import { hasDataFile, type Qcow2State } from '../state.js'
import { copyAround, leavesZeroes, linkAllocation, linkNow, releaseAllocation, type Surroundings } from './cow.js'
import { PendingPieces } from './pending-pieces.js'
import { type TakenPiece, takeNow, takePiece } from './take-piece.js'

/** Used within one step only. */
const scratch = newRun()

/** Writes `data` at guest offset `offset`. EIO for damaged metadata, ENOSPC and others as the child says. */
export function writeGuest(state: Qcow2State, offset: GuestOffset, data: Bytes): Completion {
  const bytes = data.length
  if (
    mayWrite(state) &&
    !isWatched(state) &&
    state.cipher === undefined &&
    lookupRun(state, offset, bytes, scratch, true) &&
    scratch.bytes === bytes &&
    isInPlace(scratch) &&
    (hasDataFile(state) || !mayOverlap(state, scratch.host, bytes))
  ) {
    return write(state.dataFile, scratch.host, data)
  }
  const piece = takeNow(state, offset, bytes)
  return piece === undefined ? writePieces(state, offset, data) : writePiece(state, piece, offset, data)
}

/** Whether data may be written at once, as long as tables stay as they are. */
export function mayWrite(state: Qcow2State): boolean {
  return state.writable && !state.corrupt
}

/** Whether a run may be written where it stands. */
export function isInPlace(run: GuestRun): boolean {
  return run.kind === NORMAL && run.copied
}

async function writePieces(state: Qcow2State, offset: GuestOffset, data: Bytes): Promise<void> {
  const pieces = new PendingPieces()
  const run = newRun()
  let told = !isWatched(state)
  // Clusters of one request go behind each other where they can.
  let preferred: HostOffset | undefined
  try {
    for (let done = 0; done < data.length && !pieces.failed; ) {
      const at = guest(offset + done)
      const left = data.length - done
      await pieces.room()
      // No step between the look-up and the write in place that uses it.
      if (mayWrite(state) && lookupRun(state, at, left, run, true) && isInPlace(run)) {
        if (!told) {
          await reach(state, 'write_aio')
          told = true
          continue
        }
        told = !isWatched(state)
        pieces.add(writeData(state, run.host, at, sliceBytes(data, done, done + run.bytes)))
        preferred = host(run.host + run.bytes)
        done += run.bytes
        continue
      }
      const piece = await takePiece(state, at, left, preferred)
      if (piece === undefined) continue
      pieces.add(writePiece(state, piece, at, sliceBytes(data, done, done + piece.bytes)))
      preferred = host(piece.host + piece.bytes)
      done += piece.bytes
    }
  } catch (error) {
    pieces.fail(error)
  }
  await pieces.settled()
}

/** Writes a piece to clusters that were taken for it, then lets the L2 table name them. */
function writePiece(state: Qcow2State, piece: TakenPiece, offset: GuestOffset, data: Bytes): Completion {
  let written: Completion
  try {
    const around = copyAround(state, piece, offset, data.length)
    written =
      around instanceof Promise
        ? around.then((now) => fill(state, piece, offset, data, now))
        : fill(state, piece, offset, data, around)
  } catch (error) {
    return giveUp(state, piece, error)
  }
  if (written === undefined) return linkPiece(state, piece)
  return written.then(
    () => linkPiece(state, piece),
    (error) => giveUp(state, piece, error),
  )
}

function fill(
  state: Qcow2State,
  piece: TakenPiece,
  offset: GuestOffset,
  data: Bytes,
  around: Surroundings,
): Completion {
  return isWatched(state)
    ? fillWatched(state, piece, offset, data, around)
    : putPiece(state, piece, offset, data, around)
}

async function fillWatched(
  state: Qcow2State,
  piece: TakenPiece,
  offset: GuestOffset,
  data: Bytes,
  around: Surroundings,
): Promise<void> {
  if (around.head.length + around.tail.length > 0) await reach(state, 'cow_write')
  if (leavesZeroes(state, piece, offset, data.length)) await reach(state, 'cluster_alloc_space')
  await reach(state, 'write_aio')
  await putPiece(state, piece, offset, data, around)
}

/** Writes the data of a piece, with what stands around it. */
function putPiece(
  state: Qcow2State,
  { allocation }: TakenPiece,
  offset: GuestOffset,
  data: Bytes,
  { head, tail }: Surroundings,
): Completion {
  const start = guest(offset - head.length)
  const place = host(allocation.host + (start - allocation.guestStart))
  const alone = head.length === 0 && tail.length === 0
  return writeData(state, place, start, alone ? data : concatBytes([head, data, tail]))
}

function linkPiece(state: Qcow2State, piece: TakenPiece): Completion {
  return linkNow(state, piece) ? undefined : linkAllocation(state, piece)
}

async function giveUp(state: Qcow2State, piece: TakenPiece, error: unknown): Promise<never> {
  await releaseAllocation(state, piece)
  throw error
}

/** Writes bytes to where they belong, encrypted where the image is. */
function writeData(state: Qcow2State, place: HostOffset, offset: GuestOffset, data: Bytes): Completion {
  if (!hasDataFile(state) && mayOverlap(state, place, data.length)) refuseOverlap(state, place, data.length, [])
  if (state.cipher === undefined) return write(state.dataFile, place, data)
  // A copy: the buffer is the caller's, who is not to find it changed.
  const encrypted = data instanceof Uint8Array ? Uint8Array.from(data) : flattenBytes(data)
  state.cipher.encrypt(place, offset, encrypted)
  return write(state.dataFile, place, encrypted)
}
