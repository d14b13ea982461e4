// Writing guest data. Where the range is one run that may be written in place, it is one request to the child and no await of
// our own. Everything else goes piece by piece: clusters are taken under the lock, written without it, and named by their L2
// table under it again.

import { type Bytes, concatBytes, flattenBytes, sliceBytes } from '../../common/io-vector.js'
import type { Completion } from '../../io/node-io.js'
import { write } from '../../io/write.js'
import { copyAround, linkAllocation, releaseAllocation } from './cow.js'
import { NORMAL } from './l2-entry.js'
import { type GuestRun, lookupRun, newRun } from './l2-map.js'
import { type GuestOffset, guest, type HostOffset, host } from './layout.js'
import { mayOverlap, refuseOverlap } from './overlap.js'
import { PendingPieces } from './pending-pieces.js'
import { hasDataFile, type Qcow2State } from './state.js'
import { type TakenPiece, takePiece } from './take-piece.js'

/** Used within one step only. */
const scratch = newRun()

/** Writes `data` at guest offset `offset`. EIO for damaged metadata, ENOSPC and others as the child says. */
export function writeGuest(state: Qcow2State, offset: GuestOffset, data: Bytes): Completion {
  const bytes = data.byteLength
  if (
    state.writable &&
    !state.corrupt &&
    state.cipher === undefined &&
    lookupRun(state, offset, bytes, scratch, true) &&
    scratch.bytes === bytes &&
    isInPlace(scratch) &&
    (hasDataFile(state) || !mayOverlap(state, scratch.host, bytes))
  ) {
    return write(state.dataFile, scratch.host, data)
  }
  return writePieces(state, offset, data)
}

function isInPlace(run: GuestRun): boolean {
  return run.kind === NORMAL && run.copied
}

async function writePieces(state: Qcow2State, offset: GuestOffset, data: Bytes): Promise<void> {
  const pieces = new PendingPieces()
  const run = newRun()
  // Clusters of one request go behind each other where they can.
  let preferred: HostOffset | undefined
  try {
    for (let done = 0; done < data.byteLength && !pieces.failed; ) {
      const at = guest(offset + done)
      const left = data.byteLength - done
      await pieces.room()
      // No step between the look-up and the write in place that uses it.
      if (state.writable && lookupRun(state, at, left, run, true) && isInPlace(run)) {
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
async function writePiece(state: Qcow2State, piece: TakenPiece, offset: GuestOffset, data: Bytes): Promise<void> {
  const { allocation } = piece
  try {
    const { head, tail } = await copyAround(state, piece, offset, data.byteLength)
    const start = guest(offset - head.byteLength)
    const place = host(allocation.host + (start - allocation.guestStart))
    await writeData(state, place, start, concatBytes([head, data, tail]))
  } catch (error) {
    await releaseAllocation(state, piece)
    throw error
  }
  await linkAllocation(state, piece)
}

/** Writes bytes to where they belong, encrypted where the image is. */
function writeData(state: Qcow2State, place: HostOffset, offset: GuestOffset, data: Bytes): Completion {
  if (!hasDataFile(state)) refuseOverlap(state, place, data.byteLength, [])
  if (state.cipher === undefined) return write(state.dataFile, place, data)
  // A copy: the buffer is the caller's, who is not to find it changed.
  const encrypted = data instanceof Uint8Array ? Uint8Array.from(data) : flattenBytes(data)
  state.cipher.encrypt(place, offset, encrypted)
  return write(state.dataFile, place, encrypted)
}
