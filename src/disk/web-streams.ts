// Web streams over a range of a disk: what browsers, workers and Node all have.

import { BlockError } from '../common/error.js'
import { BDRV_REQUEST_MAX_BYTES } from '../common/limits.js'
import { KiB, type Offset } from '../common/units.js'
import type { Disk, DiskCall } from './disk.js'
import { checkedRange } from './range.js'

/** Which bytes a stream is about. */
export interface StreamRange extends DiskCall {
  /** First byte; 0 by default. */
  start?: Offset
  /** Last byte, exclusive; the end of the disk by default. */
  end?: Offset
  /** Bytes read at once; 256 KiB by default. */
  chunkSize?: number
}

/** The bounds of a stream: EINVAL where they do not lie inside `disk`. */
export function streamRange(disk: Disk, range: StreamRange): { start: Offset; end: Offset; chunkSize: number } {
  const { start = 0, end = disk.size, chunkSize = 256 * KiB } = range
  if (!Number.isSafeInteger(chunkSize) || chunkSize <= 0 || chunkSize > BDRV_REQUEST_MAX_BYTES) {
    throw new BlockError('EINVAL', `${chunkSize} is no size of a chunk`, { op: 'stream' })
  }
  return { ...checkedRange(disk, start, end, 'stream'), chunkSize }
}

/** A byte stream of a range. One read is under way at a time, as the reader asks; a reader's own buffer is filled directly. */
export function readableStream(disk: Disk, range: StreamRange = {}): ReadableStream<Uint8Array> {
  const { start, end, chunkSize } = streamRange(disk, range)
  let at = start
  return new ReadableStream({
    type: 'bytes',
    async pull(controller) {
      const { byobRequest } = controller
      const view = byobRequest?.view
      const length = Math.min(view?.byteLength ?? chunkSize, end - at, BDRV_REQUEST_MAX_BYTES)
      if (length === 0) {
        controller.close()
        byobRequest?.respond(0)
        return
      }
      const target = view === null || view === undefined ? new Uint8Array(length) : bytesOf(view, length)
      await disk.read(at, target, range)
      at += length
      if (byobRequest === null) controller.enqueue(target)
      else byobRequest.respond(length)
    },
  })
}

function bytesOf(view: ArrayBufferView, length: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, length)
}

/** A sink that writes what it is given one chunk after the other from `start`; closing it flushes. ENOSPC beyond `end`. */
export function writableStream(disk: Disk, range: StreamRange = {}): WritableStream<Uint8Array> {
  const { start, end } = streamRange(disk, range)
  let at = start
  return new WritableStream({
    async write(chunk) {
      checkChunk(chunk, at, end)
      await disk.write(at, chunk, range)
      at += chunk.byteLength
    },
    close: () => disk.flush(range),
  })
}

/** Throws unless a sink at `at` takes `chunk`: EINVAL for what is no bytes, ENOSPC beyond `end`. */
export function checkChunk(chunk: Uint8Array, at: Offset, end: Offset): void {
  if (!(chunk instanceof Uint8Array)) throw new BlockError('EINVAL', 'a disk takes bytes', { op: 'stream' })
  if (chunk.byteLength <= end - at) return
  throw new BlockError('ENOSPC', `${chunk.byteLength} bytes at ${at} go beyond the end of the stream, ${end}`, {
    op: 'stream',
  })
}
