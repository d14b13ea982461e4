// The bitmap directory and bitmap tables by tables of bytes, from the specification ("Bitmap directory", "Bitmap table").

import { describe, expect, test } from 'vitest'
import {
  bitmapDirectoryBytes,
  bitmapTableSize,
  checkBitmapsExtension,
  decodeBitmapCluster,
  decodeBitmapDirectory,
  encodeBitmapDirectory,
  encodeBitmapTable,
  whyNotStorable,
} from '../../../../../src/drivers/qcow2/format/bitmap-directory.js'
import { createLayout, host } from '../../../../../src/drivers/qcow2/format/layout.js'
import { Table64 } from '../../../../../src/drivers/qcow2/format/table.js'
import { codeOf } from '../../../../support/code-of.js'
import { bytesOf, hexOf, joined } from '../../../../support/hex.js'

const GiB = 2 ** 30
const LAYOUT = createLayout(16, 4, false)

const PLAIN = bytesOf(
  '00 00 00 00 00 05 00 00', // bitmap_table_offset
  '00 00 00 01', // bitmap_table_size
  '00 00 00 00', // flags
  '01', // type: dirty tracking
  '10', // granularity_bits: 64 KiB
  '00 03', // name_size
  '00 00 00 00', // extra_data_size
  '61 62 63', // "abc"
  '00 00 00 00 00', // padding to a multiple of 8
)
const BUSY = bytesOf(
  '00 00 00 01 00 06 00 00', // beyond 4 GiB
  '00 00 00 02',
  '00 00 00 03', // in_use, auto
  '01',
  '09', // 512 bytes
  '00 08',
  '00 00 00 00',
  '62 69 74 6d 61 70 20 32', // "bitmap 2": no padding
)

/** `PLAIN` with bytes at `at` changed. */
function changed(at: number, digits: string): Uint8Array {
  const bytes = PLAIN.slice()
  bytes.set(bytesOf(digits), at)
  return bytes
}

describe('the directory', () => {
  const entries = decodeBitmapDirectory(joined(PLAIN, BUSY), 2, GiB, LAYOUT)

  test('has entries as long as their names, padded to 8 bytes', () => {
    expect(entries).toEqual([
      { name: 'abc', tableOffset: 0x50000, tableSize: 1, inUse: false, auto: false, granularityBits: 16 },
      { name: 'bitmap 2', tableOffset: 0x1_0006_0000, tableSize: 2, inUse: true, auto: true, granularityBits: 9 },
    ])
    expect(bitmapDirectoryBytes(['abc', 'bitmap 2'])).toBe(64)
  })

  test('is written to the same bytes', () => {
    expect(hexOf(encodeBitmapDirectory(entries))).toBe(hexOf(joined(PLAIN, BUSY)))
  })

  test.each([
    ['in_use', 1, { inUse: true, auto: false }],
    ['auto', 2, { inUse: false, auto: true }],
  ])('flag %s is bit value %i', (_name, flag, expected) => {
    const [entry] = decodeBitmapDirectory(changed(15, `0${flag}`), 1, GiB, LAYOUT)
    expect(entry).toMatchObject(expected)
  })

  test.each([
    ['a table between two clusters', changed(0, '00 00 00 00 00 05 02 00')],
    ['no table', changed(0, '00 00 00 00 00 00 00 00')],
    ['a table beyond any offset', changed(0, '00 40 00 00 00 05 00 00')],
    ['a table without entries', changed(8, '00 00 00 00')],
    ['a table that is too short for the disk', changed(17, '09')],
    ['a table of more than 512 MiB of bitmap', changed(8, '00 00 20 01')],
    ['flag bit 3, which is reserved', changed(15, '08')],
    ['flag bit 31, which is reserved', changed(12, '80')],
    ['another type', changed(16, '02')],
    ['a granularity of 256 bytes', changed(17, '08')],
    ['a granularity of 4 GiB', changed(17, '20')],
    ['no name', changed(18, '00 00')],
    ['extra data, of which nothing is known', joined(changed(20, '00 00 00 08'), new Uint8Array(8))],
    ['an entry that reaches behind the directory', changed(18, '00 09')],
    ['a fixed part that is cut short', joined(PLAIN, PLAIN.subarray(0, 16))],
  ])('is refused with %s', async (_name, bytes) => {
    expect(await codeOf(() => decodeBitmapDirectory(bytes, bytes.byteLength > 40 ? 2 : 1, GiB, LAYOUT))).toBe('EINVAL')
  })

  test.each([
    ['more entries than the extension says', joined(PLAIN, BUSY), 1],
    ['fewer entries', PLAIN, 2],
    ['two of one name', joined(PLAIN, PLAIN), 2],
  ])('is refused with %s', async (_name, bytes, count) => {
    expect(await codeOf(() => decodeBitmapDirectory(bytes, count, GiB, LAYOUT))).toBe('EINVAL')
  })

  test('one in use may be of another length of disk', () => {
    const short = changed(15, '01')
    short[17] = 9
    expect(decodeBitmapDirectory(short, 1, 1024 * GiB, LAYOUT)).toHaveLength(1)
  })
})

