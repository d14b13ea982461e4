import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { nodeServices } from '../../../src/platform/services.js'
import { bestZstd } from '../../../src/platform/zstd.js'
import { frameOf } from '../../../src/platform/zstd-frame.js'
import { findZstdPeer, peerZstd } from '../../../src/platform/zstd-peer.js'

const SIZES = [512, 4096, 65536, 131072, 2 << 20]

/** "blockgraph" four times, as `zstd --no-check` and `zstd` of version 1.5.4 pack it. */
const TEXT = 'blockgraphblockgraphblockgraphblockgraph'

function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16))
}

/** Bytes that compress to about half. */
function sample(length: number): Uint8Array {
  let state = 1
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

describe.each([
  ['of the host', bestZstd()],
  ['of the optional peer', peerZstd(findZstdPeer() ?? '')],
])('zstd %s', (_name, zstd) => {
  test.each(SIZES)('makes of %i bytes a frame it reads back, whatever follows', async (bytes) => {
    const data = sample(bytes)
    const packed = (await zstd.compress(data, bytes - 1)) as Uint8Array
    expect(packed.length).toBeLessThan(bytes)
    const stored = new Uint8Array(packed.length + 511).fill(0xa5)
    stored.set(packed)
    const read = await zstd.decompress(stored, bytes)
    expect(Buffer.compare(read, data)).toBe(0)
  })

  test('gives up where the frame would not fit', async () => {
    const noise = crypto.getRandomValues(new Uint8Array(65536))
    expect(await zstd.compress(noise, 65535)).toBeUndefined()
    const packed = (await zstd.compress(sample(4096), 4096)) as Uint8Array
    expect((await zstd.compress(sample(4096), packed.length))?.length).toBe(packed.length)
    expect(await zstd.compress(sample(4096), packed.length - 1)).toBeUndefined()
  })

  test('answers EIO for frames that do not make the block', async () => {
    const packed = (await zstd.compress(sample(4096), 4096)) as Uint8Array
    const flipped = packed.slice()
    flipped[20] = (flipped[20] ?? 0) ^ 0xff
    const bad: [Uint8Array, number][] = [
      [packed, 4095],
      [packed, 4097],
      [packed.subarray(0, packed.length - 1), 4096],
      [new Uint8Array(0), 4096],
      [new Uint8Array(64).fill(0xff), 4096],
      [flipped, 4096],
    ]
    for (const [data, bytes] of bad) {
      const result = await failure(() => zstd.decompress(data, bytes))
      // A flipped byte may still be a frame of this length.
      if (data === flipped && result instanceof Uint8Array) expect(result).toHaveLength(bytes)
      else expect(result).toMatchObject({ name: 'BlockError', code: 'EIO' })
    }
  })

  test('a bomb that hides its length is stopped at the block', async () => {
    // 512 blocks of 128 KiB of one byte: 64 MiB from 2 KiB, no content length.
    const bomb = new Uint8Array(6 + 512 * 4)
    bomb.set([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x98])
    for (let block = 0; block < 512; block += 1) {
      const header = (block === 511 ? 1 : 0) | (1 << 1) | (131072 << 3)
      bomb.set([header & 0xff, (header >> 8) & 0xff, header >> 16, 0], 6 + 4 * block)
    }
    expect(await failure(() => zstd.decompress(bomb, 65536))).toMatchObject({ code: 'EIO' })
    expect(await failure(() => zstd.decompress(bomb, 2 << 20))).toMatchObject({ code: 'EIO' })
    expect(await zstd.decompress(bomb, 64 << 20)).toHaveLength(64 << 20)
  })

  test('damaged frames end in a block or in EIO', async () => {
    const packed = (await zstd.compress(sample(2048), 2048)) as Uint8Array
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(packed.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        async (edits) => {
          const data = packed.slice()
          for (const [at, byte] of edits) data[at] = byte
          const result = await failure(() => zstd.decompress(data, 2048))
          if (result instanceof Uint8Array) expect(result).toHaveLength(2048)
          else expect(result).toMatchObject({ name: 'BlockError', code: 'EIO' })
        },
      ),
      { numRuns: 300 },
    )
  })
})

