// VM state: stored as guest data is, at guest offsets behind the end of the disk (qcow2 specification, "Snapshots"). The L1 table
// grows to reach there.

import { Mutex } from 'async-mutex'
import { type Bytes, copyBytes, sliceBytes } from '../../../common/io-vector.js'
import type { Offset } from '../../../common/units.js'
import type { VmstateIo } from '../../../io/node-io.js'
import { ENTRY_BYTES, type GuestOffset, guest, l1EntriesFor, MAX_L1_BYTES } from '../format/layout.js'
import { isWatched, reach } from '../metadata/debug-points.js'
import { growL1 } from '../metadata/grow-l1.js'
import { beginWriting } from '../metadata/writing.js'
import { imageError, type Qcow2State } from '../state.js'
import { readGuest } from './read.js'
import { writeGuest } from './write.js'

/** Where the VM state begins: at the first L1 entry that maps nothing of the disk. */
export function vmstateOffset(state: Qcow2State): GuestOffset {
  return guest(l1EntriesFor(state.layout, state.header.size) * state.layout.l2Coverage)
}

/** The door to the VM state of an image. Positions count from its start and need no alignment. */
export function vmstateIo(state: Qcow2State): VmstateIo {
  // Encrypted data changes by whole sectors, so writes that share one go one after the other.
  const lock = new Mutex()
  return {
    save: (position, data) => lock.runExclusive(() => saveVmstate(state, position, data)),
    load: (position, into) => loadVmstate(state, position, into),
  }
}

async function saveVmstate(state: Qcow2State, position: Offset, data: Bytes): Promise<void> {
  if (data.byteLength === 0) return
  if (isWatched(state)) await reach(state, 'vmstate_save')
  const { start, offset, bytes } = sectorsAround(state, position, data.byteLength)
  const entries = Math.ceil((start + bytes) / state.layout.l2Coverage)
  if (entries > MAX_L1_BYTES / ENTRY_BYTES) throw imageError(state, 'EFBIG', 'the VM state is too large for the image')
  if (entries > state.l1.length) {
    await state.lock.runExclusive(async () => {
      await beginWriting(state)
      await growL1(state, entries, true)
    })
  }
  if (bytes === data.byteLength) {
    await writeGuest(state, start, data)
    return
  }
  const sectors = new Uint8Array(bytes)
  await readGuest(state, start, sectors)
  copyBytes(sectors.subarray(offset - start), data)
  await writeGuest(state, start, sectors)
}

async function loadVmstate(state: Qcow2State, position: Offset, into: Bytes): Promise<void> {
  if (into.byteLength === 0) return
  if (isWatched(state)) await reach(state, 'vmstate_load')
  const { start, offset, bytes } = sectorsAround(state, position, into.byteLength)
  if (bytes === into.byteLength) {
    await readGuest(state, start, into)
    return
  }
  const sectors = new Uint8Array(bytes)
  await readGuest(state, start, sectors)
  copyBytes(into, sliceBytes(sectors, offset - start, offset - start + into.byteLength))
}

/** The guest range of a part of the VM state, and that of the whole sectors around it. */
function sectorsAround(state: Qcow2State, position: Offset, length: number) {
  const unit = state.cipher?.sectorSize ?? 1
  const offset = vmstateOffset(state) + position
  const start = guest(offset - (offset % unit))
  return { offset, start, bytes: Math.ceil((offset + length - start) / unit) * unit }
}
