// What happens when damage is found: whoever listens is told, and where the image is being written to, its corrupt bit is set
// at once, behind a change of the header that is under way, and nothing else is written any more (threats.md rule 9, order rule
// O11).

import { BlockError } from '../../../common/error.js'
import { background } from '../../../io/background.js'
import { flush } from '../../../io/flush.js'
import { write } from '../../../io/write.js'
import { INCOMPATIBLE_CORRUPT } from '../format/header.js'
import type { Qcow2State } from '../state.js'

const INCOMPATIBLE_OFFSET = 72

/** Takes note of damage, and returns the error that ends the request which met it: EIO. */
export function markCorrupt(state: Qcow2State, message: string): BlockError {
  const { node } = state
  const fatal = state.writable && !state.corrupt
  if (!state.corrupt) {
    state.environment.trace.emit('corrupted', { node: node.nodeName, message, fatal: state.writable })
  }
  if (fatal) {
    state.corrupt = true
    state.corruptBitWrite = state.headerLock.runExclusive(() => writeCorruptBit(state))
    background(node, state.corruptBitWrite)
  }
  return new BlockError('EIO', message, { node: node.nodeName })
}

/** Refuses a write to an image that is known to be damaged. */
export function refuseCorrupt(state: Qcow2State): void {
  if (state.corrupt) throw new BlockError('EIO', 'the image is corrupt', { node: state.node.nodeName })
}

/** Waits until the corrupt bit is written, where that is on its way. A failure was reported where it happened. */
export async function settleCorruptBit(state: Qcow2State): Promise<void> {
  await state.corruptBitWrite?.catch(() => {})
}

async function writeCorruptBit(state: Qcow2State): Promise<void> {
  const { header } = state
  // There is no place for it in version 2.
  if (header.version < 3) return
  header.incompatibleFeatures |= INCOMPATIBLE_CORRUPT
  const bits = new Uint8Array(8)
  new DataView(bits.buffer).setBigUint64(0, header.incompatibleFeatures)
  await write(state.file, INCOMPATIBLE_OFFSET, bits)
  await flush(state.file)
}
