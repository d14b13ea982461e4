// The two caches of an image's tables, made for its settings, and their cleaning from time to time.

import type { BlkdebugEvent } from '../../filters/blkdebug/events.js'
import type { Qcow2Settings } from '../options.js'
import type { Qcow2State } from '../state.js'
import { barrier } from './barrier.js'
import { reach } from './debug-points.js'
import { type CacheHost, MetadataCache } from './metadata-cache.js'
import { refuseOverlap } from './overlap.js'
import type { OverlapFlag } from './overlap-flags.js'

const L2_POINTS = { load: 'l2_load', update: 'l2_update' } as const
const REFCOUNT_POINTS = { load: 'refblock_load', update: 'refblock_update_part' } as const

/** Empty caches of the sizes that `settings` ask for. `stateOf` is not called before a cache is used. */
export function createCaches(
  stateOf: () => Qcow2State,
  file: CacheHost['file'],
  settings: Qcow2Settings,
  clusterSize: number,
): { l2Cache: MetadataCache; refcountCache: MetadataCache } {
  const hostFor = (points: Readonly<Record<'load' | 'update', BlkdebugEvent>>, ...kinds: OverlapFlag[]): CacheHost => ({
    file,
    reached: (what) => reach({ file }, points[what]),
    barrier: () => barrier(stateOf()),
    beforeWrite: (offset, bytes) => refuseOverlap(stateOf(), offset, bytes, kinds),
  })
  // L2 tables that snapshots share change in their flags.
  return {
    l2Cache: new MetadataCache(
      hostFor(L2_POINTS, 'active-l2', 'inactive-l2'),
      settings.l2SliceBytes,
      settings.l2CacheEntries,
    ),
    refcountCache: new MetadataCache(
      hostFor(REFCOUNT_POINTS, 'refcount-block'),
      clusterSize,
      settings.refcountCacheEntries,
    ),
  }
}

/** Drops unused tables every `cacheCleanMs` from now on, as long as the settings stay the same. */
export function startCleaning(state: Qcow2State): void {
  stopCleaning(state)
  const { cacheCleanMs } = state.settings
  if (cacheCleanMs === 0) return
  state.cleaning = state.environment.clock.after(
    cacheCleanMs,
    () => {
      state.l2Cache.dropUnused()
      state.refcountCache.dropUnused()
      startCleaning(state)
    },
    true,
  )
}

/** Ends the cleaning. */
export function stopCleaning(state: Qcow2State): void {
  state.cleaning?.cancel()
  state.cleaning = undefined
}
