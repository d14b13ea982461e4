// How results are printed: sizes, the time a request took, and the content of a buffer.

import { fixedText } from '../sizes.js'
import type { Tool } from '../tool.js'

const UNITS = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB']

/** A size or rate: "64 KiB", "1.500 GiB", "182.285064 bytes". A fraction that begins with three zeroes is left out. */
export function sizeText(value: number): string {
  let unit = 0
  let scaled = value
  while (scaled >= 1024 && unit < UNITS.length - 1) {
    scaled /= 1024
    unit += 1
  }
  const text = fixedText(scaled, unit === 0 ? 6 : 3)
  const zeroes = text.indexOf('.000')
  return `${zeroes < 0 ? text : text.slice(0, zeroes)} ${UNITS[unit]}`
}

/** What a request did. */
export interface Transfer {
  /** "read", "wrote", "discard". */
  done: string
  offset: number
  bytes: number
  seconds: number
}

/** Prints the line of offsets and the line of rates, or with `-C` one line for machines. */
export function reportTransfer(tool: Tool, { done, offset, bytes, seconds }: Transfer, forMachines: boolean): void {
  // A clock may stand still for so short a time.
  const elapsed = Math.max(seconds, 1e-9)
  const rate = bytes / elapsed
  const operations = 1 / elapsed
  if (forMachines) {
    tool.out(`${bytes},1,${longTime(seconds)},${fixedText(rate, 3)},${fixedText(operations, 3)}\n`)
    return
  }
  const time = seconds < 1 ? `${twoDigits(0)}.${hundredths(seconds)} sec` : longTime(seconds)
  tool.out(
    `${done} ${bytes}/${bytes} bytes at offset ${exact(offset)}\n` +
      `${sizeText(bytes)}, 1 ops; ${time} (${sizeText(rate)}/sec and ${fixedText(operations, 4)} ops/sec)\n`,
  )
}

/** Hours, minutes and seconds. */
function longTime(seconds: number): string {
  const whole = Math.floor(seconds)
  const minutes = Math.floor(whole / 60)
  return `${Math.floor(minutes / 60)}:${twoDigits(minutes % 60)}:${twoDigits(whole % 60)}.${hundredths(seconds)}`
}

function hundredths(seconds: number): string {
  return twoDigits(Math.floor((seconds - Math.floor(seconds)) * 100))
}

function twoDigits(value: number): string {
  return String(value).padStart(2, '0')
}

/** All digits of a whole number. */
export function exact(value: number): string {
  return BigInt(value).toString()
}

/** As `%#x`, with a prefix for 0 too. */
export function hexText(value: number): string {
  return `0x${BigInt(value).toString(16)}`
}

const DUMP_WIDTH = 16

/** Prints `buffer`, which stands at `offset`, in hexadecimal; letters and digits also as they are. */
export function dumpBuffer(tool: Tool, buffer: Uint8Array, offset: number): void {
  for (let at = 0; at < buffer.byteLength; at += DUMP_WIDTH) {
    const row = buffer.subarray(at, at + DUMP_WIDTH)
    let digits = ''
    let letters = ''
    for (const byte of row) {
      digits += `${byte.toString(16).padStart(2, '0')} `
      letters += /[0-9A-Za-z]/.test(String.fromCharCode(byte)) ? String.fromCharCode(byte) : '.'
    }
    tool.out(`${(offset + at).toString(16).padStart(8, '0')}:  ${digits} ${letters}\n`)
  }
}
