// Web streams over a range of a disk: what browsers, workers and Node all have.

import { BlockError } from '../common/error.js'
import { KiB, type Offset } from '../common/units.js'
import type { Disk, DiskCall } from './disk.js'

/** Which bytes a stream is about. */
export interface StreamRange extends DiskCall {
  /** First byte; 0 by default. */
  start?: Offset
  /** Last byte, exclusive; the end of the disk by default. */
  end?: Offset
  /** Bytes read at once; 256 KiB by default. */
  chunkSize?: number
}

/** A range of `disk` with its bounds checked: EINVAL where it does not lie inside. */
export function checkedRange(disk: Disk, range: StreamRange): { start: Offset; end: Offset; chunkSize: number } {
  const { start = 0, end = disk.size, chunkSize = 256 * KiB } = range
  const sound =
    Number.isSafeInteger(start) && Number.isSafeInteger(end) && start >= 0 && start <= end && end <= disk.size
  if (!sound)
    throw new BlockError('EINVAL', `the range ${start}..${end} does not lie inside the disk`, { op: 'stream' })
  if (!Number.isSafeInteger(chunkSize) || chunkSize <= 0) {
    throw new BlockError('EINVAL', `${chunkSize} is no size of a chunk`, { op: 'stream' })
  }
  return { start, end, chunkSize }
}

/** A byte stream of a range. One read is under way at a time, as the reader asks; a reader's own buffer is filled directly. */
export function readableStream(disk: Disk, range: StreamRange = {}): ReadableStream<Uint8Array> {
  const { start, end, chunkSize } = checkedRange(disk, range)
  let at = start
  return new ReadableStream({
    type: 'bytes',
    async pull(controller) {
      const { byobRequest } = controller
      const view = byobRequest?.view
      const length = Math.min(view?.byteLength ?? chunkSize, end - at)
      if (length === 0) {
        controller.close()
        byobRequest?.respond(0)
        return
      }
      const target = view === null || view === undefined ? new Uint8Array(length) : view.subarray(0, length)
      await disk.read(at, target, range)
      at += length
      if (byobRequest === null) controller.enqueue(target)
      else byobRequest.respond(length)
    },
  })
}

/** A sink that writes what it is given one chunk after the other from `start`; closing it flushes. ENOSPC beyond `end`. */
export function writableStream(disk: Disk, range: StreamRange = {}): WritableStream<Uint8Array> {
  const { start, end } = checkedRange(disk, range)
  let at = start
  return new WritableStream({
    async write(chunk) {
      if (chunk.byteLength > end - at)
        throw new BlockError('ENOSPC', `the stream goes beyond byte ${end}`, { op: 'stream' })
      await disk.write(at, chunk, range)
      at += chunk.byteLength
    },
    close: () => disk.flush(range),
  })
}
