import { once } from 'node:events'
import { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { NodeDisk } from '../../../src/platform/node-disk.js'
import { createGraph, nodeDrivers, openDisk } from '../../../src/platform/open-disk.js'
import { Controller, controlledDriver } from '../../../src/testing/storage/controlled.js'
import { settleMicrotasks } from '../../../src/testing/virtual-clock.js'
import { counting, refusal } from '../../support/disks.js'

const SIZE = 10_000

let disk: NodeDisk
let controller: Controller
/** A disk whose requests wait for the test. */
let slow: NodeDisk

beforeEach(async () => {
  disk = await openDisk({ driver: 'memory', size: SIZE })
  await disk.write(0, counting(SIZE))
  controller = new Controller()
  const graph = createGraph({ drivers: [...nodeDrivers, controlledDriver(controller)] })
  slow = await openDisk({ driver: 'controlled', size: 65536 }, { graph })
})
afterEach(async () => {
  controller.open = true
  controller.releaseAll()
  await slow.close()
  await disk.close()
})

describe('a Node read stream', () => {
  it('gives a range in chunks', async () => {
    const chunks: Buffer[] = []
    for await (const chunk of disk.createReadStream({ start: 10, end: 2510, chunkSize: 1000 })) chunks.push(chunk)
    expect(chunks.map((chunk) => chunk.length)).toEqual([1000, 1000, 500])
    expect(new Uint8Array(Buffer.concat(chunks))).toEqual(counting(2500, 10))
  })

  it('of nothing ends at once', async () => {
    expect(await disk.createReadStream({ start: 7, end: 7 }).toArray()).toEqual([])
  })

  it('reads ahead no further than one chunk that nobody takes', async () => {
    const stream = slow.createReadStream({ chunkSize: 1000 })
    stream.once('readable', () => {})
    await controller.waitFor(1)
    controller.releaseAll()
    await once(stream, 'readable')
    await settleMicrotasks()
    expect(controller.pending).toHaveLength(0)
    expect(stream.readableLength).toBe(1000)
    stream.destroy()
  })

  it('destroyed while a read is on its way ends without a chunk or an error', async () => {
    const stream = slow.createReadStream()
    const seen: string[] = []
    stream.on('data', () => seen.push('data')).on('error', () => seen.push('error'))
    await controller.waitFor(1)
    stream.destroy()
    controller.releaseAll()
    await once(stream, 'close')
    await settleMicrotasks()
    expect(seen).toEqual([])
    expect(slow.backend.accounting.read.operations).toBe(1)
  })

  it('fails with the error of the read', async () => {
    const collecting = refusal(slow.createReadStream().toArray())
    await controller.waitFor(1)
    controller.pending[0]?.fail('EIO')
    expect(await collecting).toMatchObject({ code: 'EIO' })
  })

  it('refuses a range outside the disk', () => {
    expect(() => disk.createReadStream({ end: SIZE + 1 })).toThrow(expect.objectContaining({ code: 'EINVAL' }))
    expect(() => disk.createWriteStream({ start: -1 })).toThrow(expect.objectContaining({ code: 'EINVAL' }))
  })
})

describe('a Node write stream', () => {
  it('writes what comes, strings too, and flushes before it finishes', async () => {
    const flushes = () => disk.backend.accounting.flush.operations
    const stream = disk.createWriteStream({ start: 100 })
    stream.write(Buffer.from([1, 2, 3]))
    stream.end('abc')
    await once(stream, 'finish')
    expect(flushes()).toBe(1)
    const expected = counting(SIZE)
    expected.set([1, 2, 3, 97, 98, 99], 100)
    expect(await disk.read(0, SIZE)).toEqual(expected)
  })

  it('holds its source back', async () => {
    const stream = slow.createWriteStream()
    expect(stream.write(new Uint8Array(stream.writableHighWaterMark))).toBe(false)
    await controller.waitFor(1)
    controller.releaseAll()
    await once(stream, 'drain')
    stream.destroy()
  })

  it('does not go beyond its range, and says so', async () => {
    const tooMuch = pipeline(
      Readable.from([new Uint8Array(60), new Uint8Array(41)]),
      disk.createWriteStream({ end: 100 }),
    )
    expect(await refusal(tooMuch)).toMatchObject({ code: 'ENOSPC' })
    expect(await disk.read(60, 100)).toEqual(counting(100, 60))
  })

  it('fails with the error of the write', async () => {
    const writing = refusal(pipeline(Readable.from([counting(10)]), slow.createWriteStream()))
    await controller.waitFor(1)
    controller.pending[0]?.fail('ENOSPC')
    expect(await writing).toMatchObject({ code: 'ENOSPC' })
  })

  it('takes what a read stream gives', async () => {
    await using other = await openDisk({ driver: 'memory', size: SIZE })
    await pipeline(disk.createReadStream({ chunkSize: 999 }), other.createWriteStream())
    expect(await other.read(0, SIZE)).toEqual(counting(SIZE))
  })

  it('destroyed on the way leaves the disk usable', async () => {
    const stream = slow.createWriteStream()
    stream.write(counting(10))
    await controller.waitFor(1)
    stream.destroy()
    await once(stream, 'close')
    controller.open = true
    controller.releaseAll()
    await slow.flush()
    expect(await slow.read(0, 10)).toEqual(counting(10))
    expect(stream).toBeInstanceOf(Writable)
  })
})

describe('a file handle', () => {
  it('reads and writes at positions, and where it left off', async () => {
    const file = disk.fileHandle()
    const buffer = new Uint8Array(8)
    expect(await file.read(buffer, 2, 4, 1000)).toEqual({ bytesRead: 4, buffer })
    expect([...buffer]).toEqual([0, 0, ...counting(4, 1000), 0, 0])
    await file.read(buffer)
    expect(buffer).toEqual(counting(8))
    await file.write(Uint8Array.of(200, 201))
    await file.write(Uint8Array.of(202), 0, 1, 20)
    await file.read(buffer)
    expect(buffer).toEqual(counting(8, 10))
    expect([...(await disk.read(7, 4))]).toEqual([8, 200, 201, 11])
    expect([...(await disk.read(20, 1))]).toEqual([202])
  })

  it('reads short at the end, and nothing behind it', async () => {
    const file = disk.fileHandle()
    const buffer = new Uint8Array(100)
    expect((await file.read(buffer, 0, 100, SIZE - 30)).bytesRead).toBe(30)
    expect((await file.read(buffer, 0, 100, SIZE)).bytesRead).toBe(0)
    expect((await file.read(buffer, 0, 100, SIZE + 5)).bytesRead).toBe(0)
    expect(buffer.subarray(0, 30)).toEqual(counting(SIZE).subarray(SIZE - 30))
  })

  it('does not grow the disk by writing', async () => {
    const file = disk.fileHandle()
    expect(await refusal(file.write(counting(31), 0, 31, SIZE - 30))).toMatchObject({ code: 'ENOSPC' })
    expect(await disk.read(SIZE - 30, 30)).toEqual(counting(SIZE).subarray(SIZE - 30))
  })

  it('gives calls that run at once places behind each other', async () => {
    const file = disk.fileHandle()
    const parts = [new Uint8Array(10), new Uint8Array(10)]
    await Promise.all(parts.map((part) => file.read(part)))
    expect(parts).toEqual([counting(10), counting(10, 10)])
  })

  it('refuses places that are none', async () => {
    const file = disk.fileHandle()
    const buffer = new Uint8Array(4)
    const bad: [number, number, number][] = [
      [0, 5, 0],
      [-1, 1, 0],
      [0, -1, 0],
      [5, 0, 0],
      [0, 1, -1],
      [0, 1, 0.5],
      [0, Number.NaN, 0],
    ]
    for (const [offset, length, position] of bad) {
      expect(await refusal(file.read(buffer, offset, length, position))).toMatchObject({ code: 'EINVAL' })
      expect(await refusal(file.write(buffer, offset, length, position))).toMatchObject({ code: 'EINVAL' })
    }
  })

  it('knows its size, truncates, syncs and closes', async () => {
    const graph = disk.graph
    {
      await using file = disk.fileHandle()
      expect(await file.stat()).toEqual({ size: SIZE })
      await file.truncate(512)
      expect(disk.size).toBe(512)
      await file.sync()
      await file.datasync()
    }
    expect(graph.nodes.size).toBe(0)
  })

  it('hands signals on', async () => {
    const file = disk.fileHandle()
    const call = { signal: AbortSignal.abort() }
    for (const ended of [
      file.read(new Uint8Array(1), 0, 1, 0, call),
      file.write(new Uint8Array(1), 0, 1, 0, call),
      file.truncate(1, call),
      file.sync(call),
      file.datasync(call),
    ]) {
      expect(await refusal(ended)).toMatchObject({ code: 'ECANCELED' })
    }
  })
})
