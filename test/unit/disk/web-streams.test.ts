import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Disk } from '../../../src/disk/disk.js'
import { readableStream, writableStream } from '../../../src/disk/web-streams.js'
import { settleMicrotasks } from '../../../src/testing/virtual-clock.js'
import { controlledDisk, counting, memoryDisk, refusal } from '../../support/disks.js'

const SIZE = 10_000

let disk: Disk
beforeEach(async () => {
  disk = await memoryDisk(SIZE)
  await disk.write(0, counting(SIZE))
})
afterEach(() => disk.close())

async function collect(stream: ReadableStream<Uint8Array>): Promise<{ chunks: number[]; bytes: Uint8Array }> {
  const parts: Uint8Array[] = []
  const reader = stream.getReader()
  for (let part = await reader.read(); !part.done; part = await reader.read()) parts.push(part.value)
  return { chunks: parts.map((part) => part.byteLength), bytes: Uint8Array.from(parts.flatMap((part) => [...part])) }
}

describe('a readable stream', () => {
  it('gives the whole disk, or a range, in chunks', async () => {
    expect((await collect(readableStream(disk))).bytes).toEqual(counting(SIZE))
    const part = await collect(readableStream(disk, { start: 100, end: 2500, chunkSize: 1000 }))
    expect(part).toEqual({ chunks: [1000, 1000, 400], bytes: counting(SIZE).subarray(100, 2500) })
    expect((await collect(readableStream(disk, { start: 5, end: 5 }))).chunks).toEqual([])
  })

  it("fills a reader's own buffer, and ends with the range", async () => {
    const reader = readableStream(disk, { start: 1, end: 1001 }).getReader({ mode: 'byob' })
    const first = await reader.read(new Uint8Array(600))
    expect(first.value).toEqual(counting(600, 1))
    const inside = await reader.read(new Uint8Array(new ArrayBuffer(1000), 500, 500))
    expect(inside.value).toEqual(counting(400, 601))
    expect(inside.value?.byteOffset).toBe(500)
    expect((await reader.read(new Uint8Array(10))).done).toBe(true)
  })

  it('reads no further than it is asked to, and stops when cancelled', async () => {
    const { disk: slow, controller } = await controlledDisk(SIZE)
    const reader = readableStream(slow, { chunkSize: 1000 }).getReader()
    const reading = reader.read()
    await controller.waitFor(1)
    expect(controller.pending).toHaveLength(1)
    const cancelled = reader.cancel()
    controller.open = true
    controller.releaseAll()
    await Promise.allSettled([cancelled, reading])
    await settleMicrotasks()
    expect(slow.backend.accounting.read.operations).toBe(1)
    await slow.close()
  })

  it('fails with the error of the read', async () => {
    const { disk: slow, controller } = await controlledDisk(SIZE)
    const reading = refusal(collect(readableStream(slow)))
    await controller.waitFor(1)
    controller.pending[0]?.fail('EIO')
    expect(await reading).toMatchObject({ code: 'EIO' })
    controller.open = true
    await slow.close()
  })

  it('refuses ranges and chunks that are none', () => {
    const einval = expect.objectContaining({ code: 'EINVAL' })
    for (const range of [
      { start: -1 },
      { end: SIZE + 1 },
      { start: 2, end: 1 },
      { start: 0.5 },
      { start: Number.NaN },
    ]) {
      expect(() => readableStream(disk, range)).toThrow(einval)
      expect(() => writableStream(disk, range)).toThrow(einval)
    }
    for (const chunkSize of [0, -1, 1.5, 2 ** 40]) expect(() => readableStream(disk, { chunkSize })).toThrow(einval)
  })
})

describe('a writable stream', () => {
  it('writes one chunk behind the other, and flushes at its end', async () => {
    const writer = writableStream(disk, { start: 50, end: 150 }).getWriter()
    await writer.write(new Uint8Array(60).fill(0xaa))
    await writer.write(new Uint8Array(40).fill(0xbb))
    expect(disk.backend.accounting.flush.operations).toBe(0)
    await writer.close()
    expect(disk.backend.accounting.flush.operations).toBe(1)
    const expected = counting(SIZE).fill(0xaa, 50, 110).fill(0xbb, 110, 150)
    expect(await disk.read(0, SIZE)).toEqual(expected)
  })

  it('does not go beyond its range', async () => {
    const writer = writableStream(disk, { start: 50, end: 150 }).getWriter()
    await writer.write(new Uint8Array(60))
    expect(await refusal(writer.write(new Uint8Array(41)))).toMatchObject({ code: 'ENOSPC' })
    await refusal(writer.closed)
    expect(await disk.read(110, SIZE - 110)).toEqual(counting(SIZE).subarray(110))
  })

  it('takes bytes only', async () => {
    const writer = writableStream(disk).getWriter() as WritableStreamDefaultWriter<unknown>
    expect(await refusal(writer.write('text'))).toMatchObject({ code: 'EINVAL' })
    await refusal(writer.closed)
  })

  it('takes what a readable stream gives', async () => {
    await using other = await memoryDisk(SIZE)
    await readableStream(disk, { chunkSize: 777 }).pipeTo(writableStream(other))
    expect(await other.read(0, SIZE)).toEqual(counting(SIZE))
  })
})
