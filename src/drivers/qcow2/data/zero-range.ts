// Whether a range reads as zeroes without holding data of its own.

import { BDRV_BLOCK_ZERO } from '../../../common/block-status.js'
import { blockStatusAbove } from '../../../io/block-status.js'
import { UNALLOCATED, UNALLOCATED_HOST, ZERO_ALLOCATED, ZERO_PLAIN } from '../format/l2-entry.js'
import { type GuestOffset, guest } from '../format/layout.js'
import { findRun, newRun } from '../metadata/l2-map.js'
import { backingOf, type Qcow2State } from '../state.js'

/** True only where nothing of the range is data of this image and all of it reads as zeroes. */
export async function rangeReadsZero(state: Qcow2State, offset: GuestOffset, bytes: number): Promise<boolean> {
  const run = newRun()
  for (let at = offset as number; at < offset + bytes; at += run.bytes) {
    await findRun(state, guest(at), offset + bytes - at, run)
    const { kind } = run
    if (kind === ZERO_PLAIN || kind === ZERO_ALLOCATED) continue
    if (kind !== UNALLOCATED && kind !== UNALLOCATED_HOST) return false
    if (!(await backingReadsZero(state, at, run.bytes))) return false
  }
  return true
}

async function backingReadsZero(state: Qcow2State, offset: number, bytes: number): Promise<boolean> {
  const backing = backingOf(state)?.node
  if (backing === undefined) return true
  const end = Math.min(offset + bytes, backing.state.length)
  for (let at = offset; at < end; ) {
    const status = await blockStatusAbove(backing, undefined, at, end - at)
    if (status.bytes === 0) return true
    if ((status.bits & BDRV_BLOCK_ZERO) === 0) return false
    at += status.bytes
  }
  return true
}
