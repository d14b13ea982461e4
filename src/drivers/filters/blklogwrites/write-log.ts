// The log as it grows. An entry takes its place when what it tells of is done, so that the order of the log is one in which the
// changes may have reached the disk; a flush keeps others from taking places while it runs, so that what stands before its entry
// is what it made durable. The super block never counts an entry that is not durable itself.

import { Mutex } from 'async-mutex'
import { BlockError } from '../../../common/error.js'
import { type Bytes, IoVector } from '../../../common/io-vector.js'
import { MAX_LENGTH } from '../../../common/limits.js'
import { BDRV_REQ_MAY_UNMAP } from '../../../common/request.js'
import type { Offset } from '../../../common/units.js'
import type { BlockChild } from '../../../io/block-node.js'
import { flush } from '../../../io/flush.js'
import type { Completion } from '../../../io/node-io.js'
import { write } from '../../../io/write.js'
import { writeZeroes } from '../../../io/write-zeroes.js'
import { behindEntry, encodeEntry, encodeSuper, LOG_DISCARD_FLAG, LOG_FLUSH_FLAG, type LogEntry } from './log-format.js'

/** Where a log is continued. */
export interface LogPosition {
  sectorSize: number
  /** Entries so far. */
  entries: number
  /** Where the next one goes. */
  offset: Offset
}

/** An open log. */
export class WriteLog {
  readonly sectorSize: number
  readonly #edge: BlockChild
  readonly #superInterval: number
  readonly #superMutex = new Mutex()
  readonly #appending = new Set<Promise<void>>()
  #entries: number
  #offset: Offset
  #flushing: Promise<void> | undefined
  #failed = false

  /** `superInterval`: entries after which the super block is written anew. */
  constructor(edge: BlockChild, position: LogPosition, superInterval: number) {
    this.#edge = edge
    this.sectorSize = position.sectorSize
    this.#entries = position.entries
    this.#offset = position.offset
    this.#superInterval = superInterval
  }

  /** EIO once an entry is missing: what came after it would be read wrongly. */
  checkWhole(): void {
    if (this.#failed) throw new BlockError('EIO', 'the log could not be written: it has a hole')
  }

  /** Does `act`, then logs it, whether it failed or not: a change that failed may have been done in part. */
  async change(act: () => Completion, entry: Omit<LogEntry, 'dataLength'>, data?: Bytes): Promise<void> {
    this.checkWhole()
    const failure = await failureOf(act)
    while (this.#flushing !== undefined) await this.#flushing
    await this.#append({ ...entry, dataLength: 0 }, data)
    if (failure !== undefined) throw failure.error
  }

  /** Makes durable what is logged: `act` flushes the disk, then the flush is logged, then the super block. */
  async flush(act: () => Completion): Promise<void> {
    this.checkWhole()
    while (this.#flushing !== undefined) await this.#flushing
    let done: () => void = () => {}
    this.#flushing = new Promise((resolve) => {
      done = resolve
    })
    let logged: Promise<void>
    try {
      await act()
      logged = this.#append({ offset: 0, bytes: 0, flags: LOG_FLUSH_FLAG, dataLength: 0 }, undefined, false)
    } finally {
      this.#flushing = undefined
      done()
    }
    await logged
    await this.#writeSuper()
  }

  async #append(entry: LogEntry, data: Bytes | undefined, mayWriteSuper = true): Promise<void> {
    this.checkWhole()
    const at = this.#offset
    const end = behindEntry(at, entry, this.sectorSize)
    if (end > MAX_LENGTH) throw new BlockError('EFBIG', 'the log is full')
    this.#offset = end
    const count = ++this.#entries
    const appended = this.#write(at, entry, data)
    this.#appending.add(appended)
    try {
      await appended
    } catch (error) {
      this.#failed = true
      throw error
    } finally {
      this.#appending.delete(appended)
    }
    if (mayWriteSuper && count % this.#superInterval === 0) await this.#writeSuper()
  }

  async #write(at: Offset, entry: LogEntry, data: Bytes | undefined): Promise<void> {
    const sector = encodeEntry(entry, this.sectorSize)
    if (data !== undefined) return await write(this.#edge, at, new IoVector([sector, ...buffersOf(data)]))
    await write(this.#edge, at, sector)
    const zeroes = (entry.flags & LOG_DISCARD_FLAG) === 0 ? entry.bytes : 0
    if (zeroes > 0) await writeZeroes(this.#edge, at + this.sectorSize, zeroes, BDRV_REQ_MAY_UNMAP)
  }

  async #writeSuper(): Promise<void> {
    await this.#superMutex.runExclusive(async () => {
      const entries = this.#entries
      await Promise.allSettled(this.#appending)
      this.checkWhole()
      await flush(this.#edge)
      await write(this.#edge, 0, encodeSuper({ entries, sectorSize: this.sectorSize }))
    })
  }
}

function buffersOf(data: Bytes): readonly Uint8Array[] {
  return data instanceof Uint8Array ? [data] : data.buffers
}

async function failureOf(act: () => Completion): Promise<{ error: unknown } | undefined> {
  try {
    await act()
    return undefined
  } catch (error) {
    return { error }
  }
}
