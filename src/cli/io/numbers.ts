// Numbers in the arguments of commands: offsets and lengths with suffixes, pattern bytes, signals and times. What cannot
// be read is told on standard output, as the result of the command.

import { parseSize } from '../../global-state/options/size-text.js'
import { CommandFailure } from './command.js'
import type { Shell } from './shell.js'

const INT64_MAX = 2n ** 63n - 1n

/** The largest request with a buffer, in bytes. */
export const MAX_REQUEST = 2147483136

/** Bytes of an offset or length, exact up to 2^53. Throws as {@link exactByteCount}. */
export function byteCount(shell: Shell, text: string): number {
  return Number(exactByteCount(shell, text))
}

/**
 * Bytes of an offset or length. Throws a {@link CommandFailure} that shows `shown` for what is no number
 * and for what does not fit 63 bits. A hexadecimal number with a suffix is read, with a warning.
 */
export function exactByteCount(shell: Shell, text: string, shown: string = text): bigint {
  const size = plainNumber(text) ?? hexWithSuffix(shell, text) ?? suffixed(text)
  if (size === undefined) {
    throw new CommandFailure(`Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- ${shown}`)
  }
  if (size > INT64_MAX) throw new CommandFailure(`Parsing error: argument too large -- ${shown}`)
  return size
}

function plainNumber(text: string): bigint | undefined {
  const digits = /^\+?(\d+|0x[0-9a-f]+)$/i.exec(text)?.[1]
  return digits === undefined ? undefined : BigInt(digits)
}

function hexWithSuffix(shell: Shell, text: string): bigint | undefined {
  const [, digits, unit] = /^\+?(0x[0-9a-f]+)([kmgtp])$/i.exec(text) ?? []
  if (digits === undefined || unit === undefined) return undefined
  shell.warn(`Using a multiplier suffix on hex numbers is deprecated: ${text}`)
  return BigInt(digits) * BigInt(parseSize(`1${unit}`))
}

function suffixed(text: string): bigint | undefined {
  const size = parseSize(text.replace(/^\+(?=\d)/, ''))
  return Number.isNaN(size) ? undefined : BigInt(size)
}

/** As C reads a `long` whose base is told by its beginning; undefined for anything else, and beyond 63 bits. */
export function signedNumber(text: string): bigint | undefined {
  const [, sign, digits] = /^([+-]?)(0x[0-9a-f]+|0[0-7]*|[1-9]\d*)$/i.exec(text) ?? []
  if (digits === undefined) return undefined
  const value = BigInt(/^0[0-7]+$/.test(digits) ? `0o${digits.slice(1)}` : digits)
  return sign === '-' ? -value : value
}

/** A byte to fill or compare with. */
export function patternByte(text: string): number {
  const value = signedNumber(text)
  if (value === undefined || value < 0n || value > 255n) throw new CommandFailure(`${text} is not a valid pattern byte`)
  return Number(value)
}
