// Guest physical memory: disjoint regions, each over an ArrayBuffer or SharedArrayBuffer of the host. An address range is
// good where every byte of it lies in some region; a range that does not is refused whole, never cut.
// Addresses come from outside as two u32 halves; whatever exceeds a safe integer lies in no region.

import { BlockError } from '../../../common/error.js'
import { MAX_LENGTH } from '../../../common/limits.js'
import type { Offset } from '../../../common/units.js'

/** What a region is made of. `address` and the memory's place in its buffer are multiples of 16. */
export interface GuestRegionOptions {
  /** Guest physical address of the first byte. */
  address: Offset
  /** The memory: a whole buffer, or a view of part of one. */
  memory: ArrayBuffer | SharedArrayBuffer | Uint8Array
}

/** A stretch of guest memory with the views through which it is accessed. */
export interface GuestRegion {
  /** Guest physical address of the first byte. */
  readonly base: Offset
  /** Address behind the last byte. */
  readonly end: Offset
  readonly buffer: ArrayBufferLike
  /** Place of the first byte in `buffer`. */
  readonly byteOffset: number
  readonly bytes: Uint8Array
  /** The same memory in host order words; a last part of a word is left out. */
  readonly words: Uint32Array
}

/** Takes the pieces of a range, in order: `bytes` bytes from `start` of `region`. */
export interface PieceSink {
  piece(region: GuestRegion, start: number, bytes: number): void
}

const REGION_ALIGNMENT = 16
const HALF = 0x1_0000_0000

/** The regions of one guest. Immutable: a changed layout is a new object and a reset of the devices that used the old. */
export class GuestMemory {
  /** By address. */
  readonly regions: readonly GuestRegion[]
  /** Where the last range was found; the next one is mostly there too. */
  private recent: GuestRegion

  /** Throws EINVAL for no region, an empty, unaligned or overlapping one, EFBIG for one beyond MAX_LENGTH. */
  constructor(regions: readonly GuestRegionOptions[]) {
    this.regions = regions.map(makeRegion).sort((a, b) => a.base - b.base)
    let previous: GuestRegion | undefined
    for (const region of this.regions) {
      if (previous !== undefined && region.base < previous.end) {
        throw new BlockError('EINVAL', `guest memory regions at ${hex(previous.base)} and ${hex(region.base)} overlap`)
      }
      previous = region
    }
    const first = this.regions[0]
    if (first === undefined) throw new BlockError('EINVAL', 'guest memory needs a region')
    this.recent = first
  }

  /** The one region that holds all of the range; undefined where none does (it may still lie in several). */
  find(high: number, low: number, bytes: number): GuestRegion | undefined {
    // A high half beyond 0x1fffff makes a number that is no safe integer, but one far behind every region's end.
    const address = high * HALF + low
    const recent = this.recent
    if (address >= recent.base && address + bytes <= recent.end) return recent
    const region = this.regionAt(address)
    if (region === undefined || address + bytes > region.end) return undefined
    this.recent = region
    return region
  }

  /**
   * Hands the pieces of a range to `sink`, one for each region it touches. False, with nothing handed out, where a byte
   * of it lies in no region.
   */
  pieces(high: number, low: number, bytes: number, sink: PieceSink): boolean {
    const address = high * HALF + low
    return this.walk(address, bytes) && this.walk(address, bytes, sink)
  }

  /** Views of the range, one for each region it touches; undefined where a byte of it lies in no region. */
  views(high: number, low: number, bytes: number): Uint8Array[] | undefined {
    const views: Uint8Array[] = []
    const whole = this.pieces(high, low, bytes, {
      piece: (region, start, length) => views.push(viewOf(region, start, length)),
    })
    return whole ? views : undefined
  }

  /** Whether all of the range lies in regions; what does is handed to `sink` on the way. */
  private walk(address: number, bytes: number, sink?: PieceSink): boolean {
    let position = address
    let left = bytes
    while (left > 0) {
      const region = this.regionAt(position)
      if (region === undefined) return false
      const part = Math.min(left, region.end - position)
      sink?.piece(region, position - region.base, part)
      position += part
      left -= part
    }
    return true
  }

  private regionAt(address: number): GuestRegion | undefined {
    let low = 0
    let high = this.regions.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const region = this.regions[middle] as GuestRegion
      if (address < region.base) high = middle
      else if (address >= region.end) low = middle + 1
      else return region
    }
    return undefined
  }
}

/** `bytes` bytes from `start` of a region as a view of the same memory. */
export function viewOf(region: GuestRegion, start: number, bytes: number): Uint8Array {
  return new Uint8Array(region.buffer, region.byteOffset + start, bytes)
}

function makeRegion(options: GuestRegionOptions): GuestRegion {
  const { address, memory } = options
  const bytes = memory instanceof Uint8Array ? memory : new Uint8Array(memory)
  if (!Number.isSafeInteger(address) || address < 0 || address > MAX_LENGTH - bytes.byteLength) {
    throw new BlockError('EFBIG', `guest memory region at ${String(address)} lies beyond ${MAX_LENGTH}`)
  }
  if (bytes.byteLength === 0) throw new BlockError('EINVAL', `guest memory region at ${hex(address)} is empty`)
  if (address % REGION_ALIGNMENT !== 0 || bytes.byteOffset % REGION_ALIGNMENT !== 0) {
    throw new BlockError('EINVAL', `guest memory region at ${hex(address)} is not aligned to ${REGION_ALIGNMENT} bytes`)
  }
  return {
    base: address,
    end: address + bytes.byteLength,
    buffer: bytes.buffer,
    byteOffset: bytes.byteOffset,
    bytes,
    // Not by a shift: a region may have 2^32 bytes.
    words: new Uint32Array(bytes.buffer, bytes.byteOffset, Math.floor(bytes.byteLength / 4)),
  }
}

function hex(address: number): string {
  return `0x${address.toString(16)}`
}
