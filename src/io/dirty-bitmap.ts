// Setting and reading the bits of a dirty bitmap. Creating, freezing, merging and releasing one is global state's.

import { BlockError } from '../common/error.js'
import type { ByteRange, HBitmap } from '../common/hbitmap.js'
import type { Offset } from '../common/units.js'

/** A record of which parts of a node changed since the bitmap was enabled. */
export interface DirtyBitmap {
  /** Unset for an anonymous one, such as a successor. */
  name: string | undefined
  bits: HBitmap
  /** Records writes. */
  enabled: boolean
  /** Used by a job or export: not to be changed by others. */
  busy: boolean
  /** Forbids writes and discards to the node. */
  readonly: boolean
  persistent: boolean
  /** Left in use by a crash: never trusted, only removable. */
  inconsistent: boolean
  skipStore: boolean
  /** Records in its place while the bitmap is in use by a backup. */
  successor: DirtyBitmap | undefined
}

/** A bitmap without a name; its holder puts it where it belongs. */
export function newBitmap(bits: HBitmap, enabled: boolean): DirtyBitmap {
  return {
    name: undefined,
    bits,
    enabled,
    busy: false,
    readonly: false,
    persistent: false,
    inconsistent: false,
    skipStore: false,
    successor: undefined,
  }
}

/** Records a write to the node. While a bitmap has a successor, that one records. The range lies inside the node. */
export function markDirty(bitmap: DirtyBitmap, offset: Offset, bytes: number): void {
  const recorder = bitmap.successor ?? bitmap
  if (recorder.enabled) recorder.bits.set(offset, bytes)
}

/** Makes a range dirty, whether the bitmap records or not. EPERM where it is read-only. */
export function setDirtyRange(bitmap: DirtyBitmap, offset: Offset, bytes: number): void {
  refuseReadonly(bitmap)
  bitmap.bits.set(offset, bytes)
}

/** Makes clean what the range covers whole, as a job does with what it has copied. EPERM where the bitmap is read-only. */
export function resetDirtyRange(bitmap: DirtyBitmap, offset: Offset, bytes: number): void {
  refuseReadonly(bitmap)
  bitmap.bits.reset(offset, bytes)
}

/** Whether the byte at `offset` may have changed. */
export function isDirty(bitmap: DirtyBitmap, offset: Offset): boolean {
  return bitmap.bits.get(offset)
}

/** Dirty bytes. Those that a successor has recorded do not count. */
export function dirtyBytes(bitmap: DirtyBitmap): number {
  return bitmap.bits.count
}

/** Dirty areas from `start` to `end`, in order. */
export function dirtyAreas(bitmap: DirtyBitmap, start?: Offset, end?: Offset): IterableIterator<ByteRange> {
  return bitmap.bits.runs(start, end)
}

/** Fits a bitmap to the new length of its node. */
export function truncateBitmap(bitmap: DirtyBitmap, length: Offset): void {
  for (let at: DirtyBitmap | undefined = bitmap; at !== undefined; at = at.successor) at.bits.truncate(length)
}

/** Fits every bitmap of a node to its new length. */
export function truncateBitmaps(bitmaps: readonly DirtyBitmap[], length: Offset): void {
  for (const bitmap of bitmaps) truncateBitmap(bitmap, length)
}

/** What a person is told of a bitmap. Sizes in bytes. */
export interface DirtyBitmapInfo {
  name: string | undefined
  granularity: number
  count: number
  recording: boolean
  busy: boolean
  readonly: boolean
  persistent: boolean
  inconsistent: boolean
}

/** The state of a bitmap as data. */
export function dirtyBitmapInfo(bitmap: DirtyBitmap): DirtyBitmapInfo {
  const { name, bits, busy, readonly, persistent, inconsistent, successor } = bitmap
  const recording = (successor ?? bitmap).enabled
  return { name, granularity: bits.granularity, count: bits.count, recording, busy, readonly, persistent, inconsistent }
}

function refuseReadonly(bitmap: DirtyBitmap): void {
  if (bitmap.readonly) throw new BlockError('EPERM', `bitmap '${bitmap.name ?? ''}' is read-only`, { op: 'bitmap' })
}
