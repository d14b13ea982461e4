import { execFileSync } from 'node:child_process'
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { BDRV_O_NOCACHE, BDRV_O_RDWR } from '../../../../src/common/open-flags.js'
import { MiB } from '../../../../src/common/units.js'
import { createImageFile, deleteImageFile } from '../../../../src/drivers/file/create.js'
import { createFileDriver } from '../../../../src/drivers/file/driver.js'
import { plainFilePlatform } from '../../../../src/drivers/file/platform.js'
import { failure, type Opened, open, pattern, platforms, scratchFolder, withHost } from './support.js'

let folder: ReturnType<typeof scratchFolder>
let path: string

beforeEach(() => {
  folder = scratchFolder()
  path = folder.path('disk.img')
})
afterEach(() => folder.remove())

/** Descriptors of this process that lie in the scratch folder. */
function leaks(): string[] {
  const targets: string[] = []
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      targets.push(readlinkSync(`/proc/self/fd/${fd}`))
    } catch {
      // The descriptor of the listing itself.
    }
  }
  return targets.filter((target) => target.startsWith(folder.path('')))
}

function denied(code: string): Error {
  return Object.assign(new Error(`${code}: denied, open 'x'`), { code })
}

function reopen(disk: Opened, access: { readOnly: boolean; openFlags?: number; filename?: string }) {
  const options = { filename: path, locking: 'auto', aio: 'auto', native: true, 'host-device': false } as const
  return disk.driver.reopen?.(disk.state, {
    nodeName: 'disk',
    node: { nodeName: 'disk' } as never,
    options: { ...options, filename: access.filename ?? path },
    oldOptions: options,
    openFlags: (access.openFlags ?? 0) | (access.readOnly ? 0 : BDRV_O_RDWR),
    readOnly: access.readOnly,
  })
}

describe.each(platforms)('opening %s', (_name, platform) => {
  it('says what is wrong with a name or with what it stands for, and leaves nothing open', async () => {
    mkdirSync(folder.path('dir'))
    execFileSync('mkfifo', [folder.path('fifo')])
    const cases: [string, string][] = [
      [folder.path('missing'), 'ENOENT'],
      [folder.path('dir'), 'EISDIR'],
      [folder.path('fifo'), 'EINVAL'],
      ['/dev/null', 'EINVAL'],
      ['', 'EINVAL'],
      ['a\0b', 'EINVAL'],
      ['line\nbreak', 'EINVAL'],
      ['lone \ud800 surrogate', 'EINVAL'],
      ['x'.repeat(5000), 'ENAMETOOLONG'],
    ]
    for (const [name, code] of cases) {
      for (const readOnly of [true, false]) {
        const error = await failure(() => open(name, { platform, readOnly }))
        expect([name, error.code, error.message.length < 700]).toEqual([name, code, true])
      }
    }
    expect(leaks()).toEqual([])
  })

  it('refuses a socket', async () => {
    const server = createServer().listen(path)
    await new Promise((resolve) => server.once('listening', resolve))
    // The host refuses to open one in the first place.
    expect((await failure(() => open(path, { platform }))).code).toBe('ENXIO')
    await new Promise((resolve) => server.close(resolve))
  })

  it('takes a block device only with the option', async () => {
    writeFileSync(path, pattern(4096))
    const asDevice = withHost(platform, {
      stat: async (fd) => ({ ...(await platform.host.stat(fd)), kind: 'block-device', size: 0, targetDevice: 0x803n }),
      readText: (name) => Promise.resolve(name === '/sys/dev/block/8:3/size' ? '8\n' : ''),
    })
    const error = await failure(() => open(path, { platform: asDevice }))
    expect([error.code, error.hint]).toEqual(['EINVAL', expect.stringContaining('host-device')])
    const disk = await open(path, { platform: asDevice, 'host-device': true })
    expect(await disk.io.length()).toBe(4096)
    expect((await failure(() => disk.io.truncate?.(100, { exact: true, preallocation: 'off', flags: 0 }))).code).toBe(
      'ENOTSUP',
    )
    expect((await failure(() => disk.io.truncate?.(9999, { exact: false, preallocation: 'off', flags: 0 }))).code).toBe(
      'EINVAL',
    )
    expect(disk.driver.hasZeroInit?.(disk.state)).toBe(false)
    await disk.close()
  })

  it.each(['EACCES', 'EROFS', 'EPERM'])(
    'falls back to read-only on %s where that is allowed, and only then',
    async (code) => {
      writeFileSync(path, pattern(4096))
      const { host } = platform
      const readable = withHost(platform, {
        open: (name, flags, mode) => ((flags & 3) === 0 ? host.open(name, flags, mode) : Promise.reject(denied(code))),
      })
      const disk = await open(path, { platform: readable, autoReadOnly: true })
      expect(disk.state.writable).toBe(false)
      await disk.close()
      expect((await failure(() => open(path, { platform: readable }))).code).toBe(code)
    },
  )

  it('looks at the open descriptor and never at the name again', async () => {
    writeFileSync(path, pattern(4096))
    const swapped = withHost(platform, {
      open: async (name, flags, mode) => {
        const fd = await platform.host.open(name, flags, mode)
        renameSync(path, folder.path('gone'))
        mkdirSync(path)
        return fd
      },
    })
    const disk = await open(path, { platform: swapped })
    expect(await disk.io.length()).toBe(4096)
    await disk.close()
  })

  it('closes what it opened when looking at it fails', async () => {
    writeFileSync(path, '')
    const blind = withHost(platform, { stat: () => Promise.reject(denied('EIO')) })
    const error = await failure(() => open(path, { platform: blind }))
    expect([error.code, error.node, leaks()]).toEqual(['EIO', 'disk', []])
  })

  it('reopens the same inode for writing and back, though its name is gone', async () => {
    writeFileSync(path, pattern(8192))
    const disk = await open(path, { platform, readOnly: true })
    renameSync(path, folder.path('moved'))
    symlinkSync('/dev/null', path)
    const aborted = await reopen(disk, { readOnly: false })
    aborted?.abort()
    expect(disk.state.writable).toBe(false)
    const change = await reopen(disk, { readOnly: false })
    change?.commit()
    await disk.io.write?.(0, new Uint8Array(10), 0)
    const back = await reopen(disk, { readOnly: true })
    back?.commit()
    expect((await failure(() => disk.io.write?.(0, new Uint8Array(10), 0))).code).toBe('EBADF')
    await disk.close()
    await vi.waitFor(() => expect(leaks()).toEqual([]))
    expect(readFileSync(folder.path('moved')).subarray(0, 10)).toEqual(Buffer.alloc(10))
  })

  it('reopens for direct I/O with new limits, and refuses another file', async () => {
    writeFileSync(path, pattern(8192))
    const disk = await open(path, { platform })
    const change = await reopen(disk, { readOnly: false, openFlags: BDRV_O_NOCACHE })
    change?.commit()
    const limits = { ...disk.limits } as never
    disk.driver.refreshLimits?.(disk.state, limits)
    expect((limits as { requestAlignment: number }).requestAlignment).toBeGreaterThanOrEqual(512)
    const into = new Uint8Array(4096)
    await disk.io.read(4096, into, 0)
    expect(into).toEqual(pattern(8192).slice(4096))
    expect((await failure(() => reopen(disk, { readOnly: false, filename: 'other' }))).code).toBe('EINVAL')
    await disk.close()
  })
})

