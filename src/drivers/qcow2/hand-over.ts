// Handing the image to another owner and taking it back. In between nothing known of it holds.

import { BlockError } from '../../common/error.js'
import { INCOMPATIBLE_DIRTY } from './format/header.js'
import { startCleaning, stopCleaning } from './metadata/caches.js'
import { settleImage } from './metadata/flush.js'
import { setSnapshots } from './metadata/overlap.js'
import { reloadTables } from './metadata/reload-tables.js'
import { readFirstCluster } from './open.js'
import { loadSnapshots, mapSnapshotTables } from './snapshots/snapshot-tables.js'
import type { Qcow2State } from './state.js'

/** Leaves the image as one that nobody uses. */
export async function handOver(state: Qcow2State): Promise<void> {
  stopCleaning(state)
  await settleImage(state)
  state.writable = false
}

/** Takes the image up as it is now. EINVAL where it has become one of another geometry. */
export async function takeBack(state: Qcow2State): Promise<void> {
  const { header, layout, extensions, backingName } = await readFirstCluster(state.file)
  const { clusterBits, refcountOrder, extendedL2 } = state.layout
  if (
    layout.clusterBits !== clusterBits ||
    layout.refcountOrder !== refcountOrder ||
    layout.extendedL2 !== extendedL2 ||
    header.cryptMethod !== state.header.cryptMethod
  ) {
    throw new BlockError('EINVAL', 'the image has another geometry than before', { node: state.node.nodeName })
  }
  Object.assign(state, {
    header,
    extensions,
    backingName,
    repairOwed: (header.incompatibleFeatures & INCOMPATIBLE_DIRTY) !== 0n,
  })
  setSnapshots(state, [], 0)
  await reloadTables(state)
  await loadSnapshots(state)
  await mapSnapshotTables(state)
  startCleaning(state)
}
