import { describe, expect, it } from 'vitest'
import { MiB } from '../../../src/common/units.js'
import { alignedBuffer, isArenaMemory, releaseAlignedBuffer } from '../../../src/platform/aligned-buffer.js'
import { loadNativeFileCalls } from '../../../src/platform/native/file-calls.js'

const native = await loadNativeFileCalls()

describe('alignedBuffer', () => {
  it('gives zeroed memory of the size asked for, on a page of its own', () => {
    const buffers = [0, 1, 4095, 4096, 4097, 65_536, 20 * MiB].map((size) => ({ size, buffer: alignedBuffer(size) }))
    const ranges = new Map<ArrayBufferLike, [number, number][]>()
    for (const { size, buffer } of buffers) {
      expect(buffer.byteLength).toBe(size)
      expect(buffer.byteOffset % 4096).toBe(0)
      if (native !== undefined && size > 0) expect(native.address(buffer) % 4096).toBe(0)
      const others = ranges.get(buffer.buffer) ?? []
      const [start, end] = [buffer.byteOffset, buffer.byteOffset + size]
      for (const [from, to] of others) expect(end <= from || start >= to).toBe(true)
      ranges.set(buffer.buffer, [...others, [start, end]])
    }
  })

  it('reuses what is given back, without its content', () => {
    const first = alignedBuffer(8192).fill(0xee)
    releaseAlignedBuffer(first)
    const second = alignedBuffer(8000)
    expect([second.buffer, second.byteOffset]).toEqual([first.buffer, first.byteOffset])
    expect(second.every((byte) => byte === 0)).toBe(true)
  })

  it('takes nothing back that it did not give', () => {
    expect(() => releaseAlignedBuffer(new Uint8Array(4096))).toThrow('not made by alignedBuffer')
    expect(() => alignedBuffer(-1)).toThrow('no size')
    expect(isArenaMemory(new Uint8Array(1))).toBe(false)
  })
})
