// Alignment. A request that is not aligned is widened by a head and a tail of bounce memory; for a write the padding is
// read first (read-modify-write), under a serialising request so that nobody's bytes in it are lost.

import { type Bytes, concatBytes } from '../../common/io-vector.js'
import { isAligned, type Offset } from '../../common/units.js'
import type { RequestState } from '../request-state.js'
import { readDriver } from './dispatch.js'

/** An aligned range that holds a request. */
export interface Padded {
  offset: Offset
  bytes: number
  /** Bytes before and behind the request's own. */
  head: number
  tail: number
  /** The request's buffer between its padding. */
  data: Bytes
}

/** Whether a range is aligned for the node. */
export function isAlignedFor(state: RequestState, offset: Offset, bytes: number): boolean {
  const { requestAlignment } = state.limits
  return isAligned(offset, requestAlignment) && isAligned(bytes, requestAlignment)
}

/** Widens a range to the request alignment. The padding is fresh zeroed memory; a read throws it away. */
export function pad(state: RequestState, offset: Offset, data: Bytes): Padded {
  const alignment = state.limits.requestAlignment
  const bytes = data.length
  const head = offset & (alignment - 1)
  const rest = (offset + bytes) & (alignment - 1)
  const tail = rest === 0 ? 0 : alignment - rest
  const padded: Padded = { offset: offset - head, bytes: head + bytes + tail, head, tail, data }
  if (head === 0 && tail === 0) return padded
  padded.data = concatBytes([new Uint8Array(head), data, new Uint8Array(tail)])
  return padded
}

/**
 * Widens a write and reads what stands in the padding. Asserts: the caller's request is serialising on the alignment and
 * has waited. A failed read fails the write before anything is written.
 */
export async function padForWrite(state: RequestState, offset: Offset, data: Bytes): Promise<Padded> {
  const alignment = state.limits.requestAlignment
  const padded = pad(state, offset, data)
  const { head, tail } = padded
  if (head === 0 && tail === 0) return padded
  const end = padded.offset + padded.bytes
  if (padded.bytes === alignment) {
    const block = await readBlock(state, padded.offset, alignment)
    padded.data = concatBytes([block.subarray(0, head), data, block.subarray(alignment - tail)])
    return padded
  }
  const first = head === 0 ? new Uint8Array(0) : await readBlock(state, padded.offset, alignment)
  const last = tail === 0 ? new Uint8Array(0) : await readBlock(state, end - alignment, alignment)
  padded.data = concatBytes([first.subarray(0, head), data, last.subarray(alignment - tail)])
  return padded
}

async function readBlock(state: RequestState, offset: Offset, alignment: number): Promise<Uint8Array> {
  const block = new Uint8Array(alignment)
  await readDriver(state, offset, block)
  return block
}
