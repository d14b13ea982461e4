// Page-aligned memory, which direct I/O needs. The memory of a WebAssembly.Memory begins on a page; pieces are cut from
// such arenas and never overlap. An arena lives as long as any view of it, so a piece that is not given back is no leak.

import { assert } from '../common/assert.js'
import { alignUp, MiB } from '../common/units.js'

/** Alignment of what {@link alignedBuffer} returns, in bytes. */
export const BUFFER_ALIGNMENT = 4096
const ARENA_BYTES = 16 * MiB
const WASM_PAGE = 65536
/** Pieces kept per size; more are left to the garbage collector with their arena. */
const KEPT_PER_SIZE = 64

// The type libraries that Node code is compiled with do not have this global.
const { WebAssembly } = globalThis as unknown as {
  WebAssembly: { Memory: new (pages: { initial: number; maximum: number }) => { buffer: ArrayBuffer } }
}

let arena: ArrayBuffer | undefined
let arenaUsed = 0
const arenas = new WeakSet<ArrayBufferLike>()
const spare = new Map<number, Uint8Array[]>()

/** A buffer of `size` zero bytes at a page boundary, for requests to files opened for direct I/O. */
export function alignedBuffer(size: number): Uint8Array {
  const buffer = takeAlignedBuffer(size)
  buffer.fill(0)
  return buffer
}

/** The same with whatever content was in it before: for who fills all of it before showing any. */
export function takeAlignedBuffer(size: number): Uint8Array {
  assert(Number.isSafeInteger(size) && size >= 0, `alignedBuffer: ${size} is no size`)
  const taken = alignUp(Math.max(size, 1), BUFFER_ALIGNMENT)
  const piece = spare.get(taken)?.pop() ?? carve(taken)
  return piece.byteLength === size ? piece : piece.subarray(0, size)
}

/** Gives a buffer of {@link alignedBuffer} back for reuse. Neither it nor any view of it may be used afterwards. */
export function releaseAlignedBuffer(buffer: Uint8Array): void {
  assert(
    isArenaMemory(buffer) && buffer.byteOffset % BUFFER_ALIGNMENT === 0,
    'the buffer was not made by alignedBuffer',
  )
  const taken = alignUp(Math.max(buffer.byteLength, 1), BUFFER_ALIGNMENT)
  const list = spare.get(taken) ?? []
  if (list.length >= KEPT_PER_SIZE) return
  list.push(new Uint8Array(buffer.buffer, buffer.byteOffset, taken))
  spare.set(taken, list)
}

/** Whether the memory of `buffer` comes from here, so that `byteOffset` tells its alignment. */
export function isArenaMemory(buffer: Uint8Array): boolean {
  return arenas.has(buffer.buffer)
}

function carve(bytes: number): Uint8Array {
  if (bytes > ARENA_BYTES) return new Uint8Array(newArena(bytes), 0, bytes)
  if (arena === undefined || arenaUsed + bytes > ARENA_BYTES) {
    arena = newArena(ARENA_BYTES)
    arenaUsed = 0
  }
  const start = arenaUsed
  arenaUsed += bytes
  return new Uint8Array(arena, start, bytes)
}

function newArena(bytes: number): ArrayBuffer {
  const pages = Math.ceil(bytes / WASM_PAGE)
  // It is never grown: growing would detach the buffer under the views.
  const { buffer } = new WebAssembly.Memory({ initial: pages, maximum: pages })
  arenas.add(buffer)
  return buffer
}
