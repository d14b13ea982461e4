// qcow2 as the crash harness tests it: tiny clusters, images made byte by byte, and a second opinion beside the driver's check.

import { qcow2Driver } from '../../src/drivers/qcow2/index.js'
import { nodeServices } from '../../src/platform/services.js'
import { type CrashTarget, closeCrashDisk, openCrashDisk } from '../../src/testing/crash/crash-target.js'
import { contentOf, storageDriver, storageOf } from '../../src/testing/storage/memory-storage.js'
import { addBitmaps, missedWrite } from './qcow2-bitmaps.js'
import { inspectQcow2 } from './qcow2-inspector.js'
import { makeQcow2, type Qcow2MakerOptions } from './qcow2-maker.js'
import { snapshotDoor } from './qcow2-snapshots.js'

/** What a target is made with: how the image is made, and the options it is opened with. */
export interface Qcow2TargetOptions extends Omit<Qcow2MakerOptions, 'size'> {
  /** 32 KiB by default. */
  size?: number
  open?: Record<string, unknown>
  /** Bytes of a backing file. */
  backing?: Uint8Array
  /** Compressed writes are part of the workloads. */
  compressed?: boolean
  /** So are snapshots. */
  snapshots?: boolean
  /** The image keeps dirty bitmaps. */
  bitmaps?: boolean
}

/** A target called `qcow2`. */
export function qcow2Target(options: Qcow2TargetOptions = {}): CrashTarget {
  const { size = 32_768, open = {}, compressed = true, clusterBits = 9, leakedClusters = 0 } = options
  const backing = options.backing === undefined ? undefined : storageDriver(storageOf(options.backing), 'base')
  const nodeOptions: CrashTarget['options'] = ({ disk, data }) => ({
    driver: 'qcow2',
    file: disk,
    ...(data === undefined ? {} : { 'data-file': data }),
    ...(backing === undefined ? {} : { backing: { driver: 'base', 'read-only': true } }),
    ...open,
  })
  const target: CrashTarget = {
    name: 'qcow2',
    drivers: backing === undefined ? [qcow2Driver] : [qcow2Driver, backing],
    graph: { services: nodeServices },
    bytes: size,
    clusterBytes: 2 ** clusterBits,
    compressed: compressed && options.externalData !== true,
    ...(options.externalData === true ? { storages: ['disk', 'data'] } : {}),
    async create(stores) {
      const store = stores.get('disk')
      if (store !== undefined) makeQcow2(store, { ...options, size })
      stores.get('data')?.resize(size)
      if (options.bitmaps !== true) return
      const disk = await openCrashDisk(target, stores)
      await addBitmaps(disk)
      await closeCrashDisk(disk)
    },
    options: nodeOptions,
    ...(options.snapshots === true
      ? { snapshots: snapshotDoor(() => nodeOptions({ disk: { driver: 'storage-disk' } })) }
      : {}),
    leaks: leakedClusters,
    ...(options.bitmaps === true ? { verify: missedWrite } : {}),
    // While a snapshot is counted, counts and copied flags change in different writes. A flag that lies is found by `inspect`.
    harmless: (line) => options.snapshots === true && line.includes('OFLAG_COPIED'),
    // A compressed write replaces nothing.
    refuses: ({ type }, code) => type === 'compressed' && code === 'EIO',
    inspect(stores, noLeaks) {
      const store = stores.get('disk')
      if (store === undefined) return 'no store'
      const { problems, leaks } = inspectQcow2(contentOf(store), noLeaks)
      if (problems.length > 0) return problems.slice(0, 3).join('; ')
      return noLeaks && leaks > leakedClusters ? `${leaks - leakedClusters} leaks` : undefined
    },
  }
  return target
}

/** A backing file that differs in every sector, and from all that workloads write. */
export function patternedBacking(bytes: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, at) => 0x80 | ((at >>> 9) & 0x7f))
}
