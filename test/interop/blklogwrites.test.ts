// Our blklogwrites against QEMU's: the same requests leave the same log, byte by byte, and each goes on behind the other's entries.

import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { BDRV_REQ_FUA, BDRV_REQ_MAY_UNMAP } from '../../src/common/request.js'
import { fileDriver } from '../../src/drivers/file/index.js'
import type { BlockBackend } from '../../src/global-state/backend.js'
import { readWriteLog, replayWriteLog } from '../../src/testing/crash/write-log.js'
import { ChunkStore, contentOf, storageOf } from '../../src/testing/storage/memory-storage.js'
import { openRig } from '../support/driver-rig.js'
import { peer } from '../support/peers.js'

const SIZE = 262_144

type Step =
  | { do: 'write'; offset: number; bytes: number; value: number; fua?: true }
  | { do: 'zero'; offset: number; bytes: number; unmap: boolean }
  | { do: 'discard'; offset: number; bytes: number }
  | { do: 'read'; offset: number; bytes: number }
  | { do: 'flush' }

const STEPS: readonly Step[] = [
  { do: 'write', offset: 0, bytes: 512, value: 1 },
  { do: 'write', offset: 4096, bytes: 65_536, value: 2 },
  { do: 'flush' },
  { do: 'flush' },
  { do: 'read', offset: 0, bytes: 4096 },
  { do: 'zero', offset: 8192, bytes: 8192, unmap: false },
  { do: 'zero', offset: 32_768, bytes: 4096, unmap: true },
  { do: 'write', offset: 100, bytes: 5000, value: 3 },
  { do: 'discard', offset: 65_536, bytes: 131_072 },
  { do: 'discard', offset: 4096, bytes: 4096 },
  { do: 'write', offset: SIZE - 4096, bytes: 4096, value: 4 },
  { do: 'flush' },
  { do: 'write', offset: 8192, bytes: 4096, value: 5 },
  { do: 'write', offset: 12_288, bytes: 4096, value: 6, fua: true },
  { do: 'write', offset: 16_384, bytes: 1, value: 7 },
]

function commandOf(step: Step): string {
  switch (step.do) {
    case 'write':
      return `write ${step.fua === true ? '-f ' : ''}-P ${step.value} ${step.offset} ${step.bytes}`
    case 'zero':
      return `write -z ${step.unmap ? '-u ' : ''}${step.offset} ${step.bytes}`
    case 'flush':
      return 'flush'
    default:
      return `${step.do} ${step.offset} ${step.bytes}`
  }
}

async function perform(backend: BlockBackend, step: Step): Promise<void> {
  switch (step.do) {
    case 'write': {
      const data = new Uint8Array(step.bytes).fill(step.value)
      return await backend.write(step.offset, data, { flags: step.fua === true ? BDRV_REQ_FUA : 0 })
    }
    case 'zero':
      return await backend.writeZeroes(step.offset, step.bytes, { flags: step.unmap ? BDRV_REQ_MAY_UNMAP : 0 })
    case 'discard':
      return await backend.discard(step.offset, step.bytes)
    case 'read':
      return await backend.read(step.offset, new Uint8Array(step.bytes))
    case 'flush':
      return await backend.flush()
  }
}

describe("blklogwrites and QEMU's", () => {
  let folder = ''
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'blockgraph-log-'))
  })
  afterEach(() => rmSync(folder, { recursive: true, force: true }))

  const path = (name: string) => join(folder, name)
  const files = (name: string) => {
    writeFileSync(path(`${name}.img`), '')
    truncateSync(path(`${name}.img`), SIZE)
    writeFileSync(path(`${name}.log`), '')
  }

  async function ours(name: string, steps: readonly Step[], options: Record<string, unknown>): Promise<void> {
    const { backend, close } = await openRig(
      {
        driver: 'blklogwrites',
        file: { driver: 'file', filename: path(`${name}.img`) },
        log: { driver: 'file', filename: path(`${name}.log`) },
        ...options,
      },
      { drivers: [fileDriver] },
    )
    for (const step of steps) await perform(backend, step)
    await close()
  }

  function theirs(name: string, steps: readonly Step[], options: Record<string, unknown>): void {
    const image = [
      'driver=blklogwrites,discard=unmap,file.driver=file,file.discard=unmap,log.driver=file',
      `file.filename=${path(`${name}.img`)},log.filename=${path(`${name}.log`)}`,
      ...Object.entries(options).map(([key, value]) => `${key}=${value === true ? 'on' : String(value)}`),
    ].join(',')
    const commands = steps.flatMap((step) => ['-c', commandOf(step)])
    peer('qemu-io').check(['-t', 'writeback', '--image-opts', image, ...commands])
  }

  const log = (name: string) => readFileSync(path(`${name}.log`))

  it.each([
    {},
    { 'log-sector-size': 4096 },
    { 'log-sector-size': 1024, 'log-super-update-interval': 3 },
    { 'log-super-update-interval': 1 },
  ])('the same log for the same requests, %j', async (options) => {
    files('ours')
    files('theirs')
    await ours('ours', STEPS, options)
    theirs('theirs', STEPS, options)
    expect(log('ours').length).toBe(log('theirs').length)
    expect(Buffer.compare(log('ours'), log('theirs'))).toBe(0)
    expect(Buffer.compare(readFileSync(path('ours.img')), readFileSync(path('theirs.img')))).toBe(0)
  })

  it('each goes on behind the entries of the other', async () => {
    files('one')
    files('two')
    const append = { 'log-append': true }
    await ours('one', STEPS.slice(0, 6), { 'log-sector-size': 2048 })
    theirs('one', STEPS.slice(6), append)
    theirs('two', STEPS.slice(0, 6), { 'log-sector-size': 2048 })
    await ours('two', STEPS.slice(6), append)
    expect(Buffer.compare(log('one'), log('two'))).toBe(0)
  })

  it('their log replays to their disk', () => {
    files('theirs')
    theirs('theirs', STEPS, {})
    const disk = new ChunkStore(SIZE)
    replayWriteLog(readWriteLog(storageOf(log('theirs'))), disk)
    const image = readFileSync(path('theirs.img'))
    // Discards need not give zeroes: compare what was written after them.
    const untouched = (offset: number) => offset < 65_536 || offset >= 65_536 + 131_072
    const content = contentOf(disk)
    for (let at = 8192; at < SIZE; at += 512) {
      if (untouched(at)) expect(Buffer.compare(content.subarray(at, at + 512), image.subarray(at, at + 512))).toBe(0)
    }
  })
})
