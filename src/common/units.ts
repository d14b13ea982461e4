// Sizes, alignment and 64-bit numbers as safe integers. An Offset is always a safe integer of bytes.

import { MAX_LENGTH } from './limits.js'

/** A position or length in bytes; a safe integer in 0..MAX_LENGTH. */
export type Offset = number

export const KiB = 1024
export const MiB = 1024 * KiB
export const GiB = 1024 * MiB
export const TiB = 1024 * GiB
export const PiB = 1024 * TiB

/** `value` rounded down to a multiple of `alignment`, any positive integer. */
export function alignDown(value: number, alignment: number): number {
  return value - (value % alignment)
}

/** `value` rounded up to a multiple of `alignment`, any positive integer. */
export function alignUp(value: number, alignment: number): number {
  const rest = value % alignment
  return rest === 0 ? value : value + alignment - rest
}

/** Whether `value` is a multiple of `alignment`, a power of two of at most 2^30 (exact for every safe integer). */
export function isAligned(value: number, alignment: number): boolean {
  return (value & (alignment - 1)) === 0
}

/** Whether `value` is a power of two below 2^53. */
export function isPowerOfTwo(value: number): boolean {
  // The logarithm of a large number rounds: its neighbours would pass if the power were not taken again.
  return Number.isSafeInteger(value) && value > 0 && 2 ** Math.round(Math.log2(value)) === value
}

/** Joins the halves of a u64; undefined where the value exceeds {@link MAX_LENGTH}. */
export function offsetFromHalves(high: number, low: number): Offset | undefined {
  if (high > 0x1fffff) return undefined
  const value = high * 0x1_0000_0000 + low
  return value > MAX_LENGTH ? undefined : value
}

/** The upper 32 bits of an offset. */
export function highHalf(value: Offset): number {
  return Math.floor(value / 0x1_0000_0000)
}

/** The lower 32 bits of an offset. */
export function lowHalf(value: Offset): number {
  return value >>> 0
}
