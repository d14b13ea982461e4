// The conformance suite over what needs the host: the file driver, with native calls where the host has them and without, and
// over formats with a backing file.

import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'vitest'
import { fileDriver } from '../../src/drivers/file/index.js'
import { builtinDrivers } from '../../src/drivers/index.js'
import { loadLibc } from '../../src/platform/native/libc.js'
import { describeDriver } from '../../src/testing/conformance/describe-driver.js'
import type { DriverSupports } from '../../src/testing/conformance/suite.js'
import { overlayDriver } from '../../src/testing/overlay-driver.js'

const api = { describe, it }
const native = (await loadLibc()) !== undefined

type Options = Record<string, unknown>

/** A new file of `size` bytes in a folder of its own, under a node that `above` puts on its driver. */
function describeFile(
  name: string,
  supports: DriverSupports,
  own: Options,
  above: (file: Options, size: number) => Options,
): void {
  describeDriver(
    name,
    async (size) => {
      const folder = await mkdtemp(join(tmpdir(), 'blockgraph-conformance-'))
      const filename = join(folder, 'disk.img')
      const handle = await open(filename, 'w')
      await handle.truncate(size)
      await handle.close()
      return {
        drivers: [...builtinDrivers, fileDriver],
        options: above({ driver: 'file', filename, ...own }, size),
        cleanup: () => rm(folder, { recursive: true }),
      }
    },
    supports,
    api,
  )
}

const WITH_HOLES: DriverSupports = native ? { reportsZeroes: true, discardZeroes: true } : {}

describeFile('file', { ...WITH_HOLES, runs: 15 }, {}, (file) => file)
describeFile('file whose writes are made at once', { ...WITH_HOLES, runs: 15 }, { aio: 'inline' }, (file) => file)
describeFile('file without native calls', { runs: 15 }, { native: false }, (file) => file)
describeFile('raw over file', { ...WITH_HOLES, runs: 15 }, {}, (file) => ({ driver: 'raw', file }))
describeFile('raw, a window of a file', { truncate: 'none', runs: 15 }, {}, (file, size) => ({
  driver: 'raw',
  size,
  file,
}))

const overlay = (size: number, backing: Options | null): Options => ({ driver: 'overlay', size, backing })

describeDriver(
  'overlay without a backing file',
  (size) => ({ drivers: [...builtinDrivers, overlayDriver], options: overlay(size, null) }),
  { truncate: 'any' },
  api,
)
describeDriver(
  'overlay over overlays, longer and shorter',
  (size) => ({
    drivers: [...builtinDrivers, overlayDriver],
    options: overlay(size, overlay(size * 2, overlay(size / 2, { driver: 'memory', size: size * 2 }))),
  }),
  { truncate: 'any' },
  api,
)
