// An image of version 2 made into one of version 3, and back. Back means that nothing is left of what version 2 does not know.

import type { BlockError } from '../../../common/error.js'
import { HEADER_BYTES_V2, HEADER_BYTES_V3, INCOMPATIBLE_DIRTY } from '../format/header.js'
import { barrier } from '../metadata/barrier.js'
import { settleMetadata } from '../metadata/flush.js'
import { clearDirtyBit, writeHeader } from '../metadata/header-update.js'
import { hasDataFile, imageError, type Qcow2State } from '../state.js'
import { expandZeroClusters } from './expand-zeroes.js'

const V2_REFCOUNT_ORDER = 4
/** VM state of a snapshot has a length of 32 bits in version 2. */
const MAX_V2_VMSTATE = 0xffff_ffff

/** Makes the image one of version 3. ENOSPC where its first cluster does not hold the longer header. The caller holds the lock. */
export async function upgradeImage(state: Qcow2State): Promise<void> {
  await writeHeader(state, { version: 3, headerLength: HEADER_BYTES_V3, refcountOrder: V2_REFCOUNT_ORDER })
}

/**
 * Makes the image one of version 2. ENOTSUP where it holds what that version does not know and what cannot be made into
 * anything else. The caller holds the lock, and nothing is in flight. `progress` is told of tables.
 */
export async function downgradeImage(
  state: Qcow2State,
  progress: (done: number, total: number) => void,
): Promise<void> {
  judgeDowngrade(state)
  await settleMetadata(state)
  await barrier(state)
  await clearDirtyBit(state)
  await expandZeroClusters(state, progress)
  await settleMetadata(state)
  await barrier(state)
  await writeHeader(state, {
    version: 2,
    headerLength: HEADER_BYTES_V2,
    incompatibleFeatures: 0n,
    compatibleFeatures: 0n,
    autoclearFeatures: 0n,
    unknownFields: new Uint8Array(0),
  })
  state.settings = { ...state.settings, lazyRefcounts: false }
}

function judgeDowngrade(state: Qcow2State): void {
  const { header, extensions, snapshots, node } = state
  if (hasDataFile(state)) throw refusal(state, 'Cannot downgrade an image with a data file')
  if (header.refcountOrder !== V2_REFCOUNT_ORDER) throw refusal(state, 'compat=0.10 requires refcount_bits=16')
  const unusual = snapshots.some(({ diskSize = header.size, vmStateSize }) => {
    return diskSize !== header.size || vmStateSize > MAX_V2_VMSTATE
  })
  if (unusual) throw refusal(state, 'Internal snapshots prevent downgrade of image')
  if (extensions.bitmaps !== undefined || node.state.bitmaps.some(({ persistent }) => persistent)) {
    throw refusal(state, 'Cannot downgrade an image with bitmaps')
  }
  const features = header.incompatibleFeatures & ~INCOMPATIBLE_DIRTY
  if (features === 0n) return
  throw refusal(state, `Cannot downgrade an image with incompatible features 0x${features.toString(16)} set`)
}

function refusal(state: Qcow2State, message: string): BlockError {
  return imageError(state, 'ENOTSUP', message)
}
