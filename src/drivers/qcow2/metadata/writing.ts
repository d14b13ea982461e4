// What has to be on disk before an image is written to for the first time, or refcounts are postponed.

import type { Completion } from '../../../io/node-io.js'
import { AUTOCLEAR_MASK } from '../format/header.js'
import type { Qcow2State } from '../state.js'
import { refuseCorrupt } from './corruption.js'
import { isDirty, setDirtyBit, writeHeader } from './header-update.js'

/** Makes the image ready for its first change. The caller holds the image's lock. EIO where it is known to be corrupt. */
export function beginWriting(state: Qcow2State): Completion {
  refuseCorrupt(state)
  if (!state.writable) return firstWrite(state)
}

async function firstWrite(state: Qcow2State): Promise<void> {
  // Features unknown here would no longer describe what is written from now on (rule O9).
  const known = state.header.autoclearFeatures & AUTOCLEAR_MASK
  if (known !== state.header.autoclearFeatures) await writeHeader(state, { autoclearFeatures: known })
  state.writable = true
}

/** Says on disk that refcounts may lag behind, where they are to be postponed (rule O8). */
export function beginAllocating(state: Qcow2State): Completion {
  if (state.settings.lazyRefcounts && !isDirty(state)) return setDirtyBit(state)
}

/** Whether refcounts need not be written before what uses the clusters. */
export function postponesRefcounts(state: Qcow2State): boolean {
  return state.settings.lazyRefcounts && isDirty(state)
}
