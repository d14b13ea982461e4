// What a storage holds, sector by sector. Sectors never change once made and are shared between images, so that a copy costs one
// entry per sector that is not zero, and equal images are known by their hash without a look at their bytes.

import { BDRV_SECTOR_SIZE as SECTOR_SIZE } from '../../common/limits.js'
import type { Offset } from '../../common/units.js'
import { ChunkStore } from '../storage/memory-storage.js'

/** 512 bytes nobody changes, and two hashes of them. */
interface Sector {
  readonly bytes: Uint8Array
  readonly low: number
  readonly high: number
}

/** A storage of any length as a persistent value: copies are cheap and independent. */
export class SectorImage {
  readonly #sectors: Map<number, Sector>
  #length: Offset
  #low = 0
  #high = 0

  constructor(length: Offset = 0) {
    this.#sectors = new Map()
    this.#length = length
  }

  /** What `store` holds now. */
  static of(store: ChunkStore): SectorImage {
    const image = new SectorImage(store.length)
    const { length } = store
    for (let at = 0; at < length; ) {
      const extent = store.extent(at, length - at)
      if (extent.allocated) {
        const data = new Uint8Array(extent.bytes)
        store.read(at, data)
        image.write(at, data)
      }
      at += extent.bytes
    }
    return image
  }

  get length(): Offset {
    return this.#length
  }

  /** Equal for equal images; different, but for one in 2^64, for others. */
  get key(): string {
    return `${this.#length}:${this.#low}:${this.#high}`
  }

  /** An independent copy. */
  clone(): SectorImage {
    const copy = new SectorImage(this.#length)
    for (const [index, sector] of this.#sectors) copy.#sectors.set(index, sector)
    copy.#low = this.#low
    copy.#high = this.#high
    return copy
  }

  /** Puts `data` at `offset`; grows the image where it ends behind its end. */
  write(offset: Offset, data: Uint8Array): void {
    this.#length = Math.max(this.#length, offset + data.byteLength)
    for (let done = 0; done < data.byteLength; ) {
      const index = Math.floor((offset + done) / SECTOR_SIZE)
      const within = offset + done - index * SECTOR_SIZE
      const part = Math.min(SECTOR_SIZE - within, data.byteLength - done)
      const bytes = part === SECTOR_SIZE ? new Uint8Array(SECTOR_SIZE) : this.#copyOf(index)
      bytes.set(data.subarray(done, done + part), within)
      this.#put(index, makeSector(bytes))
      done += part
    }
  }

  /** Makes a range read as zeroes; grows the image where it ends behind its end. */
  zero(offset: Offset, bytes: number): void {
    this.#length = Math.max(this.#length, offset + bytes)
    this.#clear(offset, offset + bytes)
  }

  /** As `zero`, up to the end of the image. */
  discard(offset: Offset, bytes: number): void {
    this.#clear(offset, Math.min(offset + bytes, this.#length))
  }

  /** Cuts or grows; what grows reads as zeroes. */
  resize(length: Offset): void {
    if (length < this.#length) this.#clear(length, this.#length)
    this.#length = length
  }

  /** Fills `into` from `offset`; zeroes behind the end. */
  read(offset: Offset, into: Uint8Array): void {
    for (let done = 0; done < into.byteLength; ) {
      const index = Math.floor((offset + done) / SECTOR_SIZE)
      const within = offset + done - index * SECTOR_SIZE
      const part = Math.min(SECTOR_SIZE - within, into.byteLength - done)
      const sector = this.#sectors.get(index)
      if (sector === undefined) into.fill(0, done, done + part)
      else into.set(sector.bytes.subarray(within, within + part), done)
      done += part
    }
  }

  /** A store with the same bytes, for a node to be opened on. */
  toStore(): ChunkStore {
    const store = new ChunkStore(this.#length)
    for (const [index, { bytes }] of this.#sectors) {
      const offset = index * SECTOR_SIZE
      const inside = Math.min(SECTOR_SIZE, this.#length - offset)
      if (inside > 0) store.write(offset, inside === SECTOR_SIZE ? bytes : bytes.subarray(0, inside))
    }
    return store
  }

  #copyOf(index: number): Uint8Array {
    return this.#sectors.get(index)?.bytes.slice() ?? new Uint8Array(SECTOR_SIZE)
  }

  #clear(from: Offset, to: Offset): void {
    const first = Math.floor(from / SECTOR_SIZE)
    const last = Math.ceil(to / SECTOR_SIZE)
    // Whichever is shorter: the range, or what there is.
    if (last - first > this.#sectors.size) {
      for (const index of [...this.#sectors.keys()])
        if (index >= first && index < last) this.#clearSector(index, from, to)
      return
    }
    for (let index = first; index < last; index++) this.#clearSector(index, from, to)
  }

  #clearSector(index: number, from: Offset, to: Offset): void {
    if (!this.#sectors.has(index)) return
    const begin = Math.max(from - index * SECTOR_SIZE, 0)
    const end = Math.min(to - index * SECTOR_SIZE, SECTOR_SIZE)
    if (end - begin === SECTOR_SIZE) {
      this.#put(index, undefined)
      return
    }
    const bytes = this.#copyOf(index)
    bytes.fill(0, begin, end)
    this.#put(index, makeSector(bytes))
  }

  #put(index: number, sector: Sector | undefined): void {
    const old = this.#sectors.get(index)
    if (old !== undefined) this.#mix(index, old)
    if (sector === undefined) this.#sectors.delete(index)
    else {
      this.#sectors.set(index, sector)
      this.#mix(index, sector)
    }
  }

  /** Adds a sector to the hash, or takes it out again. */
  #mix(index: number, sector: Sector): void {
    this.#low = (this.#low ^ scramble(sector.low ^ Math.imul(index + 1, 0x9e3779b1))) >>> 0
    this.#high = (this.#high ^ scramble(sector.high + Math.imul(index + 1, 0x85ebca77))) >>> 0
  }
}

/** A sector of the bytes, which are its own from now on; undefined for zeroes, which no image keeps. */
function makeSector(bytes: Uint8Array): Sector | undefined {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, SECTOR_SIZE / 4)
  let low = 0x811c9dc5
  let high = 0x9747b28c
  let any = 0
  for (const word of words) {
    any |= word
    low = Math.imul(low ^ word, 0x01000193)
    low ^= low >>> 15
    high = Math.imul(high + word, 0xcc9e2d51)
    high ^= high >>> 13
  }
  return any === 0 ? undefined : { bytes, low, high }
}

function scramble(value: number): number {
  let mixed = Math.imul(value ^ (value >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return (mixed ^ (mixed >>> 16)) >>> 0
}
