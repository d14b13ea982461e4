import { readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { IoVector } from '../../../../src/common/io-vector.js'
import { BDRV_O_NOCACHE } from '../../../../src/common/open-flags.js'
import { nodeFilePlatform } from '../../../../src/drivers/file/platform.js'
import { POOL_AT_ONCE, POOL_BATCH } from '../../../../src/drivers/file/pool-batch.js'
import { alignedBuffer } from '../../../../src/platform/aligned-buffer.js'
import { nodeHostFile } from '../../../../src/platform/host-file.js'
import { failure, native, open, pattern, platforms, scratchFolder, withHost } from './support.js'

let folder: ReturnType<typeof scratchFolder>
let path: string
const content = pattern(200_000)

beforeEach(() => {
  folder = scratchFolder()
  path = folder.path('disk.img')
  writeFileSync(path, content)
})
afterEach(() => folder.remove())

function enospc(): Error {
  return Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
}

describe.each(platforms)('reading and writing %s', (_name, platform) => {
  it('reads at any offset into one buffer and into many', async () => {
    const disk = await open(path, { platform })
    const one = new Uint8Array(4097)
    await disk.io.read(12345, one, 0)
    expect(one).toEqual(content.slice(12345, 12345 + 4097))
    const parts = [new Uint8Array(3), new Uint8Array(0), new Uint8Array(5000), new Uint8Array(1)]
    await disk.io.read(777, new IoVector(parts), 0)
    expect(Buffer.concat(parts)).toEqual(Buffer.from(content.slice(777, 777 + 5004)))
    await disk.close()
  })

  it('reads into a view in the middle of shared memory and leaves its surroundings alone', async () => {
    const disk = await open(path, { platform })
    const memory = new SharedArrayBuffer(8192)
    const all = new Uint8Array(memory).fill(0xee)
    await disk.io.read(100, new Uint8Array(memory, 1000, 500), 0)
    expect(all.slice(1000, 1500)).toEqual(content.slice(100, 600))
    expect(all.slice(0, 1000).every((byte) => byte === 0xee)).toBe(true)
    expect(all.slice(1500).every((byte) => byte === 0xee)).toBe(true)
    await disk.close()
  })

  it('writes from one buffer and from more segments than one call takes', async () => {
    const disk = await open(path, { platform })
    const data = pattern(2500, 7)
    await disk.io.write?.(10, data, 0)
    await disk.io.write?.(50_000, new IoVector(Array.from(data, (byte) => new Uint8Array([byte]))), 0)
    const back = new Uint8Array(2500)
    await disk.io.read(50_000, new IoVector(Array.from(back, (_, i) => back.subarray(i, i + 1))), 0)
    await disk.close()
    const expected = Buffer.from(content)
    expected.set(data, 10)
    expected.set(data, 50_000)
    expect(readFileSync(path)).toEqual(expected)
    expect(back).toEqual(data)
  })

  it('fills a read up with zeroes where the file has shrunk, whatever was in the buffer', async () => {
    const disk = await open(path, { platform })
    truncateSync(path, 100_010)
    const one = new Uint8Array(100).fill(0xee)
    await disk.io.read(100_000, one, 0)
    expect(one.slice(0, 10)).toEqual(content.slice(100_000, 100_010))
    expect(one.slice(10).every((byte) => byte === 0)).toBe(true)
    const parts = [new Uint8Array(4).fill(0xee), new Uint8Array(90).fill(0xee)]
    await disk.io.read(100_005, new IoVector(parts), 0)
    expect(Buffer.concat(parts).subarray(0, 5)).toEqual(Buffer.from(content.slice(100_005, 100_010)))
    expect(
      Buffer.concat(parts)
        .subarray(5)
        .every((byte) => byte === 0),
    ).toBe(true)
    await disk.close()
  })

  it('serves many requests at once, each with its own data', async () => {
    const disk = await open(path, { platform })
    const buffers = Array.from({ length: 300 }, () => new Uint8Array(512))
    await Promise.all(buffers.map((buffer, i) => disk.io.read(i * 600, buffer, 0)))
    buffers.forEach((buffer, i) => {
      expect(buffer).toEqual(content.slice(i * 600, i * 600 + 512))
    })
    await disk.close()
  })

  it('hands requests over at once while few are under way, then in batches, none later than the end of the turn', async () => {
    const issued: number[] = []
    const counting = withHost(platform, {
      write: (fd, buffer, start, bytes, offset, done) => {
        issued.push(offset)
        nodeHostFile.write(fd, buffer, start, bytes, offset, done)
      },
    })
    const disk = await open(path, { platform: counting })
    const counts: number[] = []
    const writes = Array.from({ length: 2 * POOL_BATCH }, (_, i) => {
      // Apart from each other, so that each is a host call.
      const pending = disk.io.write?.(2 * i, new Uint8Array(1), 0)
      counts.push(issued.length)
      return pending
    })
    const batch = POOL_AT_ONCE + POOL_BATCH
    const expected = counts.map((_, i) => (i < POOL_AT_ONCE ? i + 1 : i < batch - 1 ? POOL_AT_ONCE : batch))
    expect(counts).toEqual(expected)
    await new Promise((resolve) => setImmediate(resolve))
    expect(issued).toEqual(writes.map((_, i) => 2 * i))
    await Promise.all(writes)
    await disk.close()
  })

  it('continues short transfers', async () => {
    const short = withHost(platform, {
      read: (fd, buffer, start, bytes, offset, done) =>
        nodeHostFile.read(fd, buffer, start, Math.min(bytes, 7), offset, done),
      write: (fd, buffer, start, bytes, offset, done) =>
        nodeHostFile.write(fd, buffer, start, Math.min(bytes, 9), offset, done),
      readv: (fd, [first], offset, done) =>
        nodeHostFile.read(fd, first as Uint8Array, 0, Math.min(first?.length ?? 0, 5), offset, done),
      writev: (fd, [first], offset, done) =>
        nodeHostFile.write(fd, first as Uint8Array, 0, Math.min(first?.length ?? 0, 5), offset, done),
    })
    const disk = await open(path, { platform: short, aio: 'threads' })
    const data = pattern(100, 3)
    await disk.io.write?.(1000, data, 0)
    await disk.io.write?.(2000, new IoVector([data.subarray(0, 33), data.subarray(33)]), 0)
    const one = new Uint8Array(100)
    const two = [new Uint8Array(12), new Uint8Array(88)]
    await disk.io.read(1000, one, 0)
    await disk.io.read(2000, new IoVector(two), 0)
    await disk.close()
    expect(one).toEqual(data)
    expect(Buffer.concat(two)).toEqual(Buffer.from(data))
  })

  it('tries a transfer again that a signal has interrupted', async () => {
    let interruptions = 2
    const interrupted = () => Object.assign(new Error('interrupted'), { code: 'EINTR' })
    const host = withHost(platform, {
      read: (fd, buffer, start, bytes, offset, done) => {
        if (interruptions-- > 0) queueMicrotask(() => done(interrupted(), 0))
        else nodeHostFile.read(fd, buffer, start, bytes, offset, done)
      },
    })
    const disk = await open(path, { platform: host, aio: 'threads' })
    const data = pattern(100, 3)
    await disk.io.write?.(1000, data, 0)
    const into = new Uint8Array(100)
    await disk.io.read(1000, into, 0)
    await disk.close()
    expect(into).toEqual(data)
    expect(interruptions).toBe(-1)
  })

  it('reports an error of the host with its code, the node and the operation, and goes on', async () => {
    let full = true
    const faulty = withHost(platform, {
      write: (fd, buffer, start, bytes, offset, done) => {
        if (full) queueMicrotask(() => done(enospc(), 0))
        else nodeHostFile.write(fd, buffer, start, bytes, offset, done)
      },
    })
    const disk = await open(path, { platform: faulty })
    const error = await failure(() => disk.io.write?.(0, new Uint8Array(10), 0))
    expect([error.code, error.node, error.op]).toEqual(['ENOSPC', 'disk', 'write'])
    expect(disk.state.descriptor.calls).toBe(0)
    full = false
    await disk.io.write?.(0, new Uint8Array(10), 0)
    await disk.close()
    expect(readFileSync(path).subarray(0, 10)).toEqual(Buffer.alloc(10))
  })

  it('takes a write of nothing and a host that throws for errors', async () => {
    const stuck = withHost(platform, {
      write: (_fd, _buffer, _start, _bytes, _offset, done) => queueMicrotask(() => done(null, 0)),
      writev: () => {
        throw Object.assign(new Error('bad'), { code: 'EBADF' })
      },
    })
    const disk = await open(path, { platform: stuck })
    expect((await failure(() => disk.io.write?.(0, new Uint8Array(10), 0))).code).toBe('EIO')
    expect(
      (await failure(() => disk.io.write?.(0, new IoVector([new Uint8Array(1), new Uint8Array(1)]), 0))).code,
    ).toBe('EBADF')
    await disk.close()
  })

  it('waits on close for calls under way and refuses new ones', async () => {
    let release = () => {}
    const events: string[] = []
    const slow = withHost(platform, {
      write: (fd, buffer, start, bytes, offset, done) => {
        release = () =>
          nodeHostFile.write(fd, buffer, start, bytes, offset, (error, written) => {
            events.push('written')
            done(error, written)
          })
      },
      close: async (fd) => {
        events.push('closed')
        await nodeHostFile.close(fd)
      },
    })
    const disk = await open(path, { platform: slow })
    const writing = disk.io.write?.(0, new Uint8Array(10), 0)
    const closing = disk.close()
    expect(() => disk.io.write?.(0, new Uint8Array(10), 0)).toThrow('closed descriptor')
    await new Promise((resolve) => setImmediate(resolve))
    expect(events).toEqual([])
    release()
    await writing
    await closing
    expect(events).toEqual(['written', 'closed'])
  })

  it('keeps failing to flush once a flush has failed', async () => {
    let broken = true
    const faulty = withHost(platform, {
      sync: (fd) =>
        broken ? Promise.reject(Object.assign(new Error('EIO: i/o error'), { code: 'EIO' })) : nodeHostFile.sync(fd),
    })
    const disk = await open(path, { platform: faulty })
    expect((await failure(() => disk.io.flush?.())).code).toBe('EIO')
    broken = false
    expect((await failure(() => disk.io.flush?.())).code).toBe('EIO')
    await disk.close()
    const fresh = await open(path, { platform })
    await fresh.io.flush?.()
    await fresh.close()
  })

  it('does direct I/O from memory of any alignment', async () => {
    writeFileSync(path, content.subarray(0, 196_608))
    const disk = await open(path, { platform, openFlags: BDRV_O_NOCACHE })
    const unit = disk.limits?.requestAlignment ?? 0
    expect(unit).toBeGreaterThanOrEqual(512)
    const data = pattern(2 * 1024 * 1024 + 8192, 5)
    const odd = new Uint8Array(data.byteLength + 1).subarray(1)
    odd.set(data)
    await disk.io.write?.(8192, odd, 0)
    const back = new Uint8Array(data.byteLength + 3).subarray(3)
    await disk.io.read(8192, back, 0)
    expect(Buffer.compare(back, data)).toBe(0)
    const direct = alignedBuffer(8192)
    await disk.io.read(8192, direct, 0)
    expect(direct).toEqual(data.slice(0, 8192))
    const halves = new IoVector([new Uint8Array(5000), new Uint8Array(3192)])
    await disk.io.read(8192, halves, 0)
    expect(Buffer.concat(halves.buffers)).toEqual(Buffer.from(data.slice(0, 8192)))
    await disk.close()
  })

  it('zero-fills the last block of a direct read from a file of odd length', async () => {
    writeFileSync(path, content.subarray(0, 5000))
    const disk = await open(path, { platform, openFlags: BDRV_O_NOCACHE })
    const into = alignedBuffer(8192).fill(0xee)
    await disk.io.read(0, into, 0)
    expect(into.slice(0, 5000)).toEqual(content.slice(0, 5000))
    expect(into.slice(5000).every((byte) => byte === 0)).toBe(true)
    await disk.close()
  })
})

describe.skipIf(native === undefined)('cached reads', () => {
  it('complete at once where the host has the data, and not with aio=threads', async () => {
    const disk = await open(path, { platform: nodeFilePlatform })
    const into = new Uint8Array(4096)
    expect(disk.io.read(4096, into, 0)).toBeUndefined()
    expect(into).toEqual(content.slice(4096, 8192))
    const parts = [new Uint8Array(100), new Uint8Array(200)]
    expect(disk.io.read(0, new IoVector(parts), 0)).toBeUndefined()
    expect(Buffer.concat(parts)).toEqual(Buffer.from(content.slice(0, 300)))
    await disk.close()
    const pool = await open(path, {
      platform: nodeFilePlatform,
      aio: 'threads',
    })
    const pending = pool.io.read(4096, into, 0)
    expect(pending).toBeInstanceOf(Promise)
    await pending
    await pool.close()
  })
})

describe.skipIf(native === undefined)('writes with aio=inline', () => {
  const EXT4 = 0xef53
  const NFS = 0x6969
  const onFileSystem = (type: number) => withHost(nodeFilePlatform, { fileSystemType: () => Promise.resolve(type) })
  const local = onFileSystem(EXT4)

  it('complete at once, from one buffer or many, and others by the pool', async () => {
    const disk = await open(path, { platform: local, aio: 'inline' })
    const data = pattern(8192, 3)
    expect(disk.io.write?.(4096, data, 0)).toBeUndefined()
    const parts = [data.subarray(0, 100), data.subarray(100, 4096)]
    expect(disk.io.write?.(65536, new IoVector(parts), 0)).toBeUndefined()
    const odd = disk.io.write?.(100_000, data.subarray(0, 512), 0)
    expect(odd).toBeInstanceOf(Promise)
    await odd
    await disk.close()
    const expected = Buffer.from(content)
    expected.set(data, 4096)
    expected.set(data.subarray(0, 4096), 65536)
    expected.set(data.subarray(0, 512), 100_000)
    expect(readFileSync(path)).toEqual(expected)
  })

  it('go to the pool where the file is elsewhere, the cache is bypassed, or it was not asked for', async () => {
    const data = alignedBuffer(4096)
    for (const wishes of [
      { platform: onFileSystem(NFS), aio: 'inline' },
      {
        platform: withHost(nodeFilePlatform, { fileSystemType: () => Promise.reject(new Error('no')) }),
        aio: 'inline',
      },
      { platform: local, aio: 'inline', openFlags: BDRV_O_NOCACHE },
      { platform: local, aio: 'auto' },
      { platform: local, aio: 'io_uring' },
      { platform: local, aio: 'threads' },
      { platform: local, aio: 'inline', native: false },
    ] as const) {
      const disk = await open(path, wishes)
      const pending = disk.io.write?.(4096, data, 0)
      expect(pending).toBeInstanceOf(Promise)
      await pending
      await disk.close()
    }
  })

  it('do not wait for a flush', async () => {
    let end: () => void = () => {}
    const sync = () => new Promise<void>((resolve) => (end = resolve))
    const disk = await open(path, { platform: withHost(local, { sync }), aio: 'inline' })
    const data = pattern(4096, 5)
    const flush = disk.io.flush?.()
    const pending = disk.io.write?.(0, data, 0)
    expect(pending).toBeInstanceOf(Promise)
    await pending
    end()
    await flush
    expect(disk.io.write?.(0, data, 0)).toBeUndefined()
    await disk.close()
  })

  it('are ended by the pool where the host took a part, and fail with its error', async () => {
    const calls = await nodeFilePlatform.native()
    if (calls === undefined) throw new Error('no native calls')
    const part = { ...local, native: () => Promise.resolve({ ...calls, writeCached: partly }) }
    function partly(fd: number, data: Uint8Array | IoVector, offset: number): number {
      if (!(data instanceof Uint8Array)) return 0
      return calls?.writeCached(fd, data.subarray(0, 4096), offset) ?? 0
    }
    const disk = await open(path, { platform: part, aio: 'inline' })
    const data = pattern(12288, 9)
    await disk.io.write?.(4096, data, 0)
    await disk.close()
    expect(readFileSync(path).subarray(4096, 16384)).toEqual(Buffer.from(data))
    const full = withHost(part, { write: (_fd, _buffer, _start, _bytes, _offset, done) => done(enospc(), 0) })
    const failing = await open(path, { platform: full, aio: 'inline' })
    expect(await failure(() => failing.io.write?.(4096, data, 0))).toMatchObject({ code: 'ENOSPC', node: 'disk' })
    await failing.close()
  })
})
