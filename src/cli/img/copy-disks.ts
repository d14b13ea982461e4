// The copier of convert: reads what is data, finds zeroes in it, and writes what has to be written. Copies are in flight up to
// a bound; unless asked otherwise writes reach the target in the order of the disk.

import { toBlockError } from '../../common/error.js'
import { BDRV_SECTOR_SIZE } from '../../common/limits.js'
import { BDRV_REQ_MAY_UNMAP, BDRV_REQ_WRITE_COMPRESSED } from '../../common/request.js'
import { MiB, type Offset } from '../../common/units.js'
import { copyRange } from '../../io/copy-range.js'
import { workInOrder } from '../../jobs/ordered-pieces.js'
import { errnoText } from '../error-text.js'
import { readDisk } from '../image-data.js'
import type { Progress } from '../progress.js'
import type { RateLimit } from '../rate-limit.js'
import { sparseRuns, zeroBlocks } from '../sectors.js'
import type { OpenImage } from '../session.js'
import { type Tool, ToolError } from '../tool.js'
import {
  asData,
  type CopyExtent,
  copyExtents,
  cutExtents,
  type PlacedSource,
  placeSources,
  readSources,
  wholeClusters,
} from './copy-extents.js'

/** Bytes of one copy. */
const BUFFER_SIZE = 2 * MiB
/** Clusters of one compressed request at least, so that all processors have one. */
const COMPRESSED_CLUSTERS = 8

/** What is copied, and how. */
export interface CopyTask {
  sources: readonly OpenImage[]
  target: OpenImage
  tool: Tool
  rate: RateLimit
  progress: Progress
  /** Copies in flight at most. */
  inFlight: number
  inOrder: boolean
  /** Zeroes in a row, in bytes, that are not written as data; 0: everything is. */
  sparse: number
  /** Ends of holes lie at multiples of it. */
  alignment: number
  /** What is not written reads as zero. */
  targetIsZero: boolean
  /** Length of the target's backing file, which holds what the sources find in theirs. */
  backingBytes: Offset | undefined
  /** Size of the clusters that are written compressed; undefined where none are. */
  compressedCluster: number | undefined
  /** Try to copy without reading. */
  offload: boolean
  /** Zeroes stand for what cannot be read. */
  salvage: boolean
}

/** Copies all of the sources, one behind the other. Throws the first {@link ToolError}, once no copy is in flight. */
export async function copyDisks(task: CopyTask): Promise<void> {
  const copier = new Copier(task)
  if (task.progress.enabled) await copier.measure()
  await workInOrder(copier.pieces(), task.inFlight, (piece, turn) => copier.copy(piece, turn))
}

class Copier {
  readonly #task: CopyTask
  readonly #sources: readonly PlacedSource[]
  readonly #bufferSize: number
  readonly #buffers: Uint8Array[] = []
  /** Bytes of data, for progress. */
  #total = 0
  #copied = 0
  #offload: boolean
  #failed = false

  constructor(task: CopyTask) {
    this.#task = task
    this.#sources = placeSources(task.sources)
    this.#offload = task.offload
    this.#bufferSize = Math.max(BUFFER_SIZE, (task.compressedCluster ?? 0) * COMPRESSED_CLUSTERS)
  }