describe('the threads of the peer', () => {
  test('share many blocks and answer each', async () => {
    const zstd = peerZstd(findZstdPeer() ?? '')
    const blocks = Array.from({ length: 24 }, (_, index) => sample(2048 + index))
    const packed = await Promise.all(blocks.map((data) => zstd.compress(data, 4096)))
    const read = await Promise.all(packed.map((data, index) => zstd.decompress(data as Uint8Array, 2048 + index)))
    expect(read.map((data) => data.length)).toEqual(blocks.map((data) => data.length))
    expect(read.every((data, index) => Buffer.compare(data, blocks[index] as Uint8Array) === 0)).toBe(true)
  })

  test('that cannot load it fail what they were given, and the next as well', async () => {
    const zstd = peerZstd('/nowhere')
    const calls = [zstd.compress(sample(64), 64), zstd.compress(sample(64), 64)]
    for (const call of await Promise.allSettled(calls)) {
      expect(call).toMatchObject({ status: 'rejected', reason: { name: 'BlockError', code: 'EIO' } })
    }
    await expect(zstd.compress(sample(64), 64)).rejects.toMatchObject({ code: 'EIO' })
  })
})

describe('the services', () => {
  test('have zstd where the host or the peer brings it', async () => {
    const packed = (await nodeServices.zstd?.compress(sample(512), 512)) as Uint8Array
    expect(Buffer.compare((await nodeServices.zstd?.decompress(packed, 512)) as Uint8Array, sample(512))).toBe(0)
  })
})

describe('a frame', () => {
  const canonical = (flags: number, bytes: number, rest: string): Uint8Array =>
    bytesOf(`28b52ffd${(0xa0 | flags).toString(16)}${bytes.toString(16).padStart(2, '0')}000000${rest}`)

  test.each([
    ['a length of one byte', '28b52ffd2002110000aabb', 2, canonical(0, 2, '110000aabb')],
    ['no length', '28b52ffd0058110000aabb', 2, canonical(0, 2, '110000aabb')],
    ['a length of four bytes', '28b52ffd805802000000110000aabb', 2, canonical(0, 2, '110000aabb')],
    ['a length of eight bytes', '28b52ffdc0580200000000000000110000aabb', 2, canonical(0, 2, '110000aabb')],
    ['a checksum', '28b52ffd2402110000aabb01020304', 2, canonical(4, 2, '110000aabb01020304')],
    ['dictionary 0', '28b52ffd210002110000aabb', 2, canonical(0, 2, '110000aabb')],
    [
      'two blocks, the last of one byte repeated',
      '28b52ffd2005100000aabb1b0000cc',
      5,
      canonical(0, 5, '100000aabb1b0000cc'),
    ],
  ])('with %s is told from what follows', (_name, hex, bytes, expected) => {
    expect(frameOf(bytesOf(`${hex}deadbeef`), bytes)).toStrictEqual(expected)
    expect(frameOf(bytesOf(hex), bytes)).toStrictEqual(expected)
    for (let cut = 0; cut < hex.length / 2; cut += 1) {
      expect(() => frameOf(bytesOf(hex).subarray(0, cut), bytes)).toThrow(/no frame/)
    }
  })

  test('of 256 bytes and more may count from 256', () => {
    const frame = bytesOf('28b52ffd60000003080000')
    expect(() => frameOf(frame, 0)).toThrow(/holds 256 bytes instead of 0/)
    expect(frameOf(bytesOf('28b52ffd600000030800aa'), 256)).toStrictEqual(bytesOf('28b52ffda000010000030800aa'))
  })

  test.each([
    ['another length', '28b52ffd2003110000aabb', /holds 3 bytes/],
    ['a length beyond all numbers', '28b52ffdc058ffffffffffffffff110000aabb', /instead of 2/],
    ['a dictionary', '28b52ffd210102110000aabb', /dictionary/],
    ['a reserved bit', '28b52ffd2802110000aabb', /reserved bit/],
    ['a reserved block', '28b52ffd2002170000aabb', /reserved kind/],
    ['another magic number', '29b52ffd2002110000aabb', /does not begin/],
    ['a skippable frame first', '502a4d1804000000aabbccdd', /does not begin/],
  ])('with %s is refused', (_name, hex, message) => {
    expect(() => frameOf(bytesOf(hex), 2)).toThrow(message)
  })

  test('as the reference compressor makes it is read', async () => {
    const zstd = bestZstd()
    const text = new TextEncoder().encode(TEXT)
    const packed = (await zstd.compress(text, 100)) as Uint8Array
    expect(Buffer.from(await zstd.decompress(packed, text.length)).toString()).toBe(TEXT)
  })
})
