// A Disk with what Node users expect beside it: Node streams, and the calls of a FileHandle.

import { Readable, Writable } from 'node:stream'
import { BlockError } from '../common/error.js'
import type { Offset } from '../common/units.js'
import { Disk, type DiskCall } from '../disk/disk.js'
import { checkChunk, type StreamRange, streamRange } from '../disk/web-streams.js'

/** A disk opened by `openDisk` of `blockgraph/node`. */
export class NodeDisk extends Disk {
  /** A Node stream of a range. */
  createReadStream(range: StreamRange = {}): Readable {
    const { start, end, chunkSize } = streamRange(this, range)
    let at = start
    const disk = this
    return new Readable({
      highWaterMark: chunkSize,
      read() {
        const length = Math.min(chunkSize, end - at)
        if (length === 0) {
          this.push(null)
          return
        }
        const target = Buffer.allocUnsafe(length)
        disk.read(at, target, range).then(
          () => {
            at += length
            this.push(target)
          },
          (error: Error) => this.destroy(error),
        )
      },
    })
  }

  /** A Node sink that writes from `start` on and flushes at the end. ENOSPC beyond the range. */
  createWriteStream(range: StreamRange = {}): Writable {
    const { start, end } = streamRange(this, range)
    let at = start
    return new Writable({
      write: (chunk: Uint8Array, _encoding, done) => {
        const offset = at
        try {
          checkChunk(chunk, offset, end)
        } catch (error) {
          done(error as Error)
          return
        }
        at += chunk.byteLength
        this.write(offset, chunk, range).then(() => done(), done)
      },
      final: (done) => {
        this.flush(range).then(() => done(), done)
      },
    })
  }

  /** The disk behind the calls of a FileHandle, for code that expects one. It keeps a position of its own. */
  fileHandle(): DiskFileHandle {
    return new DiskFileHandle(this)
  }
}

/** The part of Node's FileHandle that makes sense for a disk. Reads stop at the end as those of a file do. */
export class DiskFileHandle implements AsyncDisposable {
  readonly #disk: NodeDisk
  #position = 0

  constructor(disk: NodeDisk) {
    this.#disk = disk
  }

  /**
   * Reads up to `length` bytes at `position` into `buffer` at `offset`. Position null: where the last such call, finished or
   * not, has left off.
   */
  async read<T extends Uint8Array>(
    buffer: T,
    offset = 0,
    length: number = buffer.byteLength - offset,
    position: number | null = null,
    call: DiskCall = {},
  ): Promise<{ bytesRead: number; buffer: T }> {
    const into = viewOf(buffer, offset, length)
    const at = checkedPosition(position ?? this.#position)
    const bytesRead = Math.max(Math.min(length, this.#disk.size - at), 0)
    if (position === null) this.#position = at + bytesRead
    if (bytesRead > 0) await this.#disk.read(at, into.subarray(0, bytesRead), call)
    return { bytesRead, buffer }
  }

  /** Writes `length` bytes of `buffer` at `position`, as {@link read} does. The disk does not grow: ENOSPC. */
  async write<T extends Uint8Array>(
    buffer: T,
    offset = 0,
    length: number = buffer.byteLength - offset,
    position: number | null = null,
    call: DiskCall = {},
  ): Promise<{ bytesWritten: number; buffer: T }> {
    const data = viewOf(buffer, offset, length)
    const at = checkedPosition(position ?? this.#position)
    if (at + length > this.#disk.size) {
      throw new BlockError('ENOSPC', `a write of ${length} bytes at ${at} goes beyond the end`, { op: 'write' })
    }
    if (position === null) this.#position = at + length
    await this.#disk.write(at, data, call)
    return { bytesWritten: length, buffer }
  }

  /** The size, in the shape `fs.Stats` has it. */
  stat(): Promise<{ size: Offset }> {
    return Promise.resolve({ size: this.#disk.size })
  }

  truncate(length: Offset = 0, call: DiskCall = {}): Promise<void> {
    return this.#disk.resize(length, call)
  }

  datasync(call: DiskCall = {}): Promise<void> {
    return this.#disk.flush(call)
  }

  sync(call: DiskCall = {}): Promise<void> {
    return this.#disk.flush(call)
  }

  /** Closes the disk. */
  close(): Promise<void> {
    return this.#disk.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

function checkedPosition(position: number): Offset {
  if (Number.isSafeInteger(position) && position >= 0) return position
  throw new BlockError('EINVAL', `${position} is no position in a disk`, { op: 'file-handle' })
}

function viewOf(buffer: Uint8Array, offset: number, length: number): Uint8Array {
  const sound = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0
  if (!sound || offset + length > buffer.byteLength) {
    throw new BlockError('EINVAL', `${length} bytes at ${offset} do not lie inside the buffer`, { op: 'file-handle' })
  }
  return new Uint8Array(buffer.buffer, buffer.byteOffset + offset, length)
}
