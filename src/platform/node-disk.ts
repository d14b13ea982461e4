// A Disk with what Node users expect beside it: Node streams, and the calls of a FileHandle.

import { Readable, Writable } from 'node:stream'
import { BlockError } from '../common/error.js'
import type { Offset } from '../common/units.js'
import { Disk, type DiskCall } from '../disk/disk.js'
import { checkedRange, type StreamRange } from '../disk/web-streams.js'

/** A disk opened by `openDisk` of `blockgraph/node`. */
export class NodeDisk extends Disk {
  /** A Node stream of a range. */
  createReadStream(range: StreamRange = {}): Readable {
    const { start, end, chunkSize } = checkedRange(this, range)
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
    const { start, end } = checkedRange(this, range)
    let at = start
    return new Writable({
      write: (chunk: Uint8Array, _encoding, done) => {
        if (chunk.byteLength > end - at) {
          done(new BlockError('ENOSPC', `the stream goes beyond byte ${end}`, { op: 'stream' }))
          return
        }
        const offset = at
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
export class DiskFileHandle {
  readonly #disk: NodeDisk
  #position = 0

  constructor(disk: NodeDisk) {
    this.#disk = disk
  }

  /** Reads up to `length` bytes at `position` (null: where the last call ended) into `buffer` at `offset`. */
  async read<T extends Uint8Array>(
    buffer: T,
    offset = 0,
    length: number = buffer.byteLength - offset,
    position: number | null = null,
    call: DiskCall = {},
  ): Promise<{ bytesRead: number; buffer: T }> {
    const at = position ?? this.#position
    const bytesRead = Math.max(Math.min(length, this.#disk.size - at), 0)
    if (bytesRead > 0) await this.#disk.read(at, viewOf(buffer, offset, bytesRead), call)
    if (position === null) this.#position = at + bytesRead
    return { bytesRead, buffer }
  }

  /** Writes `length` bytes of `buffer` at `position` (null: where the last call ended). The disk does not grow: ENOSPC. */
  async write<T extends Uint8Array>(
    buffer: T,
    offset = 0,
    length: number = buffer.byteLength - offset,
    position: number | null = null,
    call: DiskCall = {},
  ): Promise<{ bytesWritten: number; buffer: T }> {
    const at = position ?? this.#position
    if (at + length > this.#disk.size)
      throw new BlockError('ENOSPC', `a write of ${length} bytes at ${at} goes beyond the end`, { op: 'write' })
    await this.#disk.write(at, viewOf(buffer, offset, length), call)
    if (position === null) this.#position = at + length
    return { bytesWritten: length, buffer }
  }

  /** The size, in the shape `fs.Stats` has it. */
  stat(): Promise<{ size: Offset }> {
    return Promise.resolve({ size: this.#disk.size })
  }

  truncate(length: Offset = 0): Promise<void> {
    return this.#disk.resize(length)
  }

  datasync(): Promise<void> {
    return this.#disk.flush()
  }

  sync(): Promise<void> {
    return this.#disk.flush()
  }

  close(): Promise<void> {
    return this.#disk.close()
  }
}

function viewOf(buffer: Uint8Array, offset: number, length: number): Uint8Array {
  if (offset < 0 || length < 0 || offset + length > buffer.byteLength) {
    throw new BlockError('EINVAL', `${length} bytes at ${offset} do not lie inside the buffer`, { op: 'file-handle' })
  }
  return new Uint8Array(buffer.buffer, buffer.byteOffset + offset, length)
}
