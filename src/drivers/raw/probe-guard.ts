// The guard of a guessed raw image: its guest could write the header of another format into the first
// sector, and the next guess would then open host files that this header names. Such a write is refused.

import { BlockError } from '../../common/error.js'
import { type Bytes, concatBytes, flattenBytes, sliceBytes } from '../../common/io-vector.js'
import { BLOCK_PROBE_BUF_SIZE } from '../../common/limits.js'
import type { RequestFlags } from '../../common/request.js'
import type { Offset } from '../../common/units.js'
import type { BlockDriver } from '../../global-state/driver.js'
import type { Completion } from '../../io/node-io.js'
import { write } from '../../io/write.js'
import type { RawState } from './window.js'

/**
 * Writes data that covers the first sector, unless it would make the image look like another format: EPERM then. The
 * node's request alignment is one sector, so `offset` is 0 and the sector is whole.
 */
export function guardedWrite(
  state: RawState,
  guess: (header: Uint8Array) => string,
  offset: Offset,
  data: Bytes,
  flags: RequestFlags,
): Completion {
  // The buffer may be guest memory that changes meanwhile: what is judged is a copy, and the copy is written.
  const header = flattenBytes(sliceBytes(data, 0, Math.min(BLOCK_PROBE_BUF_SIZE, data.length))).slice()
  const format = guess(header)
  if (format !== 'raw') {
    throw new BlockError(
      'EPERM',
      `writing a header of format '${format}' to an image whose format was guessed as raw`,
      {
        op: 'write',
        hint: "name the format ('raw') when opening the image",
      },
    )
  }
  const rest = sliceBytes(data, header.length, data.length)
  return write(state.file, offset + state.offset, rest.length === 0 ? header : concatBytes([header, rest]), flags)
}

/** Names the format that a header looks like to the probes of `drivers`; 'raw' where none claims it. */
export function formatGuesser(drivers: readonly BlockDriver[]): (header: Uint8Array) => string {
  const formats = drivers.filter((driver) => driver.kind === 'format' && driver.probe !== undefined)
  return (header) => {
    let name = 'raw'
    let best = 0
    for (const driver of formats) {
      const score = driver.probe?.(header, '') ?? 0
      if (score <= best) continue
      best = score
      name = driver.name
    }
    return name
  }
}
