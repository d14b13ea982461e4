import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type Bytes,
  buffersOf,
  concatBytes,
  copyBytes,
  fillBytes,
  flattenBytes,
  IoVector,
  isZeroBytes,
  sliceBytes,
  zeroBytes,
} from '../../../src/common/io-vector.js'

/** The plain twin of any Bytes: its content as numbers. */
const contentOf = (bytes: Bytes) => buffersOf(bytes).flatMap((buffer) => [...buffer])

/** Bytes cut into buffers at random places, empty ones among them, at odd offsets of their memory. */
const bytesArbitrary: fc.Arbitrary<Bytes> = fc.oneof(
  fc.uint8Array({ maxLength: 40 }),
  fc.array(fc.tuple(fc.nat(5), fc.uint8Array({ maxLength: 12 })), { maxLength: 6 }).map(
    (parts) =>
      new IoVector(
        parts.map(([skip, part]) => {
          const memory = new Uint8Array(skip + part.length)
          memory.set(part, skip)
          return memory.subarray(skip)
        }),
      ),
  ),
)

const range = (a: number, b: number, length: number): [number, number] => {
  const [x, y] = [a % (length + 1), b % (length + 1)]
  return x < y ? [x, y] : [y, x]
}

describe('bytes of one or several buffers', () => {
  it('have the length of all', () => {
    fc.assert(
      fc.property(bytesArbitrary, (bytes) => {
        expect(bytes.byteLength).toBe(contentOf(bytes).length)
        expect([...flattenBytes(bytes)]).toEqual(contentOf(bytes))
      }),
    )
  })

  it('slice as one range, without copying', () => {
    fc.assert(
      fc.property(bytesArbitrary, fc.nat(), fc.nat(), (bytes, a, b) => {
        const [start, end] = range(a, b, bytes.byteLength)
        const slice = sliceBytes(bytes, start, end)
        expect(contentOf(slice)).toEqual(contentOf(bytes).slice(start, end))
        expect(slice.byteLength).toBe(end - start)
        fillBytes(slice, 7)
        expect(contentOf(bytes).slice(start, end)).toEqual(new Array(end - start).fill(7))
      }),
    )
  })

  it('concatenate without copying', () => {
    fc.assert(
      fc.property(fc.array(bytesArbitrary, { maxLength: 4 }), (parts) => {
        const joined = concatBytes(parts)
        expect(contentOf(joined)).toEqual(parts.flatMap(contentOf))
        zeroBytes(joined)
        expect(parts.flatMap(contentOf).every((byte) => byte === 0)).toBe(true)
      }),
    )
  })

  it('fill a range and nothing else', () => {
    fc.assert(
      fc.property(bytesArbitrary, fc.nat(), fc.nat(), fc.nat(255), (bytes, a, b, value) => {
        const [start, end] = range(a, b, bytes.byteLength)
        const expected = contentOf(bytes).fill(value, start, end)
        fillBytes(bytes, value, start, end)
        expect(contentOf(bytes)).toEqual(expected)
      }),
    )
  })

  it('copy into a range and nothing else', () => {
    fc.assert(
      fc.property(bytesArbitrary, bytesArbitrary, fc.nat(), (target, source, a) => {
        fc.pre(source.byteLength <= target.byteLength)
        const at = a % (target.byteLength - source.byteLength + 1)
        const expected = contentOf(target)
        expected.splice(at, source.byteLength, ...contentOf(source))
        copyBytes(target, source, at)
        expect(contentOf(target)).toEqual(expected)
      }),
    )
  })

  it('are zero exactly if every byte is', () => {
    const mostlyZero = fc.uint8Array({ maxLength: 70 }).map((bytes) => bytes.map((byte) => (byte > 250 ? byte : 0)))
    fc.assert(
      fc.property(mostlyZero, fc.nat(7), (bytes, skip) => {
        const memory = new Uint8Array(skip + bytes.length).fill(0xee)
        memory.set(bytes, skip)
        const view = memory.subarray(skip)
        const zero = bytes.every((byte) => byte === 0)
        expect(isZeroBytes(view)).toBe(zero)
        expect(isZeroBytes(new IoVector([view.subarray(0, bytes.length >> 1), view.subarray(bytes.length >> 1)]))).toBe(
          zero,
        )
      }),
      { numRuns: 500 },
    )
  })

  it('find a single byte that is not zero, wherever it stands', () => {
    for (let length = 1; length <= 40; length++) {
      for (let at = 0; at < length; at++) {
        const bytes = new Uint8Array(length)
        bytes[at] = 1
        expect(isZeroBytes(bytes)).toBe(false)
      }
      expect(isZeroBytes(new Uint8Array(length))).toBe(true)
    }
  })

  it('are the same memory where nothing has to change', () => {
    const bytes = new Uint8Array(4)
    expect(flattenBytes(bytes)).toBe(bytes)
    expect(sliceBytes(bytes, 0, 4)).toBe(bytes)
    expect(concatBytes([new Uint8Array(0), bytes])).toBe(bytes)
    const vector = new IoVector([bytes, new Uint8Array(2)])
    expect(sliceBytes(vector, 0, 6)).toBe(vector)
    expect(sliceBytes(vector, 1, 3)).toBeInstanceOf(Uint8Array)
  })
})
