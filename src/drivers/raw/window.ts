// The window of a file that a raw node shows: where it begins, how long it is, and when it can change its length.

import { BlockError } from '../../common/error.js'
import { BDRV_SECTOR_SIZE, MAX_LENGTH } from '../../common/limits.js'
import type { Offset } from '../../common/units.js'
import type { BlockChild } from '../../io/block-node.js'
import type { Completion, TruncateOptions } from '../../io/node-io.js'
import { truncate } from '../../io/truncate.js'

/** What an open raw node keeps. */
export interface RawState {
  readonly file: BlockChild
  offset: Offset
  /** As the user fixed it; undefined: up to the end of the file. */
  size: Offset | undefined
  /** Set where the format was guessed: names the format a header looks like. */
  readonly guess: ((header: Uint8Array) => string) | undefined
}

/** Refuses a window that is malformed or does not lie in the file (EINVAL). */
export function checkWindow(
  options: { offset: Offset; size: Offset | undefined },
  file: BlockChild,
  node: string,
): void {
  const refuse = (message: string): never => {
    throw new BlockError('EINVAL', message, { node, op: 'open' })
  }
  const { offset, size } = options
  const available = file.node.state.length
  if (size !== undefined && size % BDRV_SECTOR_SIZE !== 0)
    refuse(`size ${size} is not a multiple of ${BDRV_SECTOR_SIZE}`)
  if (offset > available) refuse(`offset ${offset} is beyond the end of the file at ${available}`)
  if (size !== undefined && size > available - offset) {
    refuse(`offset ${offset} and size ${size} together are beyond the end of the file at ${available}`)
  }
}

/** The length of the window in a file that has `fileLength` bytes now. */
export function windowLength(state: RawState, fileLength: Offset): Offset {
  const rest = Math.max(fileLength - state.offset, 0)
  return state.size === undefined ? rest : Math.min(state.size, rest)
}

/** Changes the length of the file so that the window has `length`; ENOTSUP where the user fixed the size. */
export function truncateWindow(state: RawState, length: Offset, options: TruncateOptions): Completion {
  if (state.size !== undefined) {
    throw new BlockError('ENOTSUP', 'a raw disk with a fixed size cannot be resized', { op: 'truncate' })
  }
  if (length > MAX_LENGTH - state.offset) {
    throw new BlockError('EFBIG', `length ${length} at offset ${state.offset} is beyond ${MAX_LENGTH} bytes`, {
      op: 'truncate',
    })
  }
  return truncate(state.file, length + state.offset, options)
}
