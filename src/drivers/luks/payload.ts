// The payload of a volume in a file: every sector encrypted, none of them sparse or known to be zero. Data passes through memory
// of our own, since buffers of requests are neither to be changed nor to be seen half decrypted.

import type { Clock } from '../../common/clock.js'
import { BlockError } from '../../common/error.js'
import { type Bytes, copyBytes, flattenBytes, sliceBytes } from '../../common/io-vector.js'
import { MAX_LENGTH } from '../../common/limits.js'
import type { RequestFlags } from '../../common/request.js'
import { alignDown, MiB, type Offset } from '../../common/units.js'
import type { BlockChild } from '../../io/block-node.js'
import type { NodeIo } from '../../io/node-io.js'
import { read } from '../../io/read.js'
import { truncate } from '../../io/truncate.js'
import { write } from '../../io/write.js'
import { childLength } from '../filters/forward.js'
import { LUKS_SECTOR_BYTES } from './header.js'
import { luksInfo } from './info.js'
import type { KeySlots } from './key-slots.js'
import type { SectorCipher } from './sector-cipher.js'

/** What an open volume keeps. */
export interface LuksState {
  readonly file: BlockChild
  readonly slots: KeySlots
  /** Undefined where the volume was opened only to be asked about. */
  readonly cipher: SectorCipher | undefined
  /** Id of the secret that opened it. */
  readonly secretId: string | undefined
  readonly clock: Clock
}

/** Bytes that pass through memory at once. */
const PIECE = MiB

/** The I/O half of a volume. A last sector that is cut off is not shown. */
export function payloadIo(state: LuksState): NodeIo {
  const { file, slots } = state
  const start = slots.header.payloadOffset
  const lengthIn = (fileLength: Offset): Offset => alignDown(Math.max(fileLength - start, 0), LUKS_SECTOR_BYTES)
  return {
    length() {
      const length = childLength(file)
      return typeof length === 'number' ? lengthIn(length) : length.then(lengthIn)
    },
    read: (offset, into) => readPayload(state, offset, into),
    write: (offset, data, flags) => writePayload(state, offset, data, flags),
    truncate(length, options) {
      if (length > MAX_LENGTH - start) throw new BlockError('EFBIG', 'the volume would be too long', { op: 'truncate' })
      return truncate(file, start + length, options)
    },
    info: () => ({ clusterSize: 0, vmStateOffset: 0, isDirty: false, needsCompressedWrites: false, isEncrypted: true }),
    specificInfo: () => ({ type: 'luks', data: luksInfo(slots) }),
  }
}

async function readPayload(state: LuksState, offset: Offset, into: Bytes): Promise<void> {
  const cipher = unlocked(state)
  for (let done = 0; done < into.byteLength; done += PIECE) {
    const part = sliceBytes(into, done, Math.min(done + PIECE, into.byteLength))
    const bounce = new Uint8Array(part.byteLength)
    await read(state.file, state.slots.header.payloadOffset + offset + done, bounce)
    cipher.decrypt((offset + done) / LUKS_SECTOR_BYTES, bounce)
    copyBytes(part, bounce)
  }
}

async function writePayload(state: LuksState, offset: Offset, data: Bytes, flags: RequestFlags): Promise<void> {
  const cipher = unlocked(state)
  for (let done = 0; done < data.byteLength; done += PIECE) {
    const part = sliceBytes(data, done, Math.min(done + PIECE, data.byteLength))
    const bounce = part instanceof Uint8Array ? Uint8Array.from(part) : flattenBytes(part)
    cipher.encrypt((offset + done) / LUKS_SECTOR_BYTES, bounce)
    await write(state.file, state.slots.header.payloadOffset + offset + done, bounce, flags)
  }
}

function unlocked({ cipher }: LuksState): SectorCipher {
  if (cipher === undefined) throw new BlockError('EACCES', 'the volume was opened without the key to its data')
  return cipher
}
