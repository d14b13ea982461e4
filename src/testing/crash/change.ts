// One change of a storage, whole or in part. The parts are the 512-byte sectors it touches: a disk writes a sector as a whole or
// not at all, and nothing longer.

import { BDRV_SECTOR_SIZE } from '../../common/limits.js'
import type { Offset } from '../../common/units.js'
import type { RecordEntry } from '../storage/recording.js'
import type { SectorImage } from './sector-image.js'

/** A recorded request that changes content or length. */
export type ChangeEntry = Exclude<RecordEntry, { kind: 'flush' | 'mark' }>

/** Whether an entry changes content or length. */
export function isChange(entry: RecordEntry): entry is ChangeEntry {
  return entry.kind !== 'flush' && entry.kind !== 'mark'
}

/** Where a change begins, and how many bytes it covers; a change of length covers none. */
export function rangeOf(entry: ChangeEntry): { offset: Offset; bytes: number } {
  switch (entry.kind) {
    case 'write':
      return { offset: entry.offset, bytes: entry.data.byteLength }
    case 'truncate':
      return { offset: entry.length, bytes: 0 }
    default:
      return { offset: entry.offset, bytes: entry.bytes }
  }
}

/** How many parts a change has that may reach the disk one without the other. */
export function partCount(entry: ChangeEntry): number {
  const { offset, bytes } = rangeOf(entry)
  if (bytes === 0) return 1
  return Math.floor((offset + bytes - 1) / BDRV_SECTOR_SIZE) - Math.floor(offset / BDRV_SECTOR_SIZE) + 1
}

/** Does all of a change to `image`. */
export function applyChange(image: SectorImage, entry: ChangeEntry): void {
  switch (entry.kind) {
    case 'write':
      image.write(entry.offset, entry.data)
      break
    case 'zero':
      image.zero(entry.offset, entry.bytes)
      break
    case 'discard':
      image.discard(entry.offset, entry.bytes)
      break
    case 'truncate':
      image.resize(entry.length)
      break
  }
}

/** Does one part of a change to `image`; `part` counts from 0. */
export function applyPart(image: SectorImage, entry: ChangeEntry, part: number): void {
  const { offset, bytes } = rangeOf(entry)
  if (bytes === 0) {
    applyChange(image, entry)
    return
  }
  const sector = Math.floor(offset / BDRV_SECTOR_SIZE) + part
  const from = Math.max(offset, sector * BDRV_SECTOR_SIZE)
  const to = Math.min(offset + bytes, (sector + 1) * BDRV_SECTOR_SIZE)
  if (entry.kind === 'write') image.write(from, entry.data.subarray(from - offset, to - offset))
  else if (entry.kind === 'zero') image.zero(from, to - from)
  else image.discard(from, to - from)
}

/** The length a storage of `length` bytes has after a change. */
export function lengthAfter(length: Offset, entry: ChangeEntry): Offset {
  if (entry.kind === 'truncate') return entry.length
  if (entry.kind === 'discard') return length
  const { offset, bytes } = rangeOf(entry)
  return Math.max(length, offset + bytes)
}
