import { closeSync, ftruncateSync, openSync, readFileSync, statSync, writeFileSync, writeSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { BDRV_BLOCK_DATA, BDRV_BLOCK_OFFSET_VALID, BDRV_BLOCK_ZERO } from '../../../../src/common/block-status.js'
import { BlockError } from '../../../../src/common/error.js'
import { MAX_LENGTH } from '../../../../src/common/limits.js'
import { BDRV_REQ_MAY_UNMAP, BDRV_REQ_NO_FALLBACK } from '../../../../src/common/request.js'
import { GiB, KiB, MiB } from '../../../../src/common/units.js'
import type { FilePlatform } from '../../../../src/drivers/file/platform.js'
import { nodeFilePlatform, plainFilePlatform } from '../../../../src/drivers/file/platform.js'
import type { NativeFileCalls } from '../../../../src/platform/native/file-calls.js'
import type { FileSpace } from '../../../../src/platform/native/file-space.js'
import { failure, native, nodeOver, open, pattern, platforms, scratchFolder, withHost } from './support.js'

const DATA = BDRV_BLOCK_DATA | BDRV_BLOCK_OFFSET_VALID
const HOLE = BDRV_BLOCK_ZERO | BDRV_BLOCK_OFFSET_VALID
const exact = { exact: true, preallocation: 'off' as const, flags: 0 }

let folder: ReturnType<typeof scratchFolder>
let path: string

beforeEach(() => {
  folder = scratchFolder()
  path = folder.path('disk.img')
})
afterEach(() => folder.remove())

/** 4 MiB with 64 KiB of data at 1 MiB. */
function sparseImage(): void {
  const fd = openSync(path, 'w')
  ftruncateSync(fd, 4 * MiB)
  writeSync(fd, pattern(64 * KiB), 0, 64 * KiB, MiB)
  closeSync(fd)
}

/** Native calls whose space functions are partly replaced. */
function withSpace(space: Partial<FileSpace>): FilePlatform {
  const calls = native as NativeFileCalls
  const changed: NativeFileCalls = { ...calls, space: { ...calls.space, ...space } }
  return { ...nodeFilePlatform, native: () => Promise.resolve(changed) }
}

describe.each(platforms)('length %s', (_name, platform) => {
  it('grows and shrinks, and tells the length anew each time', async () => {
    writeFileSync(path, pattern(1000))
    const disk = await open(path, { platform })
    await disk.io.truncate?.(5000, exact)
    expect(await disk.io.length()).toBe(5000)
    await disk.io.truncate?.(10, exact)
    expect(await disk.io.length()).toBe(10)
    await disk.close()
    expect(readFileSync(path)).toEqual(Buffer.from(pattern(1000).subarray(0, 10)))
  })

  it('preallocates in full by writing zeroes', async () => {
    writeFileSync(path, pattern(1000))
    const disk = await open(path, { platform })
    await disk.io.truncate?.(2 * MiB + 123, { ...exact, preallocation: 'full' })
    expect(await disk.io.allocatedSize?.()).toBeGreaterThanOrEqual(2 * MiB)
    await disk.close()
    const expected = Buffer.alloc(2 * MiB + 123)
    expected.set(pattern(1000))
    expect(Buffer.compare(readFileSync(path), expected)).toBe(0)
  })

  it('undoes a preallocation that fails half way', async () => {
    writeFileSync(path, pattern(1000))
    let calls = 0
    const full = withHost(platform, {
      write: (fd, buffer, start, bytes, offset, done) => {
        if (++calls < 3) platform.host.write(fd, buffer, start, bytes, offset, done)
        else queueMicrotask(() => done(Object.assign(new Error('no space'), { code: 'ENOSPC' }), 0))
      },
    })
    const disk = await open(path, { platform: full })
    const error = await failure(() => disk.io.truncate?.(8 * MiB, { ...exact, preallocation: 'full' }))
    expect(error.code).toBe('ENOSPC')
    expect(await disk.io.length()).toBe(1000)
    await disk.close()
  })

  it('refuses metadata preallocation and preallocation while shrinking', async () => {
    writeFileSync(path, pattern(1000))
    const disk = await open(path, { platform })
    for (const [length, preallocation] of [
      [2000, 'metadata'],
      [500, 'full'],
      [500, 'falloc'],
    ] as const) {
      const error = await failure(() => disk.io.truncate?.(length, { ...exact, preallocation }))
      expect([error.code, error.node]).toEqual(['ENOTSUP', 'disk'])
    }
    expect(await disk.io.length()).toBe(1000)
    await disk.close()
  })

  it('refuses a file beyond the cap of lengths', async () => {
    writeFileSync(path, '')
    const huge = withHost(platform, {
      stat: async (fd) => ({ ...(await platform.host.stat(fd)), size: MAX_LENGTH + 4096 }),
    })
    expect((await failure(() => open(path, { platform: huge }))).code).toBe('EFBIG')
  })

  it('tells one hole where nothing is allocated', async () => {
    writeFileSync(path, '')
    const disk = await open(path, { platform })
    await disk.io.truncate?.(GiB, exact)
    expect(await disk.io.blockStatus?.(4096, 8192, 'precise')).toEqual({
      bits: HOLE,
      bytes: expect.any(Number),
      map: 4096,
    })
    await disk.close()
  })
})

describe('without native calls', () => {
  it('leaves the methods out that need them, says all is data, and refuses falloc', async () => {
    sparseImage()
    const disk = await open(path, { platform: plainFilePlatform })
    expect([disk.io.writeZeroes, disk.io.discard, disk.io.copyRangeTo, disk.zeroFlags]).toEqual([
      undefined,
      undefined,
      undefined,
      0,
    ])
    expect(await disk.io.blockStatus?.(0, 4 * MiB, 'precise')).toEqual({ bits: DATA, bytes: 4 * MiB, map: 0 })
    expect((await failure(() => disk.io.truncate?.(8 * MiB, { ...exact, preallocation: 'falloc' }))).code).toBe(
      'ENOTSUP',
    )
    expect(disk.notices).toHaveLength(1)
    await disk.close()
  })
})

describe.skipIf(native === undefined)('with native calls', () => {
  const platform = nodeFilePlatform

  it('tells data and holes apart', async () => {
    sparseImage()
    const disk = await open(path, { platform })
    expect(disk.notices).toEqual([])
    expect(await disk.io.blockStatus?.(0, 4 * MiB, 'precise')).toEqual({ bits: HOLE, bytes: MiB, map: 0 })
    expect(await disk.io.blockStatus?.(MiB, 3 * MiB, 'precise')).toEqual({ bits: DATA, bytes: 64 * KiB, map: MiB })
    const rest = 4 * MiB - MiB - 64 * KiB
    expect(await disk.io.blockStatus?.(MiB + 64 * KiB, rest, 'precise')).toEqual({
      bits: HOLE,
      bytes: rest,
      map: MiB + 64 * KiB,
    })
    expect(await disk.io.blockStatus?.(0, 4 * MiB, 'fast')).toEqual({ bits: DATA, bytes: 4 * MiB, map: 0 })
    await disk.close()
  })

  it('discards by making a hole that reads zero', async () => {
    writeFileSync(path, pattern(4 * MiB))
    const disk = await open(path, { platform })
    await disk.io.discard?.(MiB, MiB)
    await disk.close()
    expect(statSync(path)).toMatchObject({ size: 4 * MiB, blocks: (3 * MiB) / 512 })
    expect(
      readFileSync(path)
        .subarray(MiB, 2 * MiB)
        .every((byte) => byte === 0),
    ).toBe(true)
  })

  it('writes zeroes allocated, or as a hole where MAY_UNMAP allows', async () => {
    writeFileSync(path, pattern(4 * MiB))
    const disk = await open(path, { platform })
    await disk.io.writeZeroes?.(MiB, MiB, BDRV_REQ_NO_FALLBACK)
    expect(await disk.io.allocatedSize?.()).toBe(4 * MiB)
    await disk.io.writeZeroes?.(2 * MiB, MiB, BDRV_REQ_MAY_UNMAP)
    expect(await disk.io.allocatedSize?.()).toBe(3 * MiB)
    await disk.close()
    const expected = Buffer.from(pattern(4 * MiB)).fill(0, MiB, 3 * MiB)
    expect(Buffer.compare(readFileSync(path), expected)).toBe(0)
  })

  it.each([0, BDRV_REQ_MAY_UNMAP])('grows the file where zeroes go behind its end (flags %i)', async (flags) => {
    writeFileSync(path, pattern(64 * KiB))
    const disk = await open(path, { platform })
    await disk.io.writeZeroes?.(32 * KiB, 64 * KiB, flags)
    expect(await disk.io.length()).toBe(96 * KiB)
    await disk.close()
    expect(Buffer.compare(readFileSync(path), Buffer.concat([pattern(32 * KiB), new Uint8Array(64 * KiB)]))).toBe(0)
  })

  it('takes a range the host finds not aligned for one it cannot do now, and tries the next', async () => {
    writeFileSync(path, pattern(MiB))
    const picky = (fd: number, offset: number, bytes: number) =>
      (offset | bytes) % 4096 === 0
        ? (native as NativeFileCalls).space.punchHole(fd, offset, bytes)
        : Promise.reject(new BlockError('EINVAL', 'not aligned'))
    const disk = await open(path, { platform: withSpace({ punchHole: picky, zeroRange: picky }) })
    expect((await failure(() => disk.io.writeZeroes?.(1, 512, BDRV_REQ_MAY_UNMAP))).code).toBe('ENOTSUP')
    const refused = await failure(() => disk.io.discard?.(1, 512))
    expect([refused.code, refused.op]).toEqual(['ENOTSUP', 'discard'])
    await disk.io.discard?.(0, 64 * KiB)
    await disk.io.writeZeroes?.(64 * KiB, 64 * KiB, BDRV_REQ_NO_FALLBACK)
    expect(await disk.io.allocatedSize?.()).toBe(MiB - 128 * KiB)
    await disk.close()
  })

  it('goes around a file system without zero ranges, unless falling back is forbidden', async () => {
    writeFileSync(path, pattern(MiB))
    let tries = 0
    const disk = await open(path, {
      platform: withSpace({
        zeroRange: () => {
          tries++
          return Promise.reject(new BlockError('ENOTSUP', 'no zero ranges'))
        },
      }),
    })
    await disk.io.writeZeroes?.(0, 64 * KiB, 0)
    await disk.io.writeZeroes?.(64 * KiB, 64 * KiB, 0)
    expect((await failure(() => disk.io.writeZeroes?.(0, 4096, BDRV_REQ_NO_FALLBACK))).code).toBe('ENOTSUP')
    expect(tries).toBe(1)
    expect(await disk.io.allocatedSize?.()).toBe(MiB)
    await disk.close()
    expect(
      readFileSync(path)
        .subarray(0, 128 * KiB)
        .every((byte) => byte === 0),
    ).toBe(true)
  })

  it('preallocates by falloc and undoes it where the disk is full', async () => {
    writeFileSync(path, pattern(1000))
    const disk = await open(path, { platform })
    await disk.io.truncate?.(4 * MiB, { ...exact, preallocation: 'falloc' })
    expect(statSync(path).size).toBe(4 * MiB)
    expect(await disk.io.allocatedSize?.()).toBeGreaterThanOrEqual(4 * MiB)
    await disk.close()
    const full = await open(path, {
      platform: withSpace({
        allocate: async (fd) => {
          await nodeFilePlatform.host.truncate(fd, 5 * MiB)
          throw new BlockError('ENOSPC', 'full')
        },
      }),
    })
    expect((await failure(() => full.io.truncate?.(8 * MiB, { ...exact, preallocation: 'falloc' }))).code).toBe(
      'ENOSPC',
    )
    expect(await full.io.length()).toBe(4 * MiB)
    await full.close()
  })

  it('copies a range between two files inside the host', async () => {
    const other = folder.path('other.img')
    writeFileSync(other, pattern(MiB, 9))
    writeFileSync(path, pattern(MiB))
    const source = await open(other, { platform })
    const disk = await open(path, { platform })
    const asked: unknown[] = []
    await source.io.copyRangeFrom?.(
      4096,
      {
        copyFrom: (leaf, sourceOffset, targetOffset, bytes, flags) => {
          asked.push(sourceOffset, targetOffset, bytes)
          return disk.io.copyRangeTo?.(leaf, sourceOffset, targetOffset, bytes, flags)
        },
      },
      100 * KiB,
      200 * KiB,
      0,
    )
    expect(asked).toEqual([4096, 100 * KiB, 200 * KiB])
    expect(
      (await failure(() => disk.io.copyRangeTo?.({ node: nodeOver({ length: () => 0, read: () => {} }) }, 0, 0, 1, 0)))
        .code,
    ).toBe('ENOTSUP')
    expect((await failure(() => disk.io.copyRangeTo?.({ node: nodeOver(source.io) }, MiB, 0, 4096, 0))).code).toBe(
      'ENOTSUP',
    )
    expect(source.state.descriptor.calls).toBe(0)
    await disk.close()
    await source.close()
    const expected = Buffer.from(pattern(MiB))
    expected.set(pattern(MiB, 9).subarray(4096, 4096 + 200 * KiB), 100 * KiB)
    expect(Buffer.compare(readFileSync(path), expected)).toBe(0)
  })

  it('takes more calls at once than the host of native calls allows', async () => {
    writeFileSync(path, pattern(4 * MiB))
    const disk = await open(path, { platform })
    await Promise.all(Array.from({ length: 600 }, (_, i) => disk.io.discard?.(i * 4096, 4096)))
    expect(disk.state.descriptor.calls).toBe(0)
    await disk.close()
    expect(
      readFileSync(path)
        .subarray(0, 600 * 4096)
        .every((byte) => byte === 0),
    ).toBe(true)
  })
})
