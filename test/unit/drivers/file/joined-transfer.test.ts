import { readFileSync, truncateSync, writeFileSync } from 'node:fs'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { BlockError } from '../../../../src/common/error.js'
import { type Bytes, IoVector } from '../../../../src/common/io-vector.js'
import { KiB } from '../../../../src/common/units.js'
import { plainFilePlatform } from '../../../../src/drivers/file/platform.js'
import { POOL_AT_ONCE } from '../../../../src/drivers/file/pool-batch.js'
import { type HostFile, nodeHostFile, type TransferCallback } from '../../../../src/platform/host-file.js'
import { failure, type Opened, open, pattern, scratchFolder, withHost } from './support.js'

const LENGTH = 1024 * KiB
/** Where requests that are only there to be under way read. */
const ELSEWHERE = LENGTH - 4096
const content = pattern(LENGTH)

let folder: ReturnType<typeof scratchFolder>
let path: string
/** Host calls behind those that were under way first: kind, offset, bytes. */
let calls: [string, number, number][]

beforeEach(() => {
  folder = scratchFolder()
  path = folder.path('disk.img')
  writeFileSync(path, content)
  calls = []
})
afterEach(() => folder.remove())

type VectorCall = HostFile['readv']

/** A disk whose host calls are noted; `instead` may stand in for those that read. */
function openNoting(instead: Partial<Pick<HostFile, 'read' | 'readv'>> = {}, file = path): Promise<Opened> {
  const note = (kind: string, offset: number, bytes: number) => {
    if (offset < ELSEWHERE) calls.push([kind, offset, bytes])
  }
  const lengthOf = (buffers: readonly Uint8Array[]) => buffers.reduce((sum, { length }) => sum + length, 0)
  return open(file, {
    platform: withHost(plainFilePlatform, {
      read: (fd, buffer, start, bytes, offset, done) => {
        note('read', offset, bytes)
        ;(instead.read ?? nodeHostFile.read)(fd, buffer, start, bytes, offset, done)
      },
      readv: (fd, buffers, offset, done) => {
        note('readv', offset, lengthOf(buffers))
        ;(instead.readv ?? nodeHostFile.readv)(fd, buffers, offset, done)
      },
      write: (fd, buffer, start, bytes, offset, done) => {
        note('write', offset, bytes)
        nodeHostFile.write(fd, buffer, start, bytes, offset, done)
      },
      writev: (fd, buffers, offset, done) => {
        note('writev', offset, lengthOf(buffers))
        nodeHostFile.writev(fd, buffers, offset, done)
      },
    }),
  })
}

/** Runs `issue` while so many others are under way that what it issues goes in a batch; waits for all. */
async function inBatch(disk: Opened, issue: () => unknown[]): Promise<void> {
  const before = Array.from({ length: POOL_AT_ONCE }, () => disk.io.read(ELSEWHERE, new Uint8Array(1), 0))
  await Promise.all([...before, ...issue()])
}

/** Reads of `sizes` bytes one behind the other, and what they ended up with. */
function readsFrom(disk: Opened, offset: number, sizes: readonly number[]) {
  let at = offset
  return sizes.map((bytes) => {
    const into = new Uint8Array(bytes).fill(0xee)
    const position = at
    at += bytes
    return { into, position, pending: disk.io.read(position, into, 0) }
  })
}

const inFile = (position: number, bytes: number) => content.slice(position, position + bytes)

