// The copier of convert: walks the sources by block status, reads what is data, finds zeroes in it, and writes what has to
// be written. Copies are in flight up to a bound; unless asked otherwise writes reach the target in the order of the disk.

import PQueue from 'p-queue'
import type { Clock } from '../../common/clock.js'
import { toBlockError } from '../../common/error.js'
import { BDRV_SECTOR_SIZE } from '../../common/limits.js'
import { BDRV_REQ_MAY_UNMAP } from '../../common/request.js'
import { GiB, MiB, type Offset } from '../../common/units.js'
import { copyRange } from '../../io/copy-range.js'
import { errnoText } from '../error-text.js'
import { extentAt, readDisk, virtualSize } from '../image-data.js'
import type { Progress } from '../progress.js'
import { sparseRuns } from '../sectors.js'
import type { OpenImage } from '../session.js'
import { type Tool, ToolError } from '../tool.js'

/** Bytes of one copy. */
const BUFFER_SIZE = 2 * MiB

/** What is copied, and how. */
export interface CopyTask {
  sources: readonly OpenImage[]
  target: OpenImage
  tool: Tool
  /** Time, and waiting for it to pass (a timer of the clock alone would not keep the process alive). */
  clock: Pick<Clock, 'now'>
  sleep(ms: number): Promise<void>
  progress: Progress
  /** Copies in flight at most. */
  inFlight: number
  inOrder: boolean
  /** Zeroes in a row, in bytes, that are not written as data; 0: everything is. */
  sparse: number
  /** Ask the sources what is data. False: read everything. */
  scan: boolean
  /** Ends of holes lie at multiples of it. */
  alignment: number
  /** What is not written reads as zero. */
  targetIsZero: boolean
  /** Try to copy without reading. */
  offload: boolean
  /** Zeroes stand for what cannot be read. */
  salvage: boolean
  /** 0: no limit. */
  bytesPerSecond: number
}

/** A range of one source and where it goes. */
interface Piece {
  source: OpenImage
  offset: Offset
  targetOffset: Offset
  bytes: number
  data: boolean
}

/** Copies all of the sources, one behind the other. Throws the first {@link ToolError}, once no copy is in flight. */
export async function copyDisks(task: CopyTask): Promise<void> {
  const copier = new Copier(task, task.progress.enabled ? await dataBytes(task) : 0)
  const queue = new PQueue({ concurrency: task.inFlight })
  try {
    for await (const piece of pieces(task)) {
      await queue.onSizeLessThan(task.inFlight)
      if (copier.failure !== undefined) break
      const turn = copier.takeTurn()
      // A copy keeps its failure to itself and to the copier, so that the queue goes on to the others' ends.
      void queue.add(() => copier.copy(piece, turn))
    }
  } finally {
    await queue.onIdle()
  }
  if (copier.failure !== undefined) throw copier.failure
}

/** Bytes that will be read: what progress is measured by. */
async function dataBytes(task: CopyTask): Promise<number> {
  let sum = 0
  for await (const piece of pieces(task)) if (piece.data) sum += piece.bytes
  return sum
}

async function* pieces(task: CopyTask): AsyncGenerator<Piece> {
  let targetOffset = 0
  for (const source of task.sources) {
    const size = virtualSize(source)
    for (let offset = 0; offset < size; ) {
      const extent = task.scan
        ? await statusOf(source, offset, size - offset)
        : { bytes: size - offset, data: true, zero: false }
      const data = extent.data && !extent.zero
      const bytes = Math.min(extent.bytes, data ? BUFFER_SIZE : GiB)
      yield { source, offset, targetOffset, bytes, data }
      offset += bytes
      targetOffset += bytes
    }
  }
}

async function statusOf(
  source: OpenImage,
  offset: Offset,
  bytes: number,
): Promise<{ bytes: number; data: boolean; zero: boolean }> {
  try {
    return await extentAt(source, offset, bytes)
  } catch (thrown) {
    throw new ToolError(`error while reading block status at offset ${offset}: ${errnoText(thrown)}`)
  }
}

/** A place in the order of writes. */
interface Turn {
  before: Promise<void>
  done(): void
}

class Copier {
  readonly #task: CopyTask
  readonly #total: number
  readonly #buffers: Uint8Array[] = []
  #last: Promise<void> = Promise.resolve()
  #copied = 0
  #offload: boolean
  #writtenBytes = 0
  readonly #began: number
  failure: ToolError | undefined

