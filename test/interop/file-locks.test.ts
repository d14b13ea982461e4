// Image locks against the real tools: each side refuses what the other does not share, and both agree byte by byte.

import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import {
  BLK_PERM_ALL,
  BLK_PERM_CONSISTENT_READ,
  BLK_PERM_RESIZE,
  BLK_PERM_WRITE,
} from '../../src/common/permissions.js'
import { createImageFile } from '../../src/drivers/file/create.js'
import { nodeFilePlatform } from '../../src/drivers/file/platform.js'
import { peer } from '../support/peers.js'
import { failure, native, type Opened, open, scratchFolder } from '../unit/drivers/file/support.js'

const READ_WRITE = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE
const NO_WRITERS = BLK_PERM_ALL & ~(BLK_PERM_WRITE | BLK_PERM_RESIZE)

describe.skipIf(native === undefined)('image locks and the tools of QEMU', () => {
  let folder: ReturnType<typeof scratchFolder>
  let path: string
  let users: ChildProcess[]
  let disks: Opened[]

  beforeEach(() => {
    folder = scratchFolder()
    path = folder.path('disk.img')
    users = []
    disks = []
  })
  afterEach(async () => {
    for (const user of users) await leave(user)
    for (const disk of disks) await disk.close()
    folder.remove()
  })

  async function openImage(): Promise<Opened> {
    const disk = await open(path, { platform: nodeFilePlatform, locking: 'on' })
    disks.push(disk)
    return disk
  }

  async function take(disk: Opened, perm: number, shared: number) {
    await disk.driver.permissions?.check(disk.state, perm, shared)
    disk.driver.permissions?.set(disk.state, perm, shared)
  }

  /** A qemu-io that has the image open and waits for commands. */
  async function useByQemuIo(args: string[]): Promise<ChildProcess> {
    const user = spawn(peer('qemu-io').path, [...args, path], { stdio: ['pipe', 'ignore', 'ignore'] })
    users.push(user)
    await vi.waitFor(() => expect(lockedBy(user)).not.toEqual([]), 10_000)
    return user
  }

  async function leave(user: ChildProcess): Promise<void> {
    if (user.exitCode !== null || user.signalCode !== null) return
    const ended = new Promise((resolve) => user.once('exit', resolve))
    user.stdin?.end()
    await ended
  }

  function lockedBy(user: ChildProcess): number[] {
    const bytes: number[] = []
    for (const fd of readdirSync(`/proc/${user.pid}/fdinfo`)) {
      const text = readFileSync(`/proc/${user.pid}/fdinfo/${fd}`, 'utf8')
      for (const [, first, last] of text.matchAll(/^lock:.* (\d+) (\d+)$/gm)) {
        for (let byte = Number(first); byte <= Number(last); byte++) bytes.push(byte)
      }
    }
    return bytes.sort((a, b) => a - b)
  }

  it('a format image that qemu-io writes to takes the bytes we take for the same permissions', async () => {
    peer('qemu-img').check(['create', '-q', '-f', 'qcow2', path, '1M'])
    const user = await useByQemuIo(['-f', 'qcow2'])
    const theirs = lockedBy(user)
    await leave(user)
    const disk = await openImage()
    await take(disk, READ_WRITE | BLK_PERM_RESIZE, NO_WRITERS)
    const ours: number[] = []
    for (const [, first, last] of readFileSync(`/proc/self/fdinfo/${disk.state.descriptor.number}`, 'utf8').matchAll(
      /^lock:.* (\d+) (\d+)$/gm,
    )) {
      for (let byte = Number(first); byte <= Number(last); byte++) ours.push(byte)
    }
    expect(ours).toEqual(theirs)
  })

  it('we refuse what qemu-io does not share, and name it', async () => {
    peer('qemu-img').check(['create', '-q', '-f', 'qcow2', path, '1M'])
    const user = await useByQemuIo(['-f', 'qcow2'])
    const disk = await openImage()
    const write = await failure(() => take(disk, READ_WRITE, BLK_PERM_ALL))
    expect([write.code, write.message]).toEqual(['EAGAIN', 'disk: Failed to get "write" lock'])
    expect(write.hint).toBe(
      `Is another process using the image [${path}]? 'qemu-io' (process ${user.pid}) uses consistent-read, write, resize and does not share write, resize.`,
    )
    const alone = await failure(() => take(disk, BLK_PERM_CONSISTENT_READ, NO_WRITERS))
    expect(alone.message).toBe('disk: Failed to get shared "write" lock')
    // Who shares everything may look, as with force-share.
    await take(disk, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL)
    await leave(user)
    await take(disk, READ_WRITE, NO_WRITERS)
  })

  it('the tools refuse what we do not share', async () => {
    peer('qemu-img').check(['create', '-q', '-f', 'qcow2', path, '1M'])
    const disk = await openImage()
    await take(disk, READ_WRITE, NO_WRITERS)
    const info = peer('qemu-img').run(['info', path])
    expect(info.status).toBe(1)
    expect(info.stderr).toContain('Failed to get shared "write" lock')
    const write = peer('qemu-io').run(['-f', 'qcow2', '-c', 'write 0 512', path])
    expect(write.stderr).toContain('Failed to get "write" lock')
    const create = peer('qemu-img').run(['create', '-f', 'raw', path, '2M'])
    expect(create.stderr).toContain('Failed to get "write" lock')
    expect(peer('qemu-img').run(['info', '-U', path]).status).toBe(0)
    await take(disk, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL)
    expect(peer('qemu-io').run(['-f', 'qcow2', '-c', 'write 0 512', path]).status).toBe(0)
  })

  it('both may use an image that each shares', async () => {
    peer('qemu-img').check(['create', '-q', '-f', 'raw', path, '1M'])
    await useByQemuIo(['-f', 'raw'])
    const disk = await openImage()
    await take(disk, READ_WRITE, BLK_PERM_ALL)
    expect(peer('qemu-io').run(['-f', 'raw', '-c', 'write -P 7 0 512', path]).status).toBe(0)
    const into = new Uint8Array(512)
    await disk.io.read(0, into, 0)
    expect(into.every((byte) => byte === 7)).toBe(true)
  })

  it('an image in use is not emptied by making it anew', async () => {
    peer('qemu-img').check(['create', '-q', '-f', 'qcow2', path, '1M'])
    const before = readFileSync(path)
    const user = await useByQemuIo(['-f', 'qcow2'])
    const options = { size: 4096, preallocation: 'off', nocow: false, extent_size_hint: 0 } as const
    const error = await failure(() => createImageFile(nodeFilePlatform, path, options))
    expect([error.code, error.hint]).toEqual(['EAGAIN', expect.stringContaining(`(process ${user.pid})`)])
    expect(readFileSync(path)).toEqual(before)
  })
})
