// Reading a write log back, as blklogwrites, QEMU's filter of that name and Linux's dm-log-writes make it: as data, as a disk at any
// of its moments, or as a recording whose crash states can be looked at.

import { BlockError } from '../../common/error.js'
import { BDRV_REQ_FUA } from '../../common/request.js'
import type { Offset } from '../../common/units.js'
import {
  decodeEntry,
  decodeSuper,
  LOG_DISCARD_FLAG,
  LOG_FLUSH_FLAG,
  LOG_FUA_FLAG,
  LOG_MARK_FLAG,
} from '../../drivers/filters/blklogwrites.js'
import type { ChunkStore } from '../storage/memory-storage.js'
import { applyEntry, Recording } from '../storage/recording.js'

/** One entry of a log, offsets and lengths in bytes. */
export type LoggedChange =
  | { kind: 'write'; offset: Offset; data: Uint8Array; fua: boolean }
  | { kind: 'discard'; offset: Offset; bytes: number }
  | { kind: 'flush' }
  | { kind: 'mark'; text: string }

/** Everything in a log, in its order. EINVAL where it is damaged or ends too early. */
export function readWriteLog(log: ChunkStore): LoggedChange[] {
  const { entries, sectorSize } = decodeSuper(partOf(log, 0, 512))
  const changes: LoggedChange[] = []
  let at = sectorSize
  for (let index = 0; index < entries; index++) {
    if (at >= log.length) throw tooShort(index)
    const sector = partOf(log, at, sectorSize)
    const { offset, bytes, flags, dataLength } = decodeEntry(sector, sectorSize)
    at += sectorSize
    if ((flags & LOG_FLUSH_FLAG) !== 0) changes.push({ kind: 'flush' })
    if ((flags & LOG_MARK_FLAG) !== 0) {
      changes.push({ kind: 'mark', text: String.fromCharCode(...sector.subarray(32, 32 + dataLength)) })
    } else if ((flags & LOG_DISCARD_FLAG) !== 0) changes.push({ kind: 'discard', offset, bytes })
    else if (bytes > 0) {
      if (bytes > log.length - at) throw tooShort(index)
      changes.push({ kind: 'write', offset, data: partOf(log, at, bytes), fua: (flags & LOG_FUA_FLAG) !== 0 })
      at += bytes
    }
  }
  return changes
}

/** The changes as a recording of a storage called `node`, for `crashPoints`. */
export function recordingOfLog(changes: readonly LoggedChange[], node: string): Recording {
  const recording = new Recording()
  for (const change of changes) {
    if (change.kind === 'mark') {
      recording.mark(change.text)
      continue
    }
    const entry = recording.begin(
      node,
      change.kind === 'write'
        ? { kind: 'write', offset: change.offset, data: change.data, flags: change.fua ? BDRV_REQ_FUA : 0 }
        : change,
    )
    recording.end(entry, false)
  }
  return recording
}

/** Does to `disk` what the first `count` changes did (default: all of them). */
export function replayWriteLog(
  changes: readonly LoggedChange[],
  disk: ChunkStore,
  count: number = changes.length,
): void {
  for (const entry of recordingOfLog(changes.slice(0, count), 'disk').entries) applyEntry(disk, entry)
}

function tooShort(index: number): BlockError {
  return new BlockError('EINVAL', `the log ends before the end of its entry ${index}`)
}

function partOf(log: ChunkStore, at: Offset, bytes: number): Uint8Array {
  const part = new Uint8Array(bytes)
  log.read(at, part)
  return part
}
