// Entries of L1, L2 and refcount tables by tables of bytes, from the specification ("L1 table entry", "Refcount table entry").

import { describe, expect, test } from 'vitest'
import { COPIED_HIGH, entryOffset, Table64 } from '../../../../../src/drivers/qcow2/format/table.js'
import { bytesOf, hexOf } from '../../../../support/hex.js'

const TABLE = new Table64(
  bytesOf(
    '00 00 00 00 00 00 00 00',
    '80 00 00 00 00 05 00 00', // copied, 0x50000
    '00 00 00 00 00 05 00 00', // shared
    '80 1f ff ff ff ff fe 00', // the largest offset below the cap
    '7f 00 00 00 00 00 01 ff', // reserved bits alone: 56 to 62, and 0 to 8
    '80 20 00 00 00 00 00 00', // 2^53
  ),
)

describe('a table of 64-bit entries', () => {
  test('offsets stand in bits 9 to 55', () => {
    const offsets = Array.from({ length: TABLE.length }, (_, index) => TABLE.offset(index))
    expect(offsets).toEqual([0, 0x50000, 0x50000, 2 ** 53 - 512, 0, Number.NaN])
  })

  test('bit 63 tells what is counted once', () => {
    expect([1, 2].map((index) => (TABLE.high(index) & COPIED_HIGH) !== 0)).toEqual([true, false])
  })

  test('an entry that is not there is zero', () => {
    expect([0, 1, 5, 6, 1000].map((index) => TABLE.isZero(index))).toEqual([true, false, false, true, true])
  })

  test('is written big-endian', () => {
    const table = Table64.ofEntries(3)
    table.setOffset(0, 0x12_3456_7800)
    table.setOffset(1, 0x50000, COPIED_HIGH)
    table.set(2, 0xffff_ffff, 0x8000_0001)
    expect(hexOf(table.bytes)).toBe('0000001234567800' + '8000000000050000' + 'ffffffff80000001')
    expect([table.offset(0), table.low(2)]).toEqual([0x12_3456_7800, 0x8000_0001])
  })

  test('shares the bytes it is made of, wherever they begin', () => {
    const bytes = bytesOf('ff', '00 00 00 00 00 00 02 00', 'ff')
    const table = new Table64(bytes.subarray(1, 9))
    expect([table.length, table.offset(0)]).toEqual([1, 512])
    table.setOffset(0, 1024)
    expect(hexOf(bytes)).toBe(`ff${'0000000000000400'}ff`)
  })

  test('an offset from its halves', () => {
    expect([entryOffset(0x80000001, 0x200), entryOffset(0x00ffffff, 0xffffffff)]).toEqual([2 ** 32 + 512, Number.NaN])
  })
})
