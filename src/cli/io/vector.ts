// Lengths of the buffers of one request.

import { BDRV_SECTOR_SIZE } from '../../common/limits.js'
import { CommandFailure } from './command.js'
import { byteCount, MAX_REQUEST } from './numbers.js'
import type { Shell } from './shell.js'

/** Reads lengths in bytes; together they are one request, which has a largest length. */
export function vectorLengths(shell: Shell, texts: readonly string[]): { parts: number[]; total: number } {
  const parts: number[] = []
  let total = 0
  for (const text of texts) {
    const length = byteCount(shell, text)
    if (length > MAX_REQUEST) throw new CommandFailure(`Argument '${text}' exceeds maximum size ${MAX_REQUEST}`)
    total += length
    if (total > MAX_REQUEST) {
      throw new CommandFailure(`The total number of bytes exceed the maximum size ${MAX_REQUEST}`)
    }
    parts.push(length)
  }
  return { parts, total }
}

/** Refuses what does not lie on sectors. */
export function checkSectors(offset: number, bytes: number): void {
  for (const [name, value] of [
    ['offset', offset],
    ['count', bytes],
  ] as const) {
    if (value % BDRV_SECTOR_SIZE !== 0) {
      throw new CommandFailure(`${BigInt(value)} is not a sector-aligned value for '${name}'`)
    }
  }
}
