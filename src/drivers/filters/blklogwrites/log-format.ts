// The format of a write log, that of Linux's dm-log-writes (admin-guide/device-mapper/log-writes.rst): a super block in the first
// log sector, then entries of one log sector each, that of a write followed by its data. Numbers are little-endian; offsets
// and lengths count log sectors.

import { BlockError } from '../../../common/error.js'
import { MAX_LENGTH } from '../../../common/limits.js'
import { highHalf, isPowerOfTwo, lowHalf, type Offset, offsetFromHalves } from '../../../common/units.js'

export const LOG_FLUSH_FLAG = 1
export const LOG_FUA_FLAG = 2
export const LOG_DISCARD_FLAG = 4
export const LOG_MARK_FLAG = 8
export const LOG_METADATA_FLAG = 16

/** Bytes of a super block and of an entry that mean something; the rest of their sectors is zero. */
export const SUPER_BYTES = 28
export const ENTRY_BYTES = 32

const MAGIC_LOW = 0x77736872
const MAGIC_HIGH = 0x006a7366
const VERSION = 1
const MIN_SECTOR = 32
const MAX_SECTOR = 8_388_608

/** What a super block says. */
export interface LogSuper {
  entries: number
  /** Of the log, in bytes. */
  sectorSize: number
}

/** One entry; `offset` and `bytes` in bytes. */
export interface LogEntry {
  offset: Offset
  bytes: number
  /** `LOG_*_FLAG`. */
  flags: number
  /** Of a mark: bytes of its text, which stands in the sector of the entry. */
  dataLength: number
}

/** Whether `bytes` can be the size of a log sector: a power of two from 32 to 8 MiB. */
export function isLogSectorSize(bytes: number): boolean {
  return bytes >= MIN_SECTOR && bytes <= MAX_SECTOR && isPowerOfTwo(bytes)
}

/** Where the entry behind one at `at` stands. A write has data behind it, a discard has none. */
export function behindEntry(at: Offset, entry: LogEntry, sectorSize: number): Offset {
  return at + sectorSize + ((entry.flags & LOG_DISCARD_FLAG) === 0 ? entry.bytes : 0)
}

/** The first log sector. */
export function encodeSuper({ entries, sectorSize }: LogSuper): Uint8Array {
  const raw = new Uint8Array(sectorSize)
  const view = new DataView(raw.buffer)
  view.setUint32(0, MAGIC_LOW, true)
  view.setUint32(4, MAGIC_HIGH, true)
  setU64(view, 8, VERSION)
  setU64(view, 16, entries)
  view.setUint32(24, sectorSize, true)
  return raw
}

/** EINVAL for what is no log of version 1, or has a sector size or number of entries that cannot be. */
export function decodeSuper(raw: Uint8Array): LogSuper {
  const view = new DataView(raw.buffer, raw.byteOffset, SUPER_BYTES)
  if (view.getUint32(0, true) !== MAGIC_LOW || view.getUint32(4, true) !== MAGIC_HIGH) {
    throw damaged('invalid magic of the log super block')
  }
  const version = getU64(view, 8)
  if (version !== VERSION) throw damaged(`unsupported log version ${version ?? 'beyond 2^53'}`)
  const entries = getU64(view, 16)
  const sectorSize = view.getUint32(24, true)
  if (!isLogSectorSize(sectorSize)) throw damaged(`invalid log sector size ${sectorSize}`)
  if (entries === undefined) throw damaged('invalid number of log entries')
  return { entries, sectorSize }
}

/** The sector of an entry. `offset` and `bytes` are multiples of `sectorSize`. */
export function encodeEntry(entry: LogEntry, sectorSize: number): Uint8Array {
  const raw = new Uint8Array(sectorSize)
  const view = new DataView(raw.buffer)
  setU64(view, 0, entry.offset / sectorSize)
  setU64(view, 8, entry.bytes / sectorSize)
  setU64(view, 16, entry.flags)
  setU64(view, 24, entry.dataLength)
  return raw
}

/** EINVAL for a range that ends beyond the largest length, and for flags or a text that cannot be. */
export function decodeEntry(raw: Uint8Array, sectorSize: number): LogEntry {
  const view = new DataView(raw.buffer, raw.byteOffset, ENTRY_BYTES)
  const [sector, sectors, flags, dataLength] = [0, 8, 16, 24].map((at) => getU64(view, at))
  const most = Math.floor(MAX_LENGTH / sectorSize)
  if (sector === undefined || sectors === undefined || sector > most || sectors > most - sector) {
    throw damaged('a log entry covers a range that cannot be')
  }
  if (flags === undefined || flags > 0xffff_ffff) throw damaged('a log entry has unknown flags')
  if (dataLength === undefined || dataLength > sectorSize - ENTRY_BYTES)
    throw damaged('a log entry has a text too long')
  return { offset: sector * sectorSize, bytes: sectors * sectorSize, flags, dataLength }
}

function damaged(message: string): BlockError {
  return new BlockError('EINVAL', message, { op: 'open' })
}

function setU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, lowHalf(value), true)
  view.setUint32(at + 4, highHalf(value), true)
}

/** Undefined where it is too large for a number. */
function getU64(view: DataView, at: number): number | undefined {
  return offsetFromHalves(view.getUint32(at + 4, true), view.getUint32(at, true))
}
