// The calls of drivers, and the only home of fallbacks: zeroes behind the end, zeroes written from a bounce buffer, FUA by
// a flush. Asserts: the request is tracked, allowed and aligned. A driver that throws synchronously is an ordinary failure.
//
// A filter without a data-changing method never passes it on unseen: its zeroes become writes, its discards nothing, its
// compressed writes fail. A filter that wishes to forward says so with `forward`.

import { BlockError } from '../../common/error.js'
import { type Bytes, copyBytes, sliceBytes, zeroBytes } from '../../common/io-vector.js'
import { BDRV_O_UNMAP } from '../../common/open-flags.js'
import {
  BDRV_REQ_FUA,
  BDRV_REQ_MAY_UNMAP,
  BDRV_REQ_NO_FALLBACK,
  BDRV_REQ_WRITE_COMPRESSED,
  BDRV_REQ_WRITE_UNCHANGED,
  type RequestFlags,
} from '../../common/request.js'
import { alignUp, type Offset } from '../../common/units.js'
import { flushNode } from '../flush.js'
import { nested } from '../nesting.js'
import type { Completion } from '../node-io.js'
import type { RequestState } from '../request-state.js'
import { invalidateStatusCache } from '../status-cache.js'
import { bounceLimit, gatherPart, hasTooManyBuffers, transferLimit } from './fragment.js'

/** Flags of a write that may reach a driver. */
const DRIVER_WRITE_FLAGS = BDRV_REQ_FUA | BDRV_REQ_WRITE_UNCHANGED

/** Reads an aligned range. What lies behind the end of the node reads as zeroes. `flags` go as far as the driver has them. */
export async function readDriver(
  state: RequestState,
  offset: Offset,
  into: Bytes,
  flags: RequestFlags = 0,
): Promise<void> {
  const { limits, length } = state
  const wanted = flags & state.readFlags
  const present = Math.min(Math.max(length - offset, 0), into.length)
  const asked = Math.min(alignUp(present, limits.requestAlignment), into.length)
  const most = transferLimit(limits)
  for (let at = 0; at < asked; at += most) {
    const end = Math.min(at + most, asked)
    const part = sliceBytes(into, at, end)
    if (!hasTooManyBuffers(limits, part)) await callRead(state, offset + at, part, wanted)
    else {
      const flat = new Uint8Array(end - at)
      await callRead(state, offset + at, flat, wanted)
      copyBytes(into, flat, at)
    }
  }
  if (present < into.length) zeroBytes(into, present)
}

/** Writes an aligned range, in fragments. FUA that the driver lacks becomes one flush after the last. */
export async function writeDriver(
  state: RequestState,
  offset: Offset,
  data: Bytes,
  flags: RequestFlags,
): Promise<void> {
  const fua = (flags & BDRV_REQ_FUA) !== 0
  if ((flags & BDRV_REQ_WRITE_COMPRESSED) !== 0) {
    await callWriteCompressed(state, offset, data)
    if (fua) await flushForFua(state)
    return
  }
  const { limits } = state
  const most = transferLimit(limits)
  const passed = flags & state.writeFlags & DRIVER_WRITE_FLAGS
  for (let at = 0; at < data.length; at += most) {
    const end = Math.min(at + most, data.length)
    await callWrite(state, offset + at, gatherPart(limits, data, at, end), passed)
  }
  if (fua && (passed & BDRV_REQ_FUA) === 0) await flushForFua(state)
}

/**
 * Makes an aligned range read as zeroes: by the driver, piece by piece along its zero alignment, else (unless NO_FALLBACK)
 * by writing a zeroed bounce buffer.
 */
export async function zeroDriver(
  state: RequestState,
  offset: Offset,
  bytes: number,
  flags: RequestFlags,
): Promise<void> {
  const { limits, node } = state
  const unmap = (node.openFlags & BDRV_O_UNMAP) !== 0
  const wanted = unmap ? flags : flags & ~BDRV_REQ_MAY_UNMAP
  if ((wanted & BDRV_REQ_NO_FALLBACK) !== 0 && !canZeroFast(state)) throw unsupported(state, 'write-zeroes')
  invalidateStatusCache(state, offset, offset + bytes)
  const alignment = Math.max(limits.writeZeroesAlignment, limits.requestAlignment)
  const most = transferLimit(limits)
  const bulk = Math.max(limits.maxWriteZeroes === 0 ? Number.MAX_SAFE_INTEGER : limits.maxWriteZeroes, alignment)
  let bounce: Uint8Array | undefined
  let unstable = false
  for (let at = 0; at < bytes; ) {
    const piece = nextPiece(offset + at, bytes - at, alignment, bulk, most)
    if (await zeroPiece(state, offset + at, piece, wanted & state.zeroFlags)) {
      unstable ||= (state.zeroFlags & BDRV_REQ_FUA) === 0
    } else {
      if ((wanted & BDRV_REQ_NO_FALLBACK) !== 0) throw unsupported(state, 'write-zeroes')
      bounce ??= new Uint8Array(Math.min(bounceLimit(limits), bytes))
      await writeBounce(state, offset + at, piece, bounce, wanted & state.writeFlags & DRIVER_WRITE_FLAGS)
      unstable ||= (state.writeFlags & BDRV_REQ_FUA) === 0
    }
    at += piece
  }
  if (unstable && (wanted & BDRV_REQ_FUA) !== 0) await flushForFua(state)
}