describe('requests of a batch that lie side by side', () => {
  it('are one read, and each gets its own bytes', async () => {
    const disk = await openNoting()
    const reads: ReturnType<typeof readsFrom> = []
    const vector = [new Uint8Array(100), new Uint8Array(412)]
    await inBatch(disk, () => {
      reads.push(...readsFrom(disk, 0, [4096, 512]))
      const many = disk.io.read(4608, new IoVector(vector), 0)
      reads.push(...readsFrom(disk, 5120, [1, 3000]))
      return [many, ...reads.map(({ pending }) => pending)]
    })
    expect(calls).toEqual([['readv', 0, 8121]])
    for (const { into, position } of reads) expect(into).toEqual(inFile(position, into.length))
    expect(Buffer.concat(vector)).toEqual(Buffer.from(inFile(4608, 512)))
    expect(disk.state.descriptor.calls).toBe(0)
    await disk.close()
  })

  it('are one write', async () => {
    const disk = await openNoting()
    const data = pattern(8192, 9)
    await inBatch(disk, () =>
      [0, 1, 2, 3].map((i) => disk.io.write?.(i * 2048, data.subarray(i * 2048, (i + 1) * 2048), 0)),
    )
    await disk.close()
    expect(calls).toEqual([['writev', 0, 8192]])
    expect(readFileSync(path).subarray(0, 8192)).toEqual(Buffer.from(data))
  })

  it('are not joined over a gap, with the other direction, with another file, or backwards', async () => {
    const disk = await openNoting()
    const otherPath = folder.path('other.img')
    writeFileSync(otherPath, content)
    const other = await openNoting({}, otherPath)
    const byte = () => new Uint8Array(512)
    await inBatch(other, () => [])
    await inBatch(disk, () => [
      disk.io.read(0, byte(), 0),
      disk.io.read(1024, byte(), 0),
      disk.io.write?.(1536, byte(), 0),
      disk.io.read(512, byte(), 0),
      disk.io.read(0, byte(), 0),
    ])
    expect(calls.map(([kind]) => kind)).toEqual(['read', 'read', 'write', 'read', 'read'])
    calls = []
    await inBatch(other, () => {
      const held = Array.from({ length: POOL_AT_ONCE }, () => disk.io.read(ELSEWHERE, byte(), 0))
      return [...held, disk.io.read(0, byte(), 0), other.io.read(512, byte(), 0), disk.io.read(1024, byte(), 0)]
    })
    expect(calls).toHaveLength(3)
    await disk.close()
    await other.close()
  })

  it('are no more than a call should move at once, nor than segments it takes', async () => {
    const disk = await openNoting()
    const large = () => new Uint8Array(192 * KiB)
    await inBatch(disk, () => [0, 1, 2, 3].map((i) => disk.io.read(i * 192 * KiB, large(), 0)))
    expect(calls).toEqual([
      ['readv', 0, 384 * KiB],
      ['readv', 384 * KiB, 384 * KiB],
    ])
    calls = []
    const many = (): Bytes => new IoVector(Array.from({ length: 600 }, () => new Uint8Array(1)))
    await inBatch(disk, () => [disk.io.read(0, many(), 0), disk.io.read(600, many(), 0)])
    expect(calls).toEqual([
      ['readv', 0, 600],
      ['readv', 600, 600],
    ])
    await disk.close()
  })

  it('are read again by themselves from the first on that the call did not cover', async () => {
    const short: VectorCall = (fd, buffers, offset, done) =>
      nodeHostFile.read(fd, buffers[0] as Uint8Array, 0, 512, offset, (error, got) => done(error, got + 700))
    const disk = await openNoting({ readv: short })
    let reads: ReturnType<typeof readsFrom> = []
    await inBatch(disk, () => {
      reads = readsFrom(disk, 0, [512, 512, 512, 512])
      return reads.map(({ pending }) => pending)
    })
    expect(calls).toEqual([
      ['readv', 0, 2048],
      ['read', 1024, 512],
      ['read', 1536, 512],
    ])
    for (const { into, position } of reads.slice(2)) expect(into).toEqual(inFile(position, 512))
    await disk.close()
  })

  it('read as zeroes behind the end of a file that has shrunk', async () => {
    const disk = await openNoting()
    truncateSync(path, 1000)
    let reads: ReturnType<typeof readsFrom> = []
    await inBatch(disk, () => {
      reads = readsFrom(disk, 0, [512, 512, 512])
      return reads.map(({ pending }) => pending)
    })
    const expected = new Uint8Array(1536)
    expected.set(inFile(0, 1000))
    expect(Buffer.concat(reads.map(({ into }) => into))).toEqual(Buffer.from(expected))
    await disk.close()
  })

  it.each([
    [
      'fails',
      (done: TransferCallback) => queueMicrotask(() => done(Object.assign(new Error('bad'), { code: 'EIO' }), 0)),
    ],
    [
      'throws',
      () => {
        throw Object.assign(new Error('bad'), { code: 'EBADF' })
      },
    ],
  ])('fail alone where the call %s: only whose own call fails', async (_how, act) => {
    const broken: VectorCall = (_fd, _buffers, _offset, done) => act(done)
    const disk = await openNoting({
      readv: broken,
      read: (fd, buffer, start, bytes, offset, done) => {
        if (offset === 512) queueMicrotask(() => done(Object.assign(new Error('bad sector'), { code: 'EIO' }), 0))
        else nodeHostFile.read(fd, buffer, start, bytes, offset, done)
      },
    })
    let reads: ReturnType<typeof readsFrom> = []
    const errors: BlockError[] = []
    await inBatch(disk, () => {
      reads = readsFrom(disk, 0, [512, 512, 512])
      const failing = failure(() => reads[1]?.pending).then((error) => errors.push(error))
      return [reads[0]?.pending, failing, reads[2]?.pending]
    })
    expect(errors.map(({ code, node, message }) => [code, node, message])).toEqual([
      ['EIO', 'disk', 'disk: bad sector'],
    ])
    for (const { into, position } of [...reads.slice(0, 1), ...reads.slice(2)])
      expect(into).toEqual(inFile(position, 512))
    expect(disk.state.descriptor.calls).toBe(0)
    await disk.close()
  })

  it('read what is there, whatever is short and however they lie', async () => {
    const piece = fc.record({ gap: fc.constantFrom(0, 0, 0, 7), bytes: fc.integer({ min: 1, max: 700 }) })
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 40 }), fc.array(fc.nat(3000)), async (pieces, limits) => {
        let turn = 0
        const short: VectorCall = (fd, buffers, offset, done) => {
          const limit = limits.length === 0 ? 0 : (limits[turn++ % limits.length] ?? 0)
          const whole = Buffer.alloc(buffers.reduce((sum, { length }) => sum + length, 0))
          nodeHostFile.read(fd, whole, 0, Math.min(limit, whole.length), offset, (error, got) => {
            let at = 0
            for (const buffer of buffers) {
              buffer.set(whole.subarray(at, Math.min(at + buffer.length, got)))
              at = Math.min(at + buffer.length, got)
            }
            done(error, got)
          })
        }
        const disk = await openNoting({ readv: short })
        let at = 0
        const reads: { into: Uint8Array; position: number }[] = []
        await inBatch(disk, () =>
          pieces.map(({ gap, bytes }) => {
            const position = at + gap
            at = position + bytes
            const into = new Uint8Array(bytes)
            reads.push({ into, position })
            return disk.io.read(position, into, 0)
          }),
        )
        for (const { into, position } of reads) expect(into).toEqual(inFile(position, into.length))
        await disk.close()
      }),
      { numRuns: 60 },
    )
  })
})
