import fc from 'fast-check'
import { expect, test } from 'vitest'
import { firstDifference, firstNonZero, sparseRuns } from '../../../src/cli/sectors.js'

/** A buffer of sectors, zero where the flag says so; the last one may be short. */
const buffers = fc
  .record({ zero: fc.array(fc.boolean(), { minLength: 1, maxLength: 40 }), missing: fc.integer({ min: 0, max: 511 }) })
  .map(({ zero, missing }) => {
    const buffer = new Uint8Array(zero.length * 512 - missing)
    zero.forEach((isZero, sector) => {
      if (!isZero) buffer.fill(7, sector * 512, sector * 512 + 1)
    })
    return buffer
  })

test('runs tile the buffer in order; those of zeroes are zero, long enough, and end at the alignment', () => {
  const sparseSizes = fc.constantFrom(512, 1024, 4096)
  const alignments = fc.constantFrom(512, 1024, 4096)
  const offsets = fc.integer({ min: 0, max: 64 }).map((sector) => sector * 512)
  fc.assert(
    fc.property(buffers, sparseSizes, alignments, offsets, (buffer, sparse, alignment, offset) => {
      let at = 0
      for (const { start, bytes, zero } of sparseRuns(buffer, sparse, alignment, offset)) {
        expect(start).toBe(at)
        expect(bytes).toBeGreaterThan(0)
        at += bytes
        if (!zero) continue
        expect(buffer.subarray(start, at).every((byte) => byte === 0)).toBe(true)
        if (start === 0 && at === buffer.byteLength) continue
        expect(bytes).toBeGreaterThanOrEqual(sparse)
        expect((offset + start) % alignment).toBe(0)
        if (at !== buffer.byteLength) expect((offset + at) % alignment).toBe(0)
      }
      expect(at).toBe(buffer.byteLength)
    }),
  )
})

test('a zero run is found where it is long enough, and left in the data where it is not', () => {
  const buffer = new Uint8Array(16384).fill(1)
  buffer.fill(0, 4096, 8192)
  const runs = [
    { start: 0, bytes: 4096, zero: false },
    { start: 4096, bytes: 4096, zero: true },
    { start: 8192, bytes: 8192, zero: false },
  ]
  expect(sparseRuns(buffer, 4096, 4096, 0)).toEqual(runs)
  expect(sparseRuns(buffer, 8192, 4096, 0)).toEqual([{ start: 0, bytes: 16384, zero: false }])
  expect(sparseRuns(buffer, 4096, 4096, 512)).toEqual([{ start: 0, bytes: 16384, zero: false }])
})

test('differences and first bytes that are not zero are found at any place', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2000 }), fc.nat(), fc.nat(3), (length, pick, shift) => {
      const at = pick % length
      const a = new Uint8Array(length + shift).subarray(shift)
      const b = new Uint8Array(length)
      expect(firstDifference(a, b)).toBeUndefined()
      expect(firstNonZero(b)).toBeUndefined()
      b[at] = 1
      if (at + 9 < length) b[at + 9] = 1
      expect(firstDifference(a, b)).toBe(at)
      expect(firstNonZero(b)).toBe(at)
    }),
  )
})