/** Discards a range: advisory, so a driver's ENOTSUP for a piece is passed over. */
export async function discardDriver(state: RequestState, offset: Offset, bytes: number): Promise<void> {
  const { limits } = state
  invalidateStatusCache(state, offset, offset + bytes)
  const alignment = Math.max(limits.discardAlignment, limits.requestAlignment)
  const bulk = Math.max(limits.maxDiscard === 0 ? Number.MAX_SAFE_INTEGER : limits.maxDiscard, alignment)
  for (let at = 0; at < bytes; ) {
    const piece = nextDiscard(offset + at, bytes - at, alignment, bulk, limits.requestAlignment)
    await callDiscard(state, offset + at, piece)
    at += piece
  }
}

/** Whether the driver itself can make zeroes without writing them all. */
export function canZero(state: RequestState): boolean {
  return state.node.io.writeZeroes !== undefined
}

function canZeroFast(state: RequestState): boolean {
  return canZero(state) && (state.zeroFlags & BDRV_REQ_NO_FALLBACK) !== 0
}

/** Head up to the boundary, then the aligned bulk, then the tail. Heads and tails never cross a boundary. */
function nextPiece(offset: Offset, bytes: number, alignment: number, bulk: number, most: number): number {
  const head = offset % alignment
  if (head !== 0) return Math.min(bytes, alignment - head, most)
  if (bytes < alignment) return Math.min(bytes, most)
  const piece = Math.min(bytes, bulk)
  return piece - (piece % alignment)
}

function nextDiscard(offset: Offset, bytes: number, alignment: number, bulk: number, unit: number): number {
  const inUnit = offset % unit
  if (inUnit !== 0) return Math.min(bytes, unit - inUnit)
  if (bytes < unit) return bytes
  const piece = nextPiece(offset, bytes, alignment, bulk, Number.MAX_SAFE_INTEGER)
  return piece < alignment ? piece - (piece % unit) || piece : piece
}

async function zeroPiece(state: RequestState, offset: Offset, bytes: number, flags: RequestFlags): Promise<boolean> {
  const { io } = state.node
  if (io.writeZeroes === undefined) return false
  try {
    await nested(() => io.writeZeroes?.(offset, bytes, flags))
    return true
  } catch (error) {
    if (isUnsupported(error)) return false
    throw error
  }
}

async function writeBounce(
  state: RequestState,
  offset: Offset,
  bytes: number,
  bounce: Uint8Array,
  flags: RequestFlags,
): Promise<void> {
  for (let at = 0; at < bytes; at += bounce.length) {
    const step = Math.min(bounce.length, bytes - at)
    await callWrite(state, offset + at, step === bounce.length ? bounce : bounce.subarray(0, step), flags)
  }
}

function callRead(state: RequestState, offset: Offset, into: Bytes, flags: RequestFlags): Completion {
  return nested(() => state.node.io.read(offset, into, flags))
}

function callWrite(state: RequestState, offset: Offset, data: Bytes, flags: RequestFlags): Completion {
  const { io } = state.node
  if (io.write === undefined) throw unsupported(state, 'write')
  return nested(() => io.write?.(offset, data, flags))
}

function callWriteCompressed(state: RequestState, offset: Offset, data: Bytes): Completion {
  const { io } = state.node
  if (io.writeCompressed === undefined) throw unsupported(state, 'compressed write')
  return nested(() => io.writeCompressed?.(offset, data))
}

async function callDiscard(state: RequestState, offset: Offset, bytes: number): Promise<void> {
  try {
    await nested(() => state.node.io.discard?.(offset, bytes))
  } catch (error) {
    if (!isUnsupported(error)) throw error
  }
}

/** FUA by a flush. The generation rises first: a flush that finds it unchanged would think that there is nothing to do. */
export async function flushForFua(state: RequestState): Promise<void> {
  state.writeGeneration++
  await flushNode(state.node)
}

function unsupported(state: RequestState, op: string): BlockError {
  const { node } = state
  return new BlockError('ENOTSUP', `driver '${node.driver.name}' cannot do this: ${op}`, { node: node.nodeName, op })
}

/** Whether a driver said that it cannot do this at all. */
export function isUnsupported(error: unknown): boolean {
  return toBlockErrorCode(error) === 'ENOTSUP'
}

function toBlockErrorCode(error: unknown): unknown {
  const code = (error as { code?: unknown } | null | undefined)?.code
  return code === 'EOPNOTSUPP' ? 'ENOTSUP' : code
}
