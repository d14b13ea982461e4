import { describe, expect, it } from 'vitest'
import { BDRV_REQ_FUA } from '../../../../src/common/request.js'
import { blklogwritesDriver } from '../../../../src/drivers/index.js'
import { readWriteLog, replayWriteLog } from '../../../../src/testing/crash/write-log.js'
import { Controller, controlledDriver } from '../../../../src/testing/storage/controlled.js'
import { FaultPlan, faultDriver } from '../../../../src/testing/storage/faults.js'
import { ChunkStore, contentOf, storageDriver } from '../../../../src/testing/storage/memory-storage.js'
import { settleMicrotasks } from '../../../../src/testing/virtual-clock.js'
import { codeOf, openRig } from '../../../support/driver-rig.js'

const SIZE = 65_536
const fill = (bytes: number, value: number) => new Uint8Array(bytes).fill(value)

class Bench {
  readonly disk = new ChunkStore(SIZE)
  readonly log = new ChunkStore(0)
  readonly plan = new FaultPlan()
  readonly controller = new Controller()

  open(options: Record<string, unknown> = {}) {
    this.controller.open = true
    return openRig(
      {
        driver: 'blklogwrites',
        'node-name': 'logged',
        file: { driver: 'fault', file: { driver: 'disk' } },
        log: { driver: 'log' },
        ...options,
      },
      {
        drivers: [
          controlledDriver(this.controller, 'disk', this.disk),
          storageDriver(this.log, 'log'),
          faultDriver(this.plan),
        ],
      },
    )
  }

  kinds(): string[] {
    return readWriteLog(this.log).map((change) =>
      change.kind === 'write'
        ? `write ${change.offset}+${change.data.byteLength}`
        : change.kind === 'discard'
          ? `discard ${change.offset}+${change.bytes}`
          : change.kind,
    )
  }

  /** Entries the super block counts. */
  counted(): number {
    const raw = new Uint8Array(28)
    this.log.read(0, raw)
    return Number(new DataView(raw.buffer).getBigUint64(16, true))
  }
}

describe('blklogwrites', () => {
  it('logs writes, zeroes, discards and flushes in order, and nothing else', async () => {
    const bench = new Bench()
    const { backend, close } = await bench.open()
    await backend.write(512, fill(1024, 1))
    await backend.read(0, new Uint8Array(4096))
    await backend.writeZeroes(4096, 4096)
    await backend.discard(0, 8192)
    await backend.flush()
    await backend.flush()
    await backend.write(0, fill(512, 2), { flags: BDRV_REQ_FUA })
    await backend.flush()
    await close()
    expect(bench.kinds()).toEqual([
      'write 512+1024',
      'write 4096+4096',
      'discard 0+8192',
      'flush',
      'write 0+512',
      'flush',
      'flush',
    ])
    expect(bench.log.length).toBe(512 + (512 + 1024) + (512 + 4096) + 512 + 512 + (512 + 512) + 512 + 512)
  })

  it('has a log that replays to the same disk, and to every moment before', async () => {
    const bench = new Bench()
    const { backend, close } = await bench.open({ 'log-sector-size': 1024 })
    await backend.write(100, fill(3000, 1))
    await backend.write(2000, fill(5, 2))
    await backend.writeZeroes(0, 512)
    await close()
    const replayed = (count?: number) => {
      const disk = new ChunkStore(SIZE)
      replayWriteLog(readWriteLog(bench.log), disk, count)
      return contentOf(disk)
    }
    expect(Buffer.compare(replayed(), contentOf(bench.disk))).toBe(0)
    expect(replayed(1).subarray(99, 3101)).toEqual(new Uint8Array([0, ...fill(3000, 1), 0]))
    expect(replayed(2)[2000]).toBe(2)
    expect(replayed(0).every((byte) => byte === 0)).toBe(true)
  })

  it('writes the super block by a flush and after so many entries, and not before there is an entry', async () => {
    const bench = new Bench()
    const { backend, close } = await bench.open({ 'log-super-update-interval': 2 })
    const counts = [bench.counted()]
    for (let index = 0; index < 3; index++) {
      await backend.write(0, fill(512, index))
      counts.push(bench.counted())
    }
    await backend.flush()
    counts.push(bench.counted())
    await close()
    expect(counts).toEqual([0, 0, 2, 2, 4])
  })

  it('goes on behind the entries of a log, with its sector size', async () => {
    const bench = new Bench()
    const first = await bench.open({ 'log-sector-size': 4096 })
    await first.backend.write(0, fill(4096, 1))
    await first.close()
    const second = await bench.open({ 'log-append': true })
    expect(second.node.state.limits.requestAlignment).toBe(4096)
    await second.backend.write(8192, fill(4096, 2))
    await second.close()
    expect(bench.kinds()).toEqual(['write 0+4096', 'flush', 'write 8192+4096', 'flush'])
    const third = await bench.open()
    await third.backend.write(512, fill(512, 3))
    await third.close()
    expect(bench.kinds()).toEqual(['write 512+512', 'flush'])
  })

  it('begins anew where the log it appends to is empty', async () => {
    const bench = new Bench()
    const { backend, close } = await bench.open({ 'log-append': true })
    await backend.write(0, fill(512, 1))
    await close()
    expect(bench.kinds()).toEqual(['write 0+512', 'flush'])
  })

  it('passes its length on when the disk changes it', async () => {
    const bench = new Bench()
    const { backend, close } = await bench.open()
    await backend.truncate(8192)
    expect([bench.disk.length, bench.log.length]).toEqual([8192, 0])
    await close()
  })

  it('leaves alone a discard that is no whole sector', async () => {
    const bench = new Bench()
    const { backend, close } = await bench.open({ 'log-sector-size': 4096 })
    await backend.discard(512, 8192)
    await close()
    expect(bench.kinds()).toEqual(['discard 4096+4096', 'flush'])
  })
})

