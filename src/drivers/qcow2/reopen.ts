// Reopening with other options, or between read-only and read-write. Nothing is in flight meanwhile.

import { BlockError } from '../../common/error.js'
import { BDRV_O_UNMAP } from '../../common/open-flags.js'
import type { PreparedChange, ReopenContext } from '../../global-state/driver.js'
import { checkReopenedEncryption } from './encryption/encryption.js'
import { INCOMPATIBLE_CORRUPT } from './format/header.js'
import { createCaches, startCleaning } from './metadata/caches.js'
import { settleImage } from './metadata/flush.js'
import { isDirty } from './metadata/header-update.js'
import { type QCOW2_OPTIONS, type Qcow2Settings, resolveSettings } from './options.js'
import type { Qcow2State } from './state.js'

/**
 * EINVAL for options that contradict each other or the image, EACCES for writing to a corrupt one or to one that has to be
 * repaired first, EBUSY to a snapshot.
 */
export async function prepareReopen(
  state: Qcow2State,
  context: ReopenContext<typeof QCOW2_OPTIONS>,
): Promise<PreparedChange> {
  const { header, layout, file } = state
  if (!context.readOnly && (header.incompatibleFeatures & INCOMPATIBLE_CORRUPT) !== 0n) {
    throw new BlockError('EACCES', 'qcow2: Image is corrupt; cannot be opened read/write', { node: context.nodeName })
  }
  if (!context.readOnly && state.loadedSnapshot) {
    throw new BlockError('EBUSY', 'it shows a snapshot, which is not written to', { node: context.nodeName })
  }
  // Refcounts may be too low: what is in use would be handed out again. Only an opening repairs, while nobody reads.
  if (!context.readOnly && context.node.readOnly && isDirty(state)) {
    throw new BlockError('EACCES', 'qcow2: Image is dirty; it is repaired when it is opened read/write anew', {
      node: context.nodeName,
    })
  }
  checkReopenedEncryption(header, context.options['encrypt.format'], context.readOnly)
  const settings = resolveSettings(context.options, header, layout, (context.openFlags & BDRV_O_UNMAP) !== 0)
  const otherCaches = !sameCaches(state.settings, settings)
  // What is only in memory goes to disk while the node may still write.
  if (context.readOnly || otherCaches || settings.lazyRefcounts !== state.settings.lazyRefcounts) {
    await settleImage(state)
  }
  return {
    commit() {
      state.settings = settings
      if (otherCaches)
        Object.assign(
          state,
          createCaches(() => state, file, settings, layout.clusterSize),
        )
      if (context.readOnly) state.writable = false
      startCleaning(state)
    },
    abort() {},
  }
}

function sameCaches(a: Qcow2Settings, b: Qcow2Settings): boolean {
  return (
    a.l2SliceBytes === b.l2SliceBytes &&
    a.l2CacheEntries === b.l2CacheEntries &&
    a.refcountCacheEntries === b.refcountCacheEntries
  )
}
