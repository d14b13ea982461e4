import { describe, expect, test } from 'vitest'
import { DescriptorChain } from '../../../../../src/devices/virtio/memory/descriptor-chain.js'
import { GuestMemory, type GuestRegion } from '../../../../../src/devices/virtio/memory/guest-memory.js'

const two = () =>
  new GuestMemory([
    { address: 0x3000, memory: new SharedArrayBuffer(0x1000) },
    { address: 0x1000, memory: new Uint8Array(new ArrayBuffer(0x2000), 0x100, 0x1000) },
    { address: 0x2000, memory: new ArrayBuffer(0x800) },
    { address: 0x1_0000_0000, memory: new ArrayBuffer(0x1000) },
  ])

describe('GuestMemory', () => {
  test('a range over adjacent regions becomes one view for each, in order, of the same memory', () => {
    const memory = two()
    const views = memory.views(0, 0x1ff0, 0x20)
    expect(views?.map((view) => view.byteLength)).toEqual([0x10, 0x10])
    views?.[0]?.fill(1)
    views?.[1]?.fill(2)
    expect(memory.regions[0]?.bytes[0xfff]).toBe(1)
    expect(memory.regions[1]?.bytes[0]).toBe(2)
    expect(memory.find(0, 0x1ff0, 0x20)).toBeUndefined()
  })

  test.each([
    ['over a hole', 0, 0x27f0, 0x900],
    ['one byte behind a region', 0, 0x27ff, 2],
    ['below the first region', 0, 0xfff, 1],
    ['the first byte outside', 0, 0x4000, 1],
    ['wrapping 2^64', 0xffff_ffff, 0xffff_fff0, 0x20],
    ['wrapping 2^32', 0, 0xffff_ffff, 2],
    ['a high half beyond a safe integer', 0x20_0000, 0x1000, 1],
    ['the largest length', 0, 0x1000, 0xffff_ffff],
    ['behind the last region', 1, 0xfff, 2],
  ])('V03 refused whole: %s', (_name, high, low, bytes) => {
    const memory = two()
    const pieces: number[] = []
    expect(memory.find(high, low, bytes)).toBeUndefined()
    expect(memory.views(high, low, bytes)).toBeUndefined()
    expect(memory.pieces(high, low, bytes, { piece: (_r, _s, length) => pieces.push(length) })).toBe(false)
    expect(pieces).toEqual([])
  })

  test('a region above 4 GiB is found by both halves', () => {
    expect(two().find(1, 0xff0, 0x10)?.base).toBe(0x1_0000_0000)
    expect(two().find(0, 0xff0, 0x10)).toBeUndefined()
  })

  test.each([
    ['no region', []],
    ['an empty one', [{ address: 0, memory: new ArrayBuffer(0) }]],
    [
      'overlapping ones',
      [
        { address: 0, memory: new ArrayBuffer(32) },
        { address: 16, memory: new ArrayBuffer(32) },
      ],
    ],
    ['an unaligned address', [{ address: 8, memory: new ArrayBuffer(32) }]],
    ['unaligned memory', [{ address: 0, memory: new Uint8Array(new ArrayBuffer(32), 4, 16) }]],
  ])('refuses %s', (_name, regions) => {
    expect(() => new GuestMemory(regions)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
  })

  test('refuses a region beyond what an offset can say', () => {
    const memory = new ArrayBuffer(32)
    expect(() => new GuestMemory([{ address: 2 ** 53 - 16, memory }])).toThrow(
      expect.objectContaining({ code: 'EFBIG' }),
    )
  })
})

describe('4 GiB and more', () => {
  // Address space alone: no page of it is touched but one.
  test('a region of 2^32 bytes has all its words', () => {
    const memory = new GuestMemory([{ address: 0, memory: new SharedArrayBuffer(2 ** 32) }])
    expect(memory.regions[0]?.words.length).toBe(2 ** 30)
  })

  test('a header behind 2^32 bytes is not read by way of 32-bit arithmetic', () => {
    const region = new GuestMemory([{ address: 0, memory: new ArrayBuffer(64) }]).regions[0] as GuestRegion
    const chain = new DescriptorChain()
    for (const [start, found] of [
      [16, region],
      [18, undefined],
      [2 ** 32 + 16, undefined],
    ] as const) {
      chain.begin(0)
      chain.piece(region, start, 16)
      chain.markReadable(16)
      expect(chain.headRegion(16)).toBe(found)
    }
  })
})
