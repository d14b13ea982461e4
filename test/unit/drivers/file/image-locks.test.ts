import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { BDRV_O_RDWR } from '../../../../src/common/open-flags.js'
import {
  BLK_PERM_ALL,
  BLK_PERM_CONSISTENT_READ,
  BLK_PERM_RESIZE,
  BLK_PERM_WRITE,
  type Permissions,
} from '../../../../src/common/permissions.js'
import { nodeFilePlatform } from '../../../../src/drivers/file/platform.js'
import type { NativeFileCalls } from '../../../../src/platform/native/file-calls.js'
import { failure, native, type Opened, open, scratchFolder } from './support.js'

const READ_WRITE = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE
const NO_WRITERS = BLK_PERM_ALL & ~(BLK_PERM_WRITE | BLK_PERM_RESIZE)

/** The bytes of the file behind `fd` that this open of it has locked. */
function lockedBytes(fd: number): number[] {
  const bytes: number[] = []
  for (const [, first, last] of readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8').matchAll(/^lock:.* (\d+) (\d+)$/gm)) {
    for (let byte = Number(first); byte <= Number(last); byte++) bytes.push(byte)
  }
  return bytes
}

function locked(disk: Opened): number[] {
  return lockedBytes(disk.state.descriptor.number)
}

function check(disk: Opened, perm: Permissions, shared: Permissions) {
  return disk.driver.permissions?.check(disk.state, perm, shared)
}

function set(disk: Opened, perm: Permissions, shared: Permissions) {
  disk.driver.permissions?.set(disk.state, perm, shared)
}

async function take(disk: Opened, perm: Permissions, shared: Permissions) {
  await check(disk, perm, shared)
  set(disk, perm, shared)
}

describe.skipIf(native === undefined)('image locks', () => {
  let folder: ReturnType<typeof scratchFolder>
  let path: string
  const opened: Opened[] = []

  async function openImage(wishes: Parameters<typeof open>[1] = {}): Promise<Opened> {
    const disk = await open(path, { platform: nodeFilePlatform, ...wishes })
    opened.push(disk)
    return disk
  }

  beforeEach(() => {
    folder = scratchFolder()
    path = folder.path('disk.img')
    writeFileSync(path, new Uint8Array(4096))
  })
  afterEach(async () => {
    for (const disk of opened.splice(0)) await disk.close()
    folder.remove()
  })

  it('takes the bytes of what is used and of what is not shared, and gives surplus ones back on set', async () => {
    const disk = await openImage()
    expect(locked(disk)).toEqual([])
    await take(disk, READ_WRITE, NO_WRITERS)
    expect(locked(disk)).toEqual([100, 101, 201, 203])
    await check(disk, BLK_PERM_ALL, 0)
    expect(locked(disk)).toEqual([100, 101, 102, 103, 200, 201, 202, 203])
    disk.driver.permissions?.abort(disk.state)
    expect(locked(disk)).toEqual([100, 101, 201, 203])
    await check(disk, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL)
    expect(locked(disk)).toEqual([100, 101, 201, 203])
    set(disk, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL)
    expect(locked(disk)).toEqual([100])
    set(disk, 0, BLK_PERM_ALL)
    expect(locked(disk)).toEqual([])
  })

  it('lets users together who share what the others do', async () => {
    const one = await openImage()
    const two = await openImage()
    await take(one, READ_WRITE, BLK_PERM_ALL)
    await take(two, READ_WRITE, BLK_PERM_ALL)
    expect([locked(one), locked(two)]).toEqual([
      [100, 101],
      [100, 101],
    ])
  })

  it('refuses what another does not share, says who that is, and keeps its locks as they were', async () => {
    const one = await openImage()
    const two = await openImage()
    await take(one, READ_WRITE, NO_WRITERS)
    await take(two, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL)
    const error = await failure(() => check(two, READ_WRITE, BLK_PERM_ALL))
    expect(error).toMatchObject({ code: 'EAGAIN', node: 'disk', message: 'disk: Failed to get "write" lock' })
    expect(error.hint).toBe(
      `Is another process using the image [${path}]? this process uses consistent-read, write and does not share write, resize.`,
    )
    expect(locked(two)).toEqual([100])
  })

  it('refuses not to share what another does', async () => {
    const one = await openImage()
    const two = await openImage()
    await take(one, READ_WRITE, BLK_PERM_ALL)
    const error = await failure(() => check(two, BLK_PERM_CONSISTENT_READ, NO_WRITERS))
    expect(error.message).toBe('disk: Failed to get shared "write" lock')
    expect(locked(two)).toEqual([])
    await one.close()
    await take(two, BLK_PERM_CONSISTENT_READ, NO_WRITERS)
  })

  it('gives permissions up without asking anybody', async () => {
    const disk = await openImage()
    await take(disk, READ_WRITE, NO_WRITERS)
    const other = openSync(path, 'r')
    ;(native as NativeFileCalls).locks.lockShared(other, 200)
    expect((await failure(() => check(disk, READ_WRITE, 0))).message).toBe('disk: Failed to get "consistent read" lock')
    await take(disk, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL)
    closeSync(other)
  })

  function reopen(disk: Opened, readOnly: boolean) {
    const options = { filename: path, locking: 'auto', aio: 'auto', native: true, 'host-device': false } as const
    return disk.driver.reopen?.(disk.state, {
      nodeName: 'disk',
      node: {} as never,
      options,
      oldOptions: options,
      openFlags: readOnly ? 0 : BDRV_O_RDWR,
      readOnly,
    })
  }

  it('carries the locks over to the descriptor of a reopen', async () => {
    const disk = await openImage({ readOnly: true })
    await take(disk, BLK_PERM_CONSISTENT_READ, NO_WRITERS)
    await check(disk, READ_WRITE, NO_WRITERS)
    const change = await reopen(disk, false)
    change?.commit()
    set(disk, READ_WRITE, NO_WRITERS)
    expect(disk.state.writable).toBe(true)
    expect(locked(disk)).toEqual([100, 101, 201, 203])
  })

  it('leaves nothing on the descriptor that a reopen has replaced, or made in vain', async () => {
    const disk = await openImage()
    await take(disk, READ_WRITE, NO_WRITERS)
    // A call under way keeps it open.
    const { descriptor } = disk.state
    const old = descriptor.enter()
    const vain = await reopen(disk, true)
    vain?.abort()
    const change = await reopen(disk, true)
    change?.commit()
    expect(lockedBytes(old)).toEqual([])
    set(disk, BLK_PERM_CONSISTENT_READ, NO_WRITERS)
    await take(disk, BLK_PERM_CONSISTENT_READ, NO_WRITERS)
    await check(disk, READ_WRITE, NO_WRITERS)
    descriptor.leave()
  })

  it('is off where that is asked for', async () => {
    const disk = await openImage({ locking: 'off' })
    await take(disk, BLK_PERM_ALL, 0)
    expect(locked(disk)).toEqual([])
  })
})
