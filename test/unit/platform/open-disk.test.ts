import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { withDrained } from '../../../src/io/drained.js'
import { loadNativeFileCalls } from '../../../src/platform/native/file-calls.js'
import { createGraph, openDisk } from '../../../src/platform/open-disk.js'
import { counting, refusal } from '../../support/disks.js'

const native = await loadNativeFileCalls()
const SIZE = 64 * 1024

let folder: string
let path: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'open-disk-'))
  path = join(folder, 'disk.img')
  writeFileSync(path, counting(SIZE))
})
afterEach(() => {
  expect(openFiles()).toEqual([])
  rmSync(folder, { recursive: true, force: true })
})

/** Descriptors of this process that lead into the folder of the test. */
function openFiles(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`)
      return target.startsWith(folder) ? [target] : []
    } catch {
      return []
    }
  })
}

/** Runs `fn` as somebody whom file modes bind; root is somebody else meanwhile. */
async function asPlainUser(fn: () => Promise<void>): Promise<void> {
  if (process.geteuid?.() !== 0) return fn()
  chmodSync(folder, 0o755)
  process.seteuid?.(65534)
  try {
    await fn()
  } finally {
    process.seteuid?.(0)
  }
}

describe('a disk in a file', () => {
  it('is read and written, and what was written is in the file', async () => {
    {
      await using disk = await openDisk(path)
      expect(disk.size).toBe(SIZE)
      expect(await disk.read(100, 100)).toEqual(counting(100, 100))
      await disk.write(1, Uint8Array.of(9, 8, 7), { fua: true })
      await disk.resize(SIZE * 2)
    }
    expect([...readFileSync(path).subarray(0, 5)]).toEqual([1, 9, 8, 7, 5])
    expect(statSync(path).size).toBe(SIZE * 2)
  })

  it('may be opened read-only', async () => {
    await using disk = await openDisk(path, { readOnly: true })
    expect(await refusal(disk.write(0, counting(1)))).toMatchObject({ code: 'EPERM' })
    expect(await disk.read(0, 10)).toEqual(counting(10))
  })

  it('is found by a file: name and by options', async () => {
    for (const target of [
      { driver: 'file', filename: path },
      { driver: 'raw', 'file.filename': path },
    ]) {
      await using disk = await openDisk(target, { readOnly: true })
      expect(disk.size).toBe(SIZE)
    }
  })
})

describe('opening fails, with nothing left open, where', () => {
  it('there is no file', async () => {
    const error = await refusal(openDisk(join(folder, 'none.img')))
    expect(error).toMatchObject({ code: 'ENOENT', message: expect.stringContaining('none.img') })
  })

  it('the file is a folder', async () => {
    expect(await refusal(openDisk(folder))).toMatchObject({ code: 'EISDIR' })
  })

  it('the file may not be written', async () => {
    chmodSync(path, 0o444)
    await asPlainUser(async () => {
      expect(await refusal(openDisk(path))).toMatchObject({ code: 'EACCES' })
      await using disk = await openDisk(path, { readOnly: true })
      expect(disk.size).toBe(SIZE)
    })
  })

  it('an option is unknown or left over', async () => {
    const error = await refusal(openDisk(path, { options: { 'file.lokking': 'off' } }))
    expect(error).toMatchObject({ code: 'EINVAL', message: expect.stringMatching(/file.*lokking/) })
    expect(await refusal(openDisk(path, { options: { backing: 'x' } }))).toMatchObject({ code: 'EINVAL' })
  })

  it.skipIf(native === undefined)('somebody else has the image', async () => {
    await using disk = await openDisk(path)
    expect(await refusal(openDisk(path))).toMatchObject({ code: 'EAGAIN', hint: expect.stringContaining(path) })
    expect(await refusal(openDisk(path, { readOnly: true }))).toMatchObject({ code: 'EAGAIN' })
    await using reader = await openDisk(path, { readOnly: true, forceShare: true })
    await disk.write(0, Uint8Array.of(77))
    expect([...(await reader.read(0, 1))]).toEqual([77])
  })

  it('the backend cannot be had', async () => {
    const graph = createGraph()
    await using disk = await openDisk(path, { graph, name: 'vda' })
    const other = join(folder, 'other.img')
    writeFileSync(other, 'x')
    expect(await refusal(openDisk(other, { graph, name: 'vda' }))).toMatchObject({ code: 'EEXIST' })
    expect(openFiles()).toEqual([path])
    expect([...graph.nodes.values()]).toContain(disk.node)
  })
})

describe('the format', () => {
  it('is raw unless asked for, and guessed on request only', async () => {
    await using plain = await openDisk(path, { readOnly: true })
    expect(plain.node).toMatchObject({ driver: { name: 'raw' }, probed: false })
    await plain.close()
    await using guessed = await openDisk(path, { probe: true })
    expect(guessed.node).toMatchObject({ driver: { name: 'raw' }, probed: true })
    expect(await guessed.read(0, 10)).toEqual(counting(10))
  })

  it('is an error where no driver knows it', async () => {
    expect(await refusal(openDisk(path, { format: 'qcow7' }))).toMatchObject({
      code: 'EINVAL',
      message: expect.stringContaining('qcow7'),
    })
  })
})

describe('contextTracking', () => {
  it('turns a request from inside its own section into an error', async () => {
    await using disk = await openDisk({ driver: 'memory', size: 4096 }, { graphOptions: { contextTracking: true } })
    const error = await withDrained([disk.node], () => refusal(disk.read(0, 1)))
    expect(error).toMatchObject({ code: 'EDEADLK' })
  })
})
