// Entries of refcount blocks of every width by tables of bytes, from the specification ("Refcount block entry"): narrow ones are
// packed from the least significant bit of a byte on, wide ones are big-endian.

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readRefcount, writeRefcount } from '../../../../../src/drivers/qcow2/format/refcount-codec.js'
import { bytesOf, hexOf } from '../../../../support/hex.js'

/** Order of the width, a block, and the counts in it. */
const BLOCKS: [order: number, block: string, counts: number[]][] = [
  [0, '01 82', [1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1]],
  [1, 'e4 1b', [0, 1, 2, 3, 3, 2, 1, 0]],
  [2, '21 f0', [1, 2, 0, 15]],
  [3, '01 ff 00 80', [1, 255, 0, 128]],
  [4, '00 01 ff ff 01 00', [1, 65_535, 256]],
  [5, '00 00 00 01 ff ff ff ff 00 01 00 00', [1, 4_294_967_295, 65_536]],
  [6, '00 00 00 00 00 00 00 01 00 1f ff ff ff ff ff ff 00 00 00 01 00 00 00 00', [1, 2 ** 53 - 1, 2 ** 32]],
]

const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

describe.each(BLOCKS)('refcount_order %i', (order, block, counts) => {
  test('is read', () => {
    const view = viewOf(bytesOf(block))
    expect(counts.map((_, index) => readRefcount(view, index, order))).toEqual(counts)
  })

  test('is written', () => {
    const bytes = new Uint8Array(bytesOf(block).byteLength).fill(0xff)
    for (const [index, count] of counts.entries()) writeRefcount(viewOf(bytes), index, order, count)
    expect(hexOf(bytes)).toBe(hexOf(bytesOf(block)))
  })

  test('a count does not touch its neighbours', () => {
    const most = Math.min(2 ** (2 ** order) - 1, Number.MAX_SAFE_INTEGER)
    const write = fc.tuple(fc.nat(31), fc.integer({ min: 0, max: most }))
    fc.assert(
      fc.property(fc.array(write, { maxLength: 40 }), (writes) => {
        const view = viewOf(new Uint8Array(256))
        const model = new Array<number>(32).fill(0)
        for (const [index, count] of writes) {
          writeRefcount(view, index, order, count)
          model[index] = count
        }
        expect(model.map((_, index) => readRefcount(view, index, order))).toEqual(model)
      }),
      { numRuns: 50 },
    )
  })
})

test('64-bit counts beyond 2^53 - 1 read as that', () => {
  const view = viewOf(bytesOf('ff ff ff ff ff ff ff ff', '00 20 00 00 00 00 00 00'))
  expect([0, 1].map((index) => readRefcount(view, index, 6))).toEqual([2 ** 53 - 1, 2 ** 53 - 1])
})
