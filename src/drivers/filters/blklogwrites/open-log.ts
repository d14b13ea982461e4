// Finding the place where a log goes on: the beginning of a new one, or behind the last entry of one that is there.

import { BlockError } from '../../../common/error.js'
import type { Offset } from '../../../common/units.js'
import type { BlockChild } from '../../../io/block-node.js'
import { read } from '../../../io/read.js'
import { behindEntry, decodeEntry, decodeSuper, ENTRY_BYTES, SUPER_BYTES } from './log-format.js'
import type { LogPosition } from './write-log.js'

/** Entries of a log that is continued: they are all read at open. */
export const MAX_APPENDED_ENTRIES = 2 ** 22

/** A new log, over whatever is there. */
export function newLog(sectorSize: number): LogPosition {
  return { sectorSize, entries: 0, offset: sectorSize }
}

/** The end of the log on `edge`; of an empty file that of a new log. EINVAL for a damaged one, EFBIG for too many entries. */
export async function endOfLog(edge: BlockChild, defaultSectorSize: number): Promise<LogPosition> {
  const { length } = edge.node.state
  if (length === 0) return newLog(defaultSectorSize)
  const { entries, sectorSize } = decodeSuper(await readPart(edge, 0, SUPER_BYTES))
  if (entries > MAX_APPENDED_ENTRIES) {
    throw new BlockError(
      'EFBIG',
      `a log of ${entries} entries is not continued; ${MAX_APPENDED_ENTRIES} are the most`,
      {
        op: 'open',
      },
    )
  }
  let offset = sectorSize
  for (let index = 0; index < entries; index++) {
    const entry = decodeEntry(await readPart(edge, offset, ENTRY_BYTES), sectorSize)
    offset = behindEntry(offset, entry, sectorSize)
    if (offset > length) throw new BlockError('EINVAL', `the log ends inside its entry ${index}`, { op: 'open' })
  }
  return { sectorSize, entries, offset }
}

async function readPart(edge: BlockChild, offset: Offset, bytes: number): Promise<Uint8Array> {
  if (offset + bytes > edge.node.state.length) {
    throw new BlockError('EINVAL', 'the log ends before its last entry', { op: 'open' })
  }
  const part = new Uint8Array(bytes)
  await read(edge, offset, part)
  return part
}
