// Sizes and counts as the tools read and print them.

import { parseSize } from '../global-state/options/size-text.js'
import { ToolError } from './tool.js'

/** Bytes of a size argument. The message of the error names it as `what`; `max` is in bytes. */
export function sizeArgument(what: string, text: string, max?: number): number {
  const size = parseSize(text)
  if (Number.isNaN(size)) {
    throw new ToolError(
      `Invalid ${what} specified. You may use k, M, G, T, P or E suffixes for\n` +
        'kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.',
    )
  }
  if (size > (max ?? Number.MAX_VALUE) || size >= 2 ** 63) {
    const limit = max === undefined ? '9223372036854775807' : String(max)
    throw new ToolError(`Invalid ${what} specified. Must be between 0 and ${limit}.`)
  }
  return size
}

/** A whole number from `min` to `max`; undefined for anything else. */
export function countArgument(text: string, min: number, max: number): number | undefined {
  if (!/^\s*[+]?(\d+|0x[0-9a-f]+)$/i.test(text)) return undefined
  const count = Number(text)
  return count < min || count > max ? undefined : count
}

const UNITS = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei']

/** A size for people: three significant digits, the next unit from 1000 on ("0.996 MiB"). */
export function formatSize(bytes: number): string {
  let unit = 0
  let value = bytes
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1024
    unit += 1
  }
  return `${threeDigits(value)} ${UNITS[unit]}B`
}

/** As `%.<digits>f` prints a number: what lies in the middle between two texts goes to the even one. */
export function fixedText(value: number, digits: number): string {
  const text = value.toFixed(digits)
  // Binary fractions that lie in the middle are odd multiples of this, and `toFixed` takes the greater text.
  const halves = value * 2 ** (digits + 1)
  const isOdd = '13579'.includes(text.at(-1) ?? '')
  return halves % 2 === 1 && isOdd ? (value - 10 ** -(digits + 1)).toFixed(digits) : text
}

/** As `%.3g` prints: no trailing zeros, an exponent where the rounded number has more than three digits. */
function threeDigits(value: number): string {
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3
  const rounded = Number(fixedText(value, digits))
  if (rounded < 1000) return String(rounded)
  const [mantissa = '', exponent = ''] = rounded.toExponential().split('e+')
  return `${mantissa}e+${exponent.padStart(2, '0')}`
}
