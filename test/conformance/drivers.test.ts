// The conformance suite over every universal driver. The file driver has a test of its own, since it needs the host.

import { describe, it } from 'vitest'
import { builtinDrivers } from '../../src/drivers/index.js'
import { nodeServices } from '../../src/platform/services.js'
import { describeDriver } from '../../src/testing/conformance/describe-driver.js'
import type { DriverSupports } from '../../src/testing/conformance/suite.js'
import { Controller, controlledDriver } from '../../src/testing/storage/controlled.js'
import { FaultPlan, faultDriver } from '../../src/testing/storage/faults.js'
import { storageDriver, storageOf } from '../../src/testing/storage/memory-storage.js'
import { Recording, recordingDriver } from '../../src/testing/storage/recording.js'
import { newVolume, password } from '../support/luks-volume.js'

const api = { describe, it }
const MEMORY: DriverSupports = { truncate: 'any', reportsZeroes: true, discardZeroes: true }
const FORGETS: DriverSupports = { keepsData: false, truncate: 'none' }

const memory = (size: number) => ({ driver: 'memory', size })

/** A suite over options that name builtin drivers only. */
const describeBuiltin = (name: string, options: (size: number) => Record<string, unknown>, supports: DriverSupports) =>
  describeDriver(name, (size) => ({ drivers: builtinDrivers, options: options(size) }), supports, api)

describeBuiltin('memory', memory, MEMORY)
describeBuiltin('memory, read-only', (size) => ({ ...memory(size), 'read-only': true }), { write: false })
describeBuiltin('null-co', (size) => ({ driver: 'null-co', size, 'read-zeroes': true }), FORGETS)
describeBuiltin('null-aio', (size) => ({ driver: 'null-aio', size, 'read-zeroes': true }), FORGETS)
describeBuiltin(
  'null-aio with latency',
  (size) => ({ driver: 'null-aio', size, 'read-zeroes': true, 'latency-ns': 1000 }),
  FORGETS,
)
describeBuiltin('raw', (size) => ({ driver: 'raw', file: memory(size) }), MEMORY)
describeBuiltin(
  'raw over null-aio',
  (size) => ({ driver: 'raw', file: { driver: 'null-aio', size, 'read-zeroes': true } }),
  FORGETS,
)
describeBuiltin('raw, a window', (size) => ({ driver: 'raw', offset: 66_048, size, file: memory(size + 262_144) }), {
  truncate: 'none',
})
describeBuiltin(
  'raw, an unaligned window to the end',
  (size) => ({ driver: 'raw', offset: 100_001, file: memory(size + 100_001) }),
  {
    truncate: 'any',
  },
)
let volume: ReturnType<typeof newVolume> | undefined
describeDriver(
  'luks',
  async (size) => {
    volume ??= newVolume('open sesame')
    const { area } = await volume
    const store = storageOf(area.content)
    store.resize(area.bytes + size)
    return {
      drivers: [...builtinDrivers, storageDriver(store)],
      options: { driver: 'luks', 'key-secret': 's0', file: { driver: 'storage' } },
      services: nodeServices,
      secrets: { s0: password('open sesame') },
    }
  },
  { readsZeroes: false, truncate: 'noise', runs: 10 },
  api,
)
describeBuiltin('throttle without limits', (size) => ({ driver: 'throttle', file: memory(size) }), MEMORY)
describeBuiltin(
  'throttle with limits',
  (size) => ({ driver: 'throttle', limits: { 'bps-total': 1e12, 'iops-total': 1e7 }, file: memory(size) }),
  { ...MEMORY, runs: 10 },
)
describeBuiltin('copy-on-read', (size) => ({ driver: 'copy-on-read', file: memory(size) }), MEMORY)
describeBuiltin('blkdebug', (size) => ({ driver: 'blkdebug', image: memory(size) }), MEMORY)
describeBuiltin(
  'blkdebug with narrow limits',
  (size) => ({
    driver: 'blkdebug',
    align: 4096,
    'max-transfer': 16_384,
    'opt-write-zero': 8192,
    'max-write-zero': 32_768,
    'opt-discard': 8192,
    'max-discard': 65_536,
    image: memory(size),
  }),
  { truncate: 'any' },
)
describeBuiltin(
  'blklogwrites',
  (size) => ({ driver: 'blklogwrites', file: memory(size), log: { driver: 'memory' } }),
  MEMORY,
)
describeBuiltin(
  'blklogwrites with large log sectors',
  (size) => ({ driver: 'blklogwrites', 'log-sector-size': 4096, file: memory(size), log: { driver: 'memory' } }),
  { truncate: 'any' },
)
describeBuiltin(
  'a pile of filters',
  (size) => ({
    driver: 'copy-on-read',
    file: {
      driver: 'throttle',
      file: { driver: 'blkdebug', align: 512, image: { driver: 'raw', file: memory(size) } },
    },
  }),
  MEMORY,
)

describeDriver(
  'recording',
  (size) => ({
    drivers: [...builtinDrivers, recordingDriver(new Recording())],
    options: { driver: 'recording', file: memory(size) },
  }),
  MEMORY,
  api,
)

describeDriver(
  'fault without rules',
  (size) => ({
    drivers: [...builtinDrivers, faultDriver(new FaultPlan())],
    options: { driver: 'fault', file: memory(size) },
  }),
  MEMORY,
  api,
)

describeDriver(
  'controlled, released in a later microtask',
  (size) => {
    const controller = new Controller((task) => task.then((value) => value))
    return { drivers: [...builtinDrivers, controlledDriver(controller)], options: { driver: 'controlled', size } }
  },
  MEMORY,
  api,
)
