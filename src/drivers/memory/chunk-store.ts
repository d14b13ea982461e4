// Sparse bytes in memory: chunks of 64 KiB made by the first write into them. A missing chunk reads as zeroes, and only
// whole chunks are freed, so that what is missing is a hole in the sense of block status.

import { BlockError } from '../../common/error.js'
import type { Bytes } from '../../common/io-vector.js'
import { MAX_LENGTH } from '../../common/limits.js'
import type { Offset } from '../../common/units.js'

export const CHUNK_BYTES = 65536

/** A run of chunks that are all present or all missing. */
export interface ChunkExtent {
  allocated: boolean
  /** From the offset asked for. */
  bytes: number
}

/** A growable sparse array of bytes. Callers keep requests inside `length`. */
export class ChunkStore {
  #length: Offset
  readonly #chunks = new Map<number, Uint8Array>()

  /** `length` in bytes; all of it reads as zeroes. EFBIG beyond MAX_LENGTH. */
  constructor(length: Offset = 0) {
    checkLength(length)
    this.#length = length
  }

  get length(): Offset {
    return this.#length
  }

  /** Bytes held for chunks. */
  get allocatedBytes(): number {
    return this.#chunks.size * CHUNK_BYTES
  }

  /** Fills `into` from `offset`. */
  read(offset: Offset, into: Bytes): void {
    if (into instanceof Uint8Array) {
      this.#readBuffer(offset, into)
      return
    }
    let position = offset
    for (const buffer of into.buffers) {
      this.#readBuffer(position, buffer)
      position += buffer.length
    }
  }

  /** Copies `data` to `offset`. ENOMEM where the host has no memory for a chunk. */
  write(offset: Offset, data: Bytes): void {
    if (data instanceof Uint8Array) {
      this.#writeBuffer(offset, data)
      return
    }
    let position = offset
    for (const buffer of data.buffers) {
      this.#writeBuffer(position, buffer)
      position += buffer.length
    }
  }

  /** Makes the range read as zeroes and frees every chunk that lies in it (or in it and behind the end) entirely. */
  zero(offset: Offset, bytes: number): void {
    this.#clear(offset, Math.min(offset + bytes, this.#length), true)
  }

  /** Frees the chunks that lie in the range entirely; the rest of the range keeps its bytes. */
  discard(offset: Offset, bytes: number): void {
    this.#clear(offset, Math.min(offset + bytes, this.#length), false)
  }

  /** Cuts or grows; what grows reads as zeroes, also where it was cut before. EFBIG beyond MAX_LENGTH. */
  resize(length: Offset): void {
    checkLength(length)
    // What is cut must not show again after the next growth.
    if (length < this.#length) this.zero(length, this.#length - length)
    this.#length = length
  }

  /** How the range begins: as a hole or as data, and for how many bytes up to `bytes`. */
  extent(offset: Offset, bytes: number): ChunkExtent {
    const end = Math.min(offset + bytes, this.#length)
    const first = chunkOf(offset)
    const last = chunkOf(end - 1)
    const allocated = this.#chunks.has(first)
    const border = allocated ? this.#nextHole(first, last) : this.#nextChunk(first, last)
    return { allocated, bytes: Math.min(border * CHUNK_BYTES, end) - offset }
  }

  /** The same bytes in a store of its own. */
  clone(): ChunkStore {
    const copy = new ChunkStore(this.#length)
    for (const [index, chunk] of this.#chunks) copy.#chunks.set(index, chunk.slice())
    return copy
  }

  /** Frees everything and has length 0 then. */
  clear(): void {
    this.#chunks.clear()
    this.#length = 0
  }

  #readBuffer(offset: Offset, into: Uint8Array): void {
    const bytes = into.length
    let done = 0
    while (done < bytes) {
      const within = (offset + done) & (CHUNK_BYTES - 1)
      const part = Math.min(bytes - done, CHUNK_BYTES - within)
      const chunk = this.#chunks.get(chunkOf(offset + done))
      if (chunk === undefined) into.fill(0, done, done + part)
      else into.set(chunk.subarray(within, within + part), done)
      done += part
    }
  }

  #writeBuffer(offset: Offset, data: Uint8Array): void {
    const bytes = data.length
    let done = 0
    while (done < bytes) {
      const within = (offset + done) & (CHUNK_BYTES - 1)
      const part = Math.min(bytes - done, CHUNK_BYTES - within)
      const chunk = this.#chunkFor(chunkOf(offset + done))
      chunk.set(part === bytes ? data : data.subarray(done, done + part), within)
      done += part
    }
  }

  #chunkFor(index: number): Uint8Array {
    const present = this.#chunks.get(index)
    if (present !== undefined) return present
    const made = allocateChunk()
    this.#chunks.set(index, made)
    return made
  }

  #clear(offset: Offset, end: Offset, edges: boolean): void {
    if (offset >= end) return
    const first = chunkOf(offset)
    // A chunk cut by the end of the store counts as whole: nothing behind the end can be read.
    const whole = end === this.#length ? chunkOf(end - 1) + 1 : chunkOf(end)
    const from = offset % CHUNK_BYTES === 0 ? first : first + 1
    if (whole > from) this.#free(from, whole)
    if (!edges) return
    if (from > first)
      this.#chunks.get(first)?.fill(0, offset % CHUNK_BYTES, Math.min(end - first * CHUNK_BYTES, CHUNK_BYTES))
    if (whole >= from && end !== this.#length) this.#chunks.get(whole)?.fill(0, 0, end % CHUNK_BYTES)
  }

  #free(from: number, to: number): void {
    if (to - from <= this.#chunks.size) {
      for (let index = from; index < to; index++) this.#chunks.delete(index)
      return
    }
    for (const index of this.#chunks.keys()) if (index >= from && index < to) this.#chunks.delete(index)
  }

  #nextHole(from: number, last: number): number {
    let index = from
    while (index <= last && this.#chunks.has(index)) index++
    return index
  }

  #nextChunk(from: number, last: number): number {
    // Whichever is shorter: a step per chunk of the range, or a look at every chunk there is.
    if (last - from <= this.#chunks.size) {
      let index = from
      while (index <= last && !this.#chunks.has(index)) index++
      return index
    }
    let nearest = last + 1
    for (const index of this.#chunks.keys()) if (index > from && index < nearest) nearest = index
    return nearest
  }
}

function chunkOf(offset: Offset): number {
  return Math.floor(offset / CHUNK_BYTES)
}

function allocateChunk(): Uint8Array {
  try {
    return new Uint8Array(CHUNK_BYTES)
  } catch (cause) {
    throw new BlockError('ENOMEM', 'no memory for another chunk of data', { cause })
  }
}

function checkLength(length: Offset): void {
  if (length > MAX_LENGTH) throw new BlockError('EFBIG', `length ${length} is beyond ${MAX_LENGTH} bytes`)
}