describe('the extension', () => {
  const sound = { count: 1, directorySize: 32, directoryOffset: host(0x50000) }

  test('that is sound passes', () => {
    expect(() => checkBitmapsExtension(sound, LAYOUT)).not.toThrow()
  })

  test.each([
    ['no bitmaps', { count: 0 }],
    ['65536 bitmaps', { count: 65_536 }],
    ['no directory', { directorySize: 0 }],
    ['a directory of more than 65535 largest entries', { directorySize: 65_535 * 1024 + 1 }],
    ['a directory between two clusters', { directoryOffset: host(0x50200) }],
    ['a directory in the header', { directoryOffset: host(0) }],
  ])('is refused with %s', async (_name, change) => {
    expect(await codeOf(() => checkBitmapsExtension({ ...sound, ...change }, LAYOUT))).toBe('EINVAL')
  })
})

describe('a bitmap table', () => {
  const decode = (digits: string) => decodeBitmapCluster(new Table64(bytesOf(digits)), 0, LAYOUT)

  test.each([
    ['00 00 00 00 00 00 00 00', 'zeroes'],
    ['00 00 00 00 00 00 00 01', 'ones'],
    ['00 00 00 00 00 05 00 00', 0x50000],
    ['00 00 00 01 00 05 00 00', 0x1_0005_0000],
    ['00 00 00 00 00 05 00 01', undefined], // bit 0 beside an offset
    ['00 00 00 00 00 05 02 00', undefined], // not aligned
    ['00 00 00 00 00 00 00 02', undefined], // bits 1 to 8 are reserved
    ['00 00 00 00 00 00 01 00', undefined],
    ['01 00 00 00 00 05 00 00', undefined], // so are bits 56 to 63
    ['80 00 00 00 00 05 00 00', undefined],
    ['00 40 00 00 00 00 00 00', undefined], // beyond the cap
  ])('entry %s', (digits, cluster) => {
    expect(decode(digits)).toBe(cluster)
  })

  test('is written with the offsets of its clusters', () => {
    expect(hexOf(encodeBitmapTable([host(0), host(0x50000), host(0x1_0000_0000)]))).toBe(
      '0000000000000000' + '0000000000050000' + '0000000100000000',
    )
  })

  test.each([
    // 64 KiB clusters of bits at 64 KiB each reach 32 GiB.
    [1, 16, 1],
    [32 * GiB, 16, 1],
    [32 * GiB + 1, 16, 2],
    [1024 * GiB, 16, 32],
    // At 512 bytes each, 256 MiB.
    [GiB, 9, 4],
    [GiB, 31, 1],
  ])('of a disk of %i bytes at 2^%i bytes a bit has %i entries', (length, bits, entries) => {
    expect(bitmapTableSize(length, bits, LAYOUT)).toBe(entries)
  })
})

describe('a new bitmap', () => {
  const why = (name: string, granularity: number, length = GiB) => whyNotStorable([], name, granularity, length)

  test('may have a name of 1023 bytes and a granularity of 512 bytes to 2 GiB', () => {
    expect([why('a'.repeat(1023), 65_536), why('a', 512), why('a', 2 ** 31)]).toEqual([undefined, undefined, undefined])
  })

  test.each([
    ['a name of 1024 bytes', 'a'.repeat(1024), 65_536, GiB],
    ['512 letters of two bytes each', 'é'.repeat(512), 65_536, GiB],
    ['a granularity of 256 bytes', 'a', 256, GiB],
    ['a granularity of 4 GiB', 'a', 2 ** 32, GiB],
    ['a disk without length', 'a', 65_536, 0],
    ['more than 512 MiB of bits', 'a', 512, 2 ** 41 + 512 * 64],
  ])('may not have %s', (_name, name, granularity, length) => {
    expect(why(name, granularity, length)).toEqual(expect.any(String))
  })

  test('at 512 bytes a bit may describe 2 TiB', () => {
    expect(why('a', 512, 2 ** 41)).toBeUndefined()
  })
})