  /** `total`: bytes of data, for progress. */
  constructor(task: CopyTask, total: number) {
    this.#task = task
    this.#total = total
    this.#offload = task.offload
    this.#began = task.clock.now()
  }

  takeTurn(): Turn {
    const before = this.#last
    let done = () => {}
    this.#last = new Promise((resolve) => {
      done = resolve
    })
    return { before, done }
  }

  /** Copies a piece; a failure is kept, and makes the copies that follow return at once. */
  async copy(piece: Piece, turn: Turn): Promise<void> {
    try {
      if (this.failure !== undefined) return
      if (piece.data) await this.#copyData(piece, turn)
      else await this.#ordered(turn, () => this.#zero(piece.targetOffset, piece.bytes))
    } catch (thrown) {
      this.failure ??= thrown instanceof ToolError ? thrown : new ToolError(toBlockError(thrown).message)
    } finally {
      turn.done()
    }
  }

  async #copyData(piece: Piece, turn: Turn): Promise<void> {
    if (this.#offload && (await this.#copyOffloaded(piece, turn))) return
    const whole = this.#buffers.pop() ?? new Uint8Array(BUFFER_SIZE)
    try {
      const buffer = whole.subarray(0, piece.bytes)
      await this.#read(piece, buffer)
      await this.#ordered(turn, () => this.#write(piece.targetOffset, buffer))
    } finally {
      this.#buffers.push(whole)
    }
    this.#report(piece.bytes)
  }

  /** Waits for the writes before this one, unless they may pass each other. */
  async #ordered(turn: Turn, act: () => Promise<void>): Promise<void> {
    if (this.#task.inOrder) await turn.before
    if (this.failure === undefined) await act()
  }

  async #copyOffloaded(piece: Piece, turn: Turn): Promise<boolean> {
    const from = piece.source.backend.edge
    const to = this.#task.target.backend.edge
    if (from === undefined || to === undefined) return false
    try {
      await this.#ordered(turn, () => copyRange(from, piece.offset, to, piece.targetOffset, piece.bytes))
    } catch {
      // Whatever is in the way, reading and writing tells more about it.
      this.#offload = false
      return false
    }
    this.#report(piece.bytes)
    return true
  }

  async #read(piece: Piece, buffer: Uint8Array): Promise<void> {
    try {
      await readDisk(piece.source, piece.offset, buffer)
    } catch (thrown) {
      if (!this.#task.salvage) {
        throw new ToolError(`error while reading at byte ${piece.targetOffset}: ${errnoText(thrown)}`)
      }
      await this.#salvage(piece, buffer)
    }
  }

  async #salvage(piece: Piece, buffer: Uint8Array): Promise<void> {
    const { tool } = this.#task
    for (let at = 0; at < buffer.byteLength; at += BDRV_SECTOR_SIZE) {
      const sector = buffer.subarray(at, at + BDRV_SECTOR_SIZE)
      try {
        await readDisk(piece.source, piece.offset + at, sector)
      } catch (thrown) {
        sector.fill(0)
        tool.err(`${tool.name}: warning: error while reading offset ${piece.offset + at}: ${errnoText(thrown)}\n`)
      }
    }
  }

  async #write(offset: Offset, buffer: Uint8Array): Promise<void> {
    const { sparse, alignment, target } = this.#task
    const { byteLength } = buffer
    const runs =
      sparse === 0 ? [{ start: 0, bytes: byteLength, zero: false }] : sparseRuns(buffer, sparse, alignment, offset)
    for (const { start, bytes, zero } of runs) {
      if (zero) {
        await this.#zero(offset + start, bytes)
        continue
      }
      await this.#limitRate(bytes)
      await this.#guarded(offset + start, () =>
        target.backend.write(offset + start, buffer.subarray(start, start + bytes)),
      )
    }
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

  /** Waits until writing `bytes` more keeps the average below the limit. */
  async #limitRate(bytes: number): Promise<void> {
    const { bytesPerSecond, clock, sleep } = this.#task
    if (bytesPerSecond === 0) return
    const due = this.#began + (this.#writtenBytes / bytesPerSecond) * 1000
    this.#writtenBytes += bytes
    const wait = due - clock.now()
    if (wait > 0) await sleep(wait)
  }

  #report(bytes: number): void {
    this.#copied += bytes
    if (this.#total > 0) this.#task.progress.report(Math.min(100, (this.#copied / this.#total) * 100))
  }
}
