// Every call of a disk takes a signal: ECANCELED at once where it is aborted already, or aborts while the request is held.

import { describe, expect, it } from 'vitest'
import type { Disk, DiskCall } from '../../../src/disk/disk.js'
import { openDiskWith } from '../../../src/disk/open-disk.js'
import { readableStream, writableStream } from '../../../src/disk/web-streams.js'
import { builtinDrivers } from '../../../src/drivers/index.js'
import { withDrained } from '../../../src/io/drained.js'
import { settleMicrotasks } from '../../../src/testing/virtual-clock.js'
import { controlledDisk, counting, memoryDisk, refusal } from '../../support/disks.js'

const calls: [string, (disk: Disk, call: DiskCall) => Promise<unknown>][] = [
  ['read', (disk, call) => disk.read(0, 16, call)],
  ['write', (disk, call) => disk.write(0, counting(16), call)],
  ['writeZeroes', (disk, call) => disk.writeZeroes(0, 16, call)],
  ['discard', (disk, call) => disk.discard(0, 4096, call)],
  ['flush', (disk, call) => disk.flush(call)],
  ['resize', (disk, call) => disk.resize(8192, call)],
  ['blockStatus', (disk, call) => disk.blockStatus(0, 4096, call).next()],
  ['a readable stream', (disk, call) => readableStream(disk, call).getReader().read()],
  ['a writable stream', (disk, call) => writableStream(disk, call).getWriter().write(counting(16))],
]

describe.each(calls)('%s', (_name, call) => {
  it('does nothing with a signal that is aborted already', async () => {
    await using disk = await memoryDisk(4096)
    await disk.write(0, counting(4096))
    expect(await refusal(call(disk, { signal: AbortSignal.abort() }))).toMatchObject({ code: 'ECANCELED' })
    expect(disk.size).toBe(4096)
    expect(await disk.read(0, 4096)).toEqual(counting(4096))
  })

  it('ends at once when its signal aborts while a drained section holds it', async () => {
    await using disk = await memoryDisk(4096)
    const controller = new AbortController()
    await withDrained([disk.node], async () => {
      const outcome = refusal(call(disk, { signal: controller.signal }))
      await settleMicrotasks()
      expect(disk.backend.root.held.size).toBe(1)
      controller.abort()
      expect(await outcome).toMatchObject({ code: 'ECANCELED' })
      expect(disk.backend.root.held.size).toBe(0)
    })
  })

  it('is done once the section that held it ends', async () => {
    await using disk = await memoryDisk(4096)
    let outcome: Promise<unknown> = Promise.resolve()
    await withDrained([disk.node], async () => {
      outcome = call(disk, { signal: new AbortController().signal })
      await settleMicrotasks()
    })
    await outcome
  })
})

describe('a signal', () => {
  it('is a hint once the driver is at work: the promise settles when the buffer is free', async () => {
    const { disk, controller } = await controlledDisk(4096)
    const abort = new AbortController()
    let settled = false
    const writing = disk.write(0, counting(512), { signal: abort.signal }).finally(() => {
      settled = true
    })
    await controller.waitFor(1)
    abort.abort()
    await settleMicrotasks()
    expect(settled).toBe(false)
    controller.releaseAll()
    await Promise.allSettled([writing])
    expect(settled).toBe(true)
    controller.open = true
    await disk.close()
  })

  it('ends the opening of a disk', async () => {
    const signal = AbortSignal.abort()
    const opening = openDiskWith(builtinDrivers, { driver: 'memory', size: 4096 }, { signal })
    expect(await refusal(opening)).toMatchObject({ code: 'ECANCELED' })
  })

  it('serves many requests of one disk without a listener each', async () => {
    await using disk = await memoryDisk(4096)
    const controller = new AbortController()
    await withDrained([disk.node], async () => {
      const reads = Array.from({ length: 50 }, () => refusal(disk.read(0, 16, { signal: controller.signal })))
      await settleMicrotasks()
      controller.abort()
      for (const error of await Promise.all(reads)) expect(error.code).toBe('ECANCELED')
    })
  })
})