describe('a blklogwrites node whose children fail', () => {
  it('logs a write that failed, since part of it may be there', async () => {
    const bench = new Bench()
    const { backend, close } = await bench.open()
    bench.plan.add({ on: 'write', fail: 'EIO' })
    expect(await codeOf(() => backend.write(0, fill(512, 1)))).toBe('EIO')
    await backend.flush()
    await close()
    expect(bench.kinds()).toEqual(['write 0+512', 'flush'])
  })

  it('does not log a flush that failed', async () => {
    const bench = new Bench()
    const { backend, close } = await bench.open()
    bench.plan.add({ on: 'flush', fail: 'EIO' })
    await backend.write(0, fill(512, 1))
    expect(await codeOf(() => backend.flush())).toBe('EIO')
    await backend.write(512, fill(512, 1))
    await backend.flush()
    await close()
    expect(bench.kinds()).toEqual(['write 0+512', 'write 512+512', 'flush'])
  })

  it('changes nothing more once the log has a hole', async () => {
    const plan = new FaultPlan()
    const disk = new ChunkStore(SIZE)
    const { backend, close } = await openRig(
      { driver: 'blklogwrites', file: { driver: 'disk' }, log: { driver: 'fault', file: { driver: 'memory' } } },
      { drivers: [storageDriver(disk, 'disk'), faultDriver(plan)] },
    )
    plan.add({ on: 'write', fail: 'ENOSPC' })
    expect(await codeOf(() => backend.write(0, fill(512, 1)))).toBe('ENOSPC')
    expect(await codeOf(() => backend.write(512, fill(512, 1)))).toBe('EIO')
    expect(await codeOf(() => backend.discard(0, 512))).toBe('EIO')
    expect(await codeOf(() => backend.flush())).toBe('EIO')
    const into = new Uint8Array(1024)
    await backend.read(0, into)
    expect([into[0], into[512]]).toEqual([1, 0])
    expect(await codeOf(close)).toBe('EIO')
  })
})

