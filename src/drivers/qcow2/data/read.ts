// Reading guest data. Where the table is in memory and the range is one run, it is one request to the child and no await of
// our own; otherwise run by run, all under way at once.

import { type Bytes, copyBytes, sliceBytes, zeroBytes } from '../../../common/io-vector.js'
import type { Completion } from '../../../io/node-io.js'
import { read } from '../../../io/read.js'
import { settleAll } from '../../../io/settle-all.js'
import type { BlkdebugEvent } from '../../filters/blkdebug/events.js'
import { COMPRESSED, INVALID, NORMAL, UNALLOCATED, UNALLOCATED_HOST } from '../format/l2-entry.js'
import { type GuestOffset, guest, type HostOffset } from '../format/layout.js'
import { markCorrupt } from '../metadata/corruption.js'
import { isWatched, reach } from '../metadata/debug-points.js'
import { findRun, type GuestRun, lookupRun, newRun } from '../metadata/l2-map.js'
import { backingOf, type Qcow2State } from '../state.js'
import { readCompressed } from './compression.js'
import { PendingPieces } from './pending-pieces.js'

/** Used within one step only. */
const scratch = newRun()
/** Encrypted data is decrypted in pieces of this size, in bytes. */
const CIPHER_PIECE = 1024 * 1024

/** Fills `into` with guest data from `offset` on. EIO for damaged metadata; otherwise fails as the child does. */
export function readGuest(state: Qcow2State, offset: GuestOffset, into: Bytes): Completion {
  const bytes = into.length
  if (!isWatched(state) && lookupRun(state, offset, bytes, scratch) && scratch.bytes === bytes) {
    if (scratch.kind === NORMAL && state.cipher === undefined) return read(state.dataFile, scratch.host, into)
    return readRun(state, offset, scratch, into)
  }
  return readRuns(state, offset, into)
}

async function readRuns(state: Qcow2State, offset: GuestOffset, into: Bytes): Promise<void> {
  const pieces = new PendingPieces()
  const run = newRun()
  try {
    for (let done = 0; done < into.length && !pieces.failed; done += run.bytes) {
      const at = guest(offset + done)
      const left = into.length - done
      await pieces.room()
      // No step between the look-up and the request that uses it: the host cluster may have another owner in the next.
      while (!lookupRun(state, at, left, run)) await findRun(state, at, left, run)
      const point = isWatched(state) ? pointOf(run) : undefined
      if (point !== undefined) {
        await reach(state, point)
        while (!lookupRun(state, at, left, run)) await findRun(state, at, left, run)
      }
      pieces.add(readRun(state, at, run, sliceBytes(into, done, done + run.bytes)))
    }
  } catch (error) {
    pieces.fail(error)
  }
  await pieces.settled()
}

/** Reads one run into `into`, which is as long. Uses `run` in this step only. */
function readRun(state: Qcow2State, offset: GuestOffset, run: GuestRun, into: Bytes): Completion {
  switch (run.kind) {
    case NORMAL:
      return state.cipher === undefined
        ? read(state.dataFile, run.host, into)
        : readEncrypted(state, offset, run.host, into)
    case UNALLOCATED:
    case UNALLOCATED_HOST:
      return readBacking(state, offset, into)
    case COMPRESSED:
      return readCompressed(state, run.high, run.low, offset, into)
    case INVALID:
      throw invalidEntry(state, offset, run)
    default:
      zeroBytes(into)
      return undefined
  }
}

/** What a read of a run is called. Zeroes are not read; compressed clusters tell where they are. */
function pointOf(run: GuestRun): BlkdebugEvent | undefined {
  if (run.kind === NORMAL) return 'read_aio'
  return run.kind === UNALLOCATED || run.kind === UNALLOCATED_HOST ? 'read_backing_aio' : undefined
}

/** The error of an L2 (or L1) entry that means nothing. */
export function invalidEntry(state: Qcow2State, offset: GuestOffset, run: GuestRun): Error {
  const entry = `0x${run.high.toString(16).padStart(8, '0')}${run.low.toString(16).padStart(8, '0')}`
  return markCorrupt(state, `the table entry ${entry} of guest offset ${offset} is not valid`)
}

/** Reads what lies below. What the backing file does not reach is zero. */
export function readBacking(state: Qcow2State, offset: GuestOffset, into: Bytes): Completion {
  const backing = backingOf(state)
  const length = backing === undefined ? 0 : backing.node.state.length
  const present = Math.min(Math.max(length - offset, 0), into.length)
  if (present < into.length) zeroBytes(into, present)
  return backing === undefined || present === 0 ? undefined : read(backing, offset, sliceBytes(into, 0, present))
}

/** All of it is asked for at once: in a later step the host clusters may have another owner. */
async function readEncrypted(state: Qcow2State, offset: GuestOffset, place: HostOffset, into: Bytes): Promise<void> {
  const { cipher } = state
  const starts: number[] = []
  for (let done = 0; done < into.length; done += CIPHER_PIECE) starts.push(done)
  await settleAll(starts, async (done) => {
    const part = sliceBytes(into, done, Math.min(done + CIPHER_PIECE, into.length))
    // Decrypted apart: whoever owns the buffer may look at it at any time.
    const bounce = new Uint8Array(part.length)
    await read(state.dataFile, place + done, bounce)
    cipher?.decrypt((place + done) as HostOffset, guest(offset + done), bounce)
    copyBytes(part, bounce)
  })
}