describe.each(platforms)('making and deleting files %s', (_name, platform) => {
  const options = { size: 3 * MiB, preallocation: 'off', nocow: true, extent_size_hint: MiB } as const

  it('makes a sparse file, and empties one that is there', async () => {
    await createImageFile(platform, path, options)
    expect(statSync(path)).toMatchObject({ size: 3 * MiB, blocks: 0 })
    writeFileSync(path, pattern(MiB))
    await createFileDriver(platform).create?.({ filename: `file:${path}` } as never, {
      ...options,
      preallocation: 'full',
    })
    expect(readFileSync(path).every((byte) => byte === 0)).toBe(true)
    expect(statSync(path).blocks).toBeGreaterThanOrEqual((3 * MiB) / 512)
    expect(leaks()).toEqual([])
  })

  it('removes a new file where making it fails, and keeps one that was there', async () => {
    expect((await failure(() => createImageFile(platform, path, { ...options, preallocation: 'metadata' }))).code).toBe(
      'ENOTSUP',
    )
    expect(readdirSync(folder.path('.'))).toEqual([])
    writeFileSync(path, 'x')
    await failure(() => createImageFile(platform, path, { ...options, preallocation: 'metadata' }))
    expect(readdirSync(folder.path('.'))).toEqual(['disk.img'])
    expect(leaks()).toEqual([])
  })

  it('deletes regular files and nothing else', async () => {
    writeFileSync(path, 'x')
    await deleteImageFile(platform, path)
    expect((await failure(() => deleteImageFile(platform, path))).code).toBe('ENOENT')
    mkdirSync(path)
    expect((await failure(() => deleteImageFile(platform, path))).code).toBe('EISDIR')
    expect(leaks()).toEqual([])
  })
})

describe('locking without native calls', () => {
  it('is an error where it is demanded and one notice where it is left to us', async () => {
    writeFileSync(path, '')
    const error = await failure(() => open(path, { locking: 'on', platform: plainFilePlatform }))
    expect([error.code, error.node, error.hint]).toEqual(['ENOTSUP', 'disk', expect.stringContaining('koffi')])
    const disk = await open(path, { platform: plainFilePlatform })
    expect(disk.notices).toEqual([expect.stringContaining('not locked')])
    expect(await disk.driver.permissions?.check(disk.state, 15, 0)).toBeUndefined()
    disk.driver.permissions?.set(disk.state, 15, 0)
    disk.driver.permissions?.abort(disk.state)
    await disk.close()
  })
})
