// Looking for zeroes and differences in buffers, a sector or a word at a time.

import { isZeroBytes } from '../common/io-vector.js'
import { BDRV_SECTOR_SIZE } from '../common/limits.js'

/** Position of the first byte that differs; the buffers are equally long. */
export function firstDifference(a: Uint8Array, b: Uint8Array): number | undefined {
  const words = Math.min(a.byteLength, b.byteLength) >>> 2
  let at = 0
  if ((a.byteOffset & 3) === 0 && (b.byteOffset & 3) === 0) {
    const left = new Int32Array(a.buffer, a.byteOffset, words)
    const right = new Int32Array(b.buffer, b.byteOffset, words)
    let word = 0
    while (word < words && left[word] === right[word]) word++
    at = word * 4
  }
  for (; at < a.byteLength; at++) if (a[at] !== b[at]) return at
  return undefined
}

/** Position in the first sector that is not all zero: of its first byte that is not. */
export function firstNonZero(bytes: Uint8Array): number | undefined {
  for (let at = 0; at < bytes.byteLength; at += BDRV_SECTOR_SIZE) {
    const sector = bytes.subarray(at, at + BDRV_SECTOR_SIZE)
    if (!isZeroBytes(sector)) return at + sector.findIndex((byte) => byte !== 0)
  }
  return undefined
}

/** A piece of a buffer that is written, or is a hole. */
export interface SparseRun {
  start: number
  bytes: number
  zero: boolean
}

/**
 * Cuts a buffer into runs. Zeroes are a run of their own where at least `sparse` bytes of them remain once the run's ends
 * are moved inwards to multiples of `alignment` (of the place it goes to, `offset`); the end of the buffer counts as aligned.
 */
export function sparseRuns(buffer: Uint8Array, sparse: number, alignment: number, offset: number): SparseRun[] {
  const runs: SparseRun[] = []
  const { byteLength } = buffer
  let dataFrom = 0
  for (const zeroes of zeroSectors(buffer)) {
    const head = (alignment - ((offset + zeroes.start) % alignment)) % alignment
    const start = zeroes.start + head
    const end = zeroes.end === byteLength ? byteLength : zeroes.end - ((offset + zeroes.end) % alignment)
    const whole = start === 0 && end === byteLength
    if (end - start < sparse && !whole) continue
    if (end <= start) continue
    if (start > dataFrom) runs.push({ start: dataFrom, bytes: start - dataFrom, zero: false })
    runs.push({ start, bytes: end - start, zero: true })
    dataFrom = end
  }
  if (dataFrom < byteLength) runs.push({ start: dataFrom, bytes: byteLength - dataFrom, zero: false })
  return runs
}

/** Cuts a buffer into runs of blocks of `size` bytes that are all zero, and of others. The last block may be shorter. */
export function zeroBlocks(buffer: Uint8Array, size: number): SparseRun[] {
  const runs: SparseRun[] = []
  let last: SparseRun | undefined
  for (let start = 0; start < buffer.byteLength; start += size) {
    const block = buffer.subarray(start, start + size)
    const zero = isZeroBytes(block)
    if (last?.zero === zero) last.bytes += block.byteLength
    else {
      last = { start, bytes: block.byteLength, zero }
      runs.push(last)
    }
  }
  return runs
}

/** Ranges of whole sectors that are zero, neighbours joined. */
function zeroSectors(buffer: Uint8Array): { start: number; end: number }[] {
  const found: { start: number; end: number }[] = []
  const { byteLength, byteOffset } = buffer
  const words = (byteOffset & 3) === 0 ? new Int32Array(buffer.buffer, byteOffset, byteLength >>> 2) : undefined
  let start = -1
  for (let at = 0; at < byteLength; at += BDRV_SECTOR_SIZE) {
    const end = at + BDRV_SECTOR_SIZE
    const zero = words === undefined || end > byteLength ? isZeroBytes(buffer.subarray(at, end)) : isZeroAt(words, at)
    if (zero && start < 0) start = at
    if (!zero && start >= 0) {
      found.push({ start, end: at })
      start = -1
    }
  }
  if (start >= 0) found.push({ start, end: byteLength })
  return found
}

/** Whether the sector at byte `at` is zero. */
function isZeroAt(words: Int32Array, at: number): boolean {
  const end = (at + BDRV_SECTOR_SIZE) >>> 2
  for (let word = at >>> 2; word < end; word++) if (words[word] !== 0) return false
  return true
}
