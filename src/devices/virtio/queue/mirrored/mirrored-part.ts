// A part of a ring that lies in several regions of guest memory, as cells of 16 or 32 bits, and a mirror of it in one piece.
// Cells that the two ends poll are passed one by one by atomic accesses, all others in runs by plain ones.

import type { GuestMemory, GuestRegion, PieceSink } from '../../memory/guest-memory.js'
import type { PlacedPart } from '../queue-layout.js'

type Cells = Uint16Array | Uint32Array

/** What lies in one region: cells of the guest from `first` on. */
interface Piece {
  readonly first: number
  readonly cells: Cells
}

/** The part. Regions meet at multiples of 16 bytes, so that no cell lies in two. */
export class MirroredPart implements PieceSink {
  readonly buffer: ArrayBuffer

  private readonly mirror: Cells
  private readonly pieces: Piece[] = []
  private length = 0

  /** Its cells have `cellBytes` bytes, of which `part` is a multiple in place and length. All of it lies in `memory`. */
  constructor(memory: GuestMemory, { high, low, bytes }: PlacedPart, cellBytes: 2 | 4) {
    this.buffer = new ArrayBuffer(Math.ceil(bytes / 4) * 4)
    this.mirror = cellsOf(this.buffer, 0, bytes, cellBytes)
    memory.pieces(high, low, bytes, this)
    this.pull(0, this.length)
  }

  piece({ buffer, byteOffset }: GuestRegion, start: number, bytes: number): void {
    const cells = cellsOf(buffer, byteOffset + start, bytes, this.mirror.BYTES_PER_ELEMENT as 2 | 4)
    this.pieces.push({ first: this.length, cells })
    this.length += cells.length
  }

  /** Reads one cell of the guest into the mirror; what is read afterwards is not older. As the mirror has it then. */
  load(cell: number): number {
    const { first, cells } = this.pieceAt(cell)
    const value = Atomics.load(cells, cell - first)
    this.mirror[cell] = value
    return value
  }

  /** Writes one cell of the mirror to the guest, who sees all that was written before it. */
  store(cell: number): void {
    const { first, cells } = this.pieceAt(cell)
    Atomics.store(cells, cell - first, this.mirror[cell] as number)
  }

  /** Reads `count` cells from `from` on into the mirror. */
  pull(from: number, count: number): void {
    this.eachRun(from, count, (cells, at, start, end) => this.mirror.set(cells.subarray(start, end), at))
  }

  /** Writes `count` cells of the mirror from `from` on to the guest. */
  push(from: number, count: number): void {
    this.eachRun(from, count, (cells, at, start, end) => cells.set(this.mirror.subarray(at, at + end - start), start))
  }

  private eachRun(
    from: number,
    count: number,
    act: (cells: Cells, at: number, start: number, end: number) => void,
  ): void {
    const end = from + count
    for (const { first, cells } of this.pieces) {
      const start = Math.max(from, first)
      const stop = Math.min(end, first + cells.length)
      if (start < stop) act(cells, start, start - first, stop - first)
    }
  }

  private pieceAt(cell: number): Piece {
    let at = this.pieces.length - 1
    while (at > 0 && (this.pieces[at] as Piece).first > cell) at--
    return this.pieces[at] as Piece
  }
}

function cellsOf(buffer: ArrayBufferLike, byteOffset: number, bytes: number, cellBytes: 2 | 4): Cells {
  const length = Math.floor(bytes / cellBytes)
  return cellBytes === 2 ? new Uint16Array(buffer, byteOffset, length) : new Uint32Array(buffer, byteOffset, length)
}
