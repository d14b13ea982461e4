// The conformance suite over qcow2 images of every kind, in memory.

import { describe, it } from 'vitest'
import { builtinDrivers } from '../../src/drivers/index.js'
import { nodeServices } from '../../src/platform/services.js'
import { describeDriver } from '../../src/testing/conformance/describe-driver.js'
import type { DriverSupports } from '../../src/testing/conformance/suite.js'
import { storageDriver, storageOf } from '../../src/testing/storage/memory-storage.js'
import { emptyImage, type HandMadeOptions } from '../support/qcow2-image.js'

const api = { describe, it }
const SUPPORTS: DriverSupports = { truncate: 'any', reportsZeroes: true, discardZeroes: true, runs: 12 }

interface Wishes {
  kind?: HandMadeOptions
  /** Options of the node beside its driver and file. */
  options?: (size: number) => Record<string, unknown>
  /** What stands between the image and its storage. */
  file?: Record<string, unknown>
  supports?: DriverSupports
}

function describeQcow2(name: string, { kind = {}, options, file, supports = {} }: Wishes): void {
  describeDriver(
    `qcow2, ${name}`,
    (size) => ({
      drivers: [...builtinDrivers, storageDriver(storageOf(emptyImage(size, kind)))],
      services: nodeServices,
      options: {
        driver: 'qcow2',
        discard: 'unmap',
        file: file === undefined ? { driver: 'storage' } : { ...file, image: { driver: 'storage' } },
        ...options?.(size),
      },
    }),
    { ...SUPPORTS, ...supports },
    api,
  )
}

describeQcow2('64 KiB clusters', { kind: { clusterBits: 16 } })
describeQcow2('the smallest clusters', {})
describeQcow2('refcounts of 1 bit', { kind: { refcountOrder: 0 } })
describeQcow2('refcounts of 64 bits', { kind: { refcountOrder: 6 } })
describeQcow2('subclusters', { kind: { clusterBits: 14, extendedL2: true } })
describeQcow2('version 2', { kind: { version: 2, clusterBits: 12 }, supports: { reportsZeroes: true } })
describeQcow2('zstd', { kind: { clusterBits: 12, zstd: true } })
describeQcow2('lazy refcounts', { kind: { clusterBits: 12, lazyRefcounts: true } })
describeQcow2('the smallest caches', {
  options: () => ({ 'l2-cache-size': 1024, 'l2-cache-entry-size': 512, 'refcount-cache-size': 2048 }),
})
describeQcow2('discards that keep their clusters', {
  kind: { clusterBits: 12 },
  options: () => ({ 'discard-no-unref': true }),
})
describeQcow2('over a file of 4 KiB blocks', {
  kind: { clusterBits: 12 },
  file: { driver: 'blkdebug', align: 4096 },
})
for (const dataFile of ['plain', 'raw'] as const) {
  describeQcow2(`a data file of its own, ${dataFile}`, {
    kind: { clusterBits: 12, dataFile },
    options: () => ({ 'data-file': { driver: 'memory' } }),
  })
}
describeQcow2('over a backing file of zeroes that is shorter', {
  kind: { clusterBits: 12 },
  options: (size) => ({ backing: { driver: 'memory', size: size / 2 } }),
})
describeQcow2('over a backing file of zeroes that is longer', {
  kind: { clusterBits: 12 },
  options: (size) => ({ backing: { driver: 'memory', size: size * 2 } }),
})
