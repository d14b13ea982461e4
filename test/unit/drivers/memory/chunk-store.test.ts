import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { IoVector } from '../../../../src/common/io-vector.js'
import { CHUNK_BYTES, ChunkStore } from '../../../../src/drivers/memory/chunk-store.js'

const bytesOf = (store: ChunkStore, offset = 0, bytes = store.length): Uint8Array => {
  const into = new Uint8Array(bytes).fill(0xee)
  store.read(offset, into)
  return into
}

// toEqual takes seconds for this many bytes.
const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0

describe('ChunkStore', () => {
  it('reads zeroes where nothing was written and allocates nothing for that', () => {
    const store = new ChunkStore(10 * CHUNK_BYTES)
    expect(bytesOf(store).every((byte) => byte === 0)).toBe(true)
    expect(store.allocatedBytes).toBe(0)
  })

  it('keeps bytes across chunk borders and allocates only the chunks written', () => {
    const store = new ChunkStore(4 * CHUNK_BYTES)
    const data = Uint8Array.from({ length: 1000 }, (_, i) => (i % 255) + 1)
    store.write(CHUNK_BYTES - 500, data)
    expect(bytesOf(store, CHUNK_BYTES - 500, 1000)).toEqual(data)
    expect(store.allocatedBytes).toBe(2 * CHUNK_BYTES)
  })

  it('scatters and gathers', () => {
    const store = new ChunkStore(CHUNK_BYTES * 2)
    store.write(CHUNK_BYTES - 2, new IoVector([Uint8Array.of(1), Uint8Array.of(2, 3, 4)]))
    const into = new IoVector([new Uint8Array(3), new Uint8Array(1)])
    store.read(CHUNK_BYTES - 2, into)
    expect(into.buffers.map((buffer) => [...buffer])).toEqual([[1, 2, 3], [4]])
  })

  it('frees whole chunks when zeroed and clears the edges', () => {
    const store = new ChunkStore(4 * CHUNK_BYTES)
    store.write(0, new Uint8Array(4 * CHUNK_BYTES).fill(7))
    store.zero(CHUNK_BYTES / 2, 2 * CHUNK_BYTES)
    expect(store.allocatedBytes).toBe(3 * CHUNK_BYTES)
    const all = bytesOf(store)
    expect(all.indexOf(0)).toBe(CHUNK_BYTES / 2)
    expect(all.indexOf(7, CHUNK_BYTES / 2)).toBe(2.5 * CHUNK_BYTES)
  })

  it('keeps the edges of a discard', () => {
    const store = new ChunkStore(3 * CHUNK_BYTES)
    store.write(0, new Uint8Array(3 * CHUNK_BYTES).fill(7))
    store.discard(1, 2 * CHUNK_BYTES)
    const all = bytesOf(store)
    expect(all.indexOf(0)).toBe(CHUNK_BYTES)
    expect(all.indexOf(7, CHUNK_BYTES)).toBe(2 * CHUNK_BYTES)
  })

  it('does not show again what was cut', () => {
    const store = new ChunkStore(CHUNK_BYTES + 100)
    store.write(0, new Uint8Array(CHUNK_BYTES + 100).fill(7))
    store.resize(50)
    store.resize(2 * CHUNK_BYTES)
    const all = bytesOf(store)
    expect(all.subarray(0, 50).every((byte) => byte === 7)).toBe(true)
    expect(all.subarray(50).every((byte) => byte === 0)).toBe(true)
  })

  it('finds holes and data in a disk far larger than memory', () => {
    const store = new ChunkStore(2 ** 50)
    store.write(2 ** 49 + 5, Uint8Array.of(1))
    expect(store.extent(0, 2 ** 50)).toEqual({ allocated: false, bytes: 2 ** 49 })
    expect(store.extent(2 ** 49, 2 ** 49)).toEqual({ allocated: true, bytes: CHUNK_BYTES })
    store.zero(0, 2 ** 50)
    expect(store.allocatedBytes).toBe(0)
  })

  it('refuses a length beyond the cap with EFBIG', () => {
    expect(() => new ChunkStore(2 ** 53)).toThrow(expect.objectContaining({ code: 'EFBIG' }))
  })

  it('agrees with a flat buffer', () => {
    const size = 3 * CHUNK_BYTES + 777
    const range = fc.tuple(fc.integer({ min: 0, max: size - 1 }), fc.integer({ min: 1, max: size }))
    const operation = fc.tuple(
      fc.constantFrom('write', 'zero', 'discard', 'resize'),
      range,
      fc.integer({ min: 1, max: 255 }),
    )
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 30 }), (operations) => {
        const store = new ChunkStore(size)
        const flat = new Uint8Array(size)
        for (const [kind, [offset, wanted], value] of operations) {
          const bytes = Math.min(wanted, size - offset)
          if (kind === 'write') {
            store.write(offset, new Uint8Array(bytes).fill(value))
            flat.fill(value, offset, offset + bytes)
          } else if (kind === 'zero') {
            store.zero(offset, bytes)
            flat.fill(0, offset, offset + bytes)
          } else if (kind === 'resize') {
            store.resize(offset)
            store.resize(size)
            flat.fill(0, offset)
          } else {
            store.discard(offset, bytes)
            const first = Math.ceil(offset / CHUNK_BYTES) * CHUNK_BYTES
            const last = offset + bytes === size ? size : Math.floor((offset + bytes) / CHUNK_BYTES) * CHUNK_BYTES
            if (last > first) flat.fill(0, first, last)
          }
        }
        for (let at = 0; at < size; ) {
          const extent = store.extent(at, size - at)
          expect(extent.bytes).toBeGreaterThan(0)
          if (!extent.allocated)
            expect(same(flat.subarray(at, at + extent.bytes), new Uint8Array(extent.bytes))).toBe(true)
          at += extent.bytes
        }
        expect(same(bytesOf(store), flat)).toBe(true)
      }),
      { numRuns: 50 },
    )
  })
})