  pieces(): AsyncGenerator<CopyExtent> {
    const { backingBytes, compressedCluster, sparse } = this.#task
    const found = copyExtents(this.#sources, backingBytes)
    const extents = sparse === 0 ? asData(found) : found
    const whole = compressedCluster === undefined ? extents : wholeClusters(extents, compressedCluster)
    return cutExtents(whole, this.#bufferSize)
  }

  /** Looks how much there is to copy. */
  async measure(): Promise<void> {
    for await (const piece of this.pieces()) if (piece.kind === 'data') this.#total += piece.bytes
  }

  /** Copies a piece. */
  async copy(piece: CopyExtent, turn: Promise<void>): Promise<void> {
    try {
      if (piece.kind === 'data') await this.#copyData(piece, turn)
      else if (piece.kind === 'zero') await this.#ordered(turn, () => this.#zero(piece.offset, piece.bytes))
    } catch (thrown) {
      this.#failed = true
      throw thrown instanceof ToolError ? thrown : new ToolError(toBlockError(thrown).message)
    }
  }

  async #copyData(piece: CopyExtent, turn: Promise<void>): Promise<void> {
    if (this.#offload && (await this.#copyOffloaded(piece, turn))) return
    const whole = this.#buffers.pop() ?? new Uint8Array(this.#bufferSize)
    try {
      const buffer = whole.subarray(0, piece.bytes)
      await this.#read(piece, buffer)
      await this.#ordered(turn, () => this.#write(piece.offset, buffer))
    } finally {
      this.#buffers.push(whole)
    }
    this.#report(piece.bytes)
  }

  /** Waits for the writes before this one, unless they may pass each other. */
  async #ordered(turn: Promise<void>, act: () => Promise<void>): Promise<void> {
    if (this.#task.inOrder) await turn
    if (!this.#failed) await act()
  }

  async #copyOffloaded({ offset, bytes }: CopyExtent, turn: Promise<void>): Promise<boolean> {
    const source = this.#sources.find(({ start, bytes: length }) => offset >= start && offset < start + length)
    const from = source?.image.backend.edge
    const to = this.#task.target.backend.edge
    if (source === undefined || from === undefined || to === undefined) return false
    try {
      await this.#ordered(turn, () => copyRange(from, offset - source.start, to, offset, bytes))
    } catch {
      // Whatever is in the way, reading and writing tells more about it.
      this.#offload = false
      return false
    }
    this.#report(bytes)
    return true
  }

  async #read(piece: CopyExtent, buffer: Uint8Array): Promise<void> {
    try {
      await readSources(this.#sources, piece.offset, buffer)
    } catch (thrown) {
      if (!this.#task.salvage) throw new ToolError(`error while reading at byte ${piece.offset}: ${errnoText(thrown)}`)
      await this.#salvage(piece, buffer)
    }
  }

  async #salvage({ offset, bytes }: CopyExtent, buffer: Uint8Array): Promise<void> {
    const { tool } = this.#task
    for (const { image, start, bytes: length } of this.#sources) {
      const end = Math.min(start + length, offset + bytes)
      for (let at = Math.max(start, offset); at < end; at += BDRV_SECTOR_SIZE) {
        const sector = buffer.subarray(at - offset, at - offset + BDRV_SECTOR_SIZE)
        try {
          await readDisk(image, at - start, sector)
        } catch (thrown) {
          sector.fill(0)
          tool.err(`${tool.name}: warning: error while reading offset ${at - start}: ${errnoText(thrown)}\n`)
        }
      }
    }
  }

  async #write(offset: Offset, buffer: Uint8Array): Promise<void> {
    for (const { start, bytes, zero } of this.#runs(offset, buffer)) {
      if (zero) await this.#zero(offset + start, bytes)
      else await this.#writeData(offset + start, buffer.subarray(start, start + bytes))
    }
  }

  #runs(offset: Offset, buffer: Uint8Array): { start: number; bytes: number; zero: boolean }[] {
    const { sparse, alignment, compressedCluster } = this.#task
    if (sparse === 0) return [{ start: 0, bytes: buffer.byteLength, zero: false }]
    if (compressedCluster !== undefined) return zeroBlocks(buffer, compressedCluster)
    return sparseRuns(buffer, sparse, alignment, offset)
  }

  async #writeData(offset: Offset, data: Uint8Array): Promise<void> {
    const { target, rate, compressedCluster } = this.#task
    await rate.admit(data.byteLength)
    const end = offset + data.byteLength
    // A compressed cluster is a whole one, or ends with the disk.
    const whole =
      compressedCluster !== undefined && end % compressedCluster !== 0 && end < target.node.state.length
        ? data.byteLength - (end % compressedCluster)
        : data.byteLength
    const flags = compressedCluster === undefined ? 0 : BDRV_REQ_WRITE_COMPRESSED
    await this.#guarded(offset, async () => {
      if (whole > 0) await target.backend.write(offset, data.subarray(0, whole), { flags })
      if (whole < data.byteLength) await target.backend.write(offset + whole, data.subarray(whole))
    })
  }

  async #zero(offset: Offset, bytes: number): Promise<void> {
    const { target, targetIsZero } = this.#task
    if (targetIsZero) return
    await this.#guarded(offset, () => target.backend.writeZeroes(offset, bytes, { flags: BDRV_REQ_MAY_UNMAP }))
  }

  async #guarded(offset: Offset, act: () => Promise<void>): Promise<void> {
    try {
      await act()
    } catch (thrown) {
      throw new ToolError(`error while writing at byte ${offset}: ${errnoText(thrown)}`)
    }
  }

  #report(bytes: number): void {
    this.#copied += bytes
    if (this.#total > 0) this.#task.progress.report(Math.min(100, (this.#copied / this.#total) * 100))
  }
}