describe('the order of a write log', () => {
  it('is that of completion, and a flush stands before what completes while it runs', async () => {
    const bench = new Bench()
    const { backend, close } = await bench.open()
    const { controller } = bench
    controller.open = false
    const first = backend.write(0, fill(512, 1))
    const second = backend.write(512, fill(512, 2))
    await controller.waitFor(2)
    controller.pending[1]?.release()
    await second
    const flushed = backend.flush()
    await settleMicrotasks()
    expect(controller.pending.map(({ kind }) => kind)).toEqual(['write', 'flush'])
    controller.pending[0]?.release()
    await settleMicrotasks()
    controller.open = true
    controller.releaseAll()
    for (const pending of [first, flushed]) await pending
    await close()
    expect(bench.kinds()).toEqual(['write 512+512', 'flush', 'write 0+512', 'flush'])
  })
})

describe('a blklogwrites node that cannot be opened', () => {
  const openError = async (options: Record<string, unknown>, content?: (log: ChunkStore) => void) => {
    const bench = new Bench()
    content?.(bench.log)
    let message = ''
    const code = await codeOf(async () => {
      try {
        await bench.open(options)
      } catch (error) {
        message = (error as Error).message
        throw error
      }
    })
    return [code, message]
  }

  it.each([
    [{ 'log-sector-size': 1000 }, 'invalid log sector size 1000'],
    [{ 'log-sector-size': 16 }, 'invalid log sector size 16'],
    [{ 'log-sector-size': '16M' }, 'invalid log sector size 16777216'],
    [{ 'log-sector-size': 512, 'log-append': true }, 'log-append and log-sector-size are mutually exclusive'],
    [{ 'log-super-update-interval': 0 }, 'takes a whole number from 1 to 4294967295'],
    [{ log: null }, "needs a child 'log'"],
  ])('%j', async (options, message) => {
    expect(await openError(options)).toEqual(['EINVAL', expect.stringContaining(message)])
  })

  const withSuper = (change: (view: DataView) => void, length = 4096) => {
    return (log: ChunkStore) => {
      const raw = new Uint8Array(length)
      const view = new DataView(raw.buffer)
      view.setBigUint64(0, 0x6a736677736872n, true)
      view.setBigUint64(8, 1n, true)
      view.setUint32(24, 512, true)
      change(view)
      log.resize(length)
      log.write(0, raw)
    }
  }

  it.each<[string, (log: ChunkStore) => void, string, string]>([
    ['no log', withSuper((view) => view.setUint32(0, 1)), 'EINVAL', 'invalid magic'],
    ['another version', withSuper((view) => view.setUint32(8, 2, true)), 'EINVAL', 'unsupported log version 2'],
    ['a version beyond all', withSuper((view) => view.setBigUint64(8, 2n ** 63n)), 'EINVAL', 'unsupported log version'],
    ['sectors of 0 bytes', withSuper((view) => view.setUint32(24, 0)), 'EINVAL', 'invalid log sector size 0'],
    ['sectors of 3 bytes', withSuper((view) => view.setUint32(24, 3, true)), 'EINVAL', 'invalid log sector size 3'],
    ['2^64-1 entries', withSuper((view) => view.setBigUint64(16, 2n ** 64n - 1n)), 'EINVAL', 'number of log entries'],
    ['2^40 entries', withSuper((view) => view.setBigUint64(16, 2n ** 40n, true)), 'EFBIG', 'entries is not continued'],
    [
      'more entries than bytes',
      withSuper((view) => view.setUint32(16, 8, true)),
      'EINVAL',
      'ends before its last entry',
    ],
    [
      'data longer than the log',
      withSuper((view) => {
        view.setUint32(16, 1, true)
        view.setUint32(520, 7, true)
      }),
      'EINVAL',
      'ends inside its entry 0',
    ],
    [
      'a range beyond everything',
      withSuper((view) => {
        view.setUint32(16, 1, true)
        view.setBigUint64(520, 2n ** 52n, true)
      }),
      'EINVAL',
      'a range that cannot be',
    ],
    ['a log cut in its super block', (log) => log.resize(20), 'EINVAL', 'ends before'],
  ])('%s', async (_name, content, code, message) => {
    expect(await openError({ 'log-append': true }, content)).toEqual([code, expect.stringContaining(message)])
  })

  it('says which options it has', () => {
    expect(Object.keys(blklogwritesDriver.options)).toEqual([
      'log-sector-size',
      'log-append',
      'log-super-update-interval',
    ])
  })
})
