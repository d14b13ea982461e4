import { deflateRawSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { nodeDeflate } from '../../../src/platform/deflate.js'
import { nodeServices } from '../../../src/platform/services.js'

const SIZES = [512, 4096, 4097, 65536, 131072]

/** Bytes that compress to about half. */
function sample(length: number, seed = 1): Uint8Array {
  let state = seed
  return Uint8Array.from({ length }, () => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    return (state >>> 16) & 15
  })
}

async function failure(act: () => unknown): Promise<unknown> {
  try {
    return await act()
  } catch (thrown) {
    return thrown
  }
}

describe('deflate of Node', () => {
  test.each(SIZES)('makes of %i bytes what it reads back, whatever follows', async (bytes) => {
    const data = sample(bytes)
    const packed = (await nodeDeflate.compress(data, bytes - 1)) as Uint8Array
    expect(packed.length).toBeLessThan(bytes)
    const stored = new Uint8Array(packed.length + 511).fill(0xa5)
    stored.set(packed)
    expect(Buffer.compare(await nodeDeflate.decompress(stored, bytes), data)).toBe(0)
  })

  test.each(SIZES)('gives up where %i bytes would not fit', async (bytes) => {
    const noise = crypto.getRandomValues(new Uint8Array(Math.min(bytes, 65536)))
    expect(await nodeDeflate.compress(noise, noise.length - 1)).toBeUndefined()
    expect(await nodeDeflate.compress(noise, 0)).toBeUndefined()
    const packed = (await nodeDeflate.compress(sample(bytes), bytes)) as Uint8Array
    expect((await nodeDeflate.compress(sample(bytes), packed.length))?.length).toBe(packed.length)
    expect(await nodeDeflate.compress(sample(bytes), packed.length - 1)).toBeUndefined()
  })

  test('never looks back further than 4 KiB', async () => {
    const noise = sample(4200)
    const packed = (await nodeDeflate.compress(new Uint8Array([...noise, ...noise]), 8400)) as Uint8Array
    const wide = deflateRawSync(new Uint8Array([...noise, ...noise]))
    expect(packed.length).toBeGreaterThan(wide.length + 500)
  })

  test('reads what was packed with the largest window', async () => {
    const data = new Uint8Array([...sample(20000), ...sample(20000)])
    expect(await nodeDeflate.decompress(deflateRawSync(data), data.length)).toStrictEqual(data)
  })

  test.each([4096, 131072])('answers EIO for streams that do not make %i bytes', async (bytes) => {
    const packed = deflateRawSync(sample(bytes))
    const bad = [
      deflateRawSync(sample(bytes - 1)),
      deflateRawSync(sample(bytes + 1)),
      packed.subarray(0, packed.length >> 1),
      new Uint8Array(0),
      new Uint8Array(64).fill(0xff),
    ]
    for (const data of bad) {
      expect(await failure(() => nodeDeflate.decompress(data, bytes))).toMatchObject({
        name: 'BlockError',
        code: 'EIO',
      })
    }
  })

  test('takes a stream whose end mark was cut off', async () => {
    const data = sample(4096)
    const packed = deflateRawSync(data)
    expect(await nodeDeflate.decompress(packed.subarray(0, packed.length - 1), 4096)).toStrictEqual(data)
  })

  test('a bomb is stopped at the block', async () => {
    const bomb = deflateRawSync(new Uint8Array(64 << 20))
    expect(await failure(() => nodeDeflate.decompress(bomb, 65536))).toMatchObject({ code: 'EIO' })
    expect(await failure(() => nodeDeflate.decompress(bomb, 1 << 20))).toMatchObject({ code: 'EIO' })
  })

  test('random bytes end in a block or in EIO', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 600 }), async (data) => {
        const result = await failure(() => nodeDeflate.decompress(data, 512))
        if (result instanceof Uint8Array) expect(result.length).toBe(512)
        else expect(result).toMatchObject({ name: 'BlockError', code: 'EIO' })
      }),
      { numRuns: 200 },
    )
  })
})

describe('services of Node', () => {
  test('load deflate at the first call', async () => {
    const { deflate } = nodeServices
    const packed = (await deflate?.compress(sample(512), 512)) as Uint8Array
    expect(await deflate?.decompress(packed, 512)).toStrictEqual(sample(512))
    expect(deflate?.decompress(packed, 512)).toBeInstanceOf(Uint8Array)
  })

  test('know the date and give bytes of chance', () => {
    const { seconds = 0, nanoseconds = -1 } = nodeServices.wallClock?.() ?? {}
    expect(Math.abs(seconds - Date.now() / 1000)).toBeLessThan(2)
    expect(nanoseconds).toBeGreaterThanOrEqual(0)
    expect(nanoseconds).toBeLessThan(1e9)
    expect(nodeServices.randomBytes?.(16)).toHaveLength(16)
    expect(nodeServices.randomBytes?.(16)).not.toEqual(nodeServices.randomBytes?.(16))
  })
})
