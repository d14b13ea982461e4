// Header extensions by tables of bytes, from the specification ("Header extensions" and the sections of each kind).

import { describe, expect, test } from 'vitest'
import {
  decodeExtensions,
  encodeExtensions,
  featureName,
  noExtensions,
} from '../../../../../src/drivers/qcow2/format/extensions.js'
import { host } from '../../../../../src/drivers/qcow2/format/layout.js'
import { codeOf } from '../../../../support/code-of.js'
import { asciiOf, bytesOf, hexOf, joined } from '../../../../support/hex.js'

const END = bytesOf('00 00 00 00 00 00 00 00')
/** 3 bytes of data, padded to 8. */
const FORMAT = bytesOf('e2 79 2a ca 00 00 00 03', '72 61 77 00 00 00 00 00')
const DATA_FILE = bytesOf('44 41 54 41 00 00 00 08', '64 69 73 6b 2e 72 61 77')
const CRYPTO = bytesOf('05 37 be 77 00 00 00 10', '00 00 00 00 00 04 00 00', '00 00 00 00 00 1f 90 00')
const BITMAPS = bytesOf(
  '23 85 28 75 00 00 00 18',
  '00 00 00 02', // nb_bitmaps
  '00 00 00 00', // reserved
  '00 00 00 00 00 00 00 48', // bitmap_directory_size
  '00 00 00 01 00 02 00 00', // bitmap_directory_offset
)
const FOREIGN = bytesOf('12 34 56 78 00 00 00 05', '0a 0b 0c 0d 0e 00 00 00')

const decode = (...parts: Uint8Array[]) => {
  const bytes = joined(...parts)
  return decodeExtensions(bytes, 0, bytes.byteLength)
}

describe('each extension', () => {
  test('format of the backing file: a string without an end mark', () => {
    expect(decode(FORMAT, END)).toEqual({ ...noExtensions(), backingFormat: 'raw' })
  })

  test('what pads a string is not part of it, whatever it is', () => {
    const padded = bytesOf('e2 79 2a ca 00 00 00 03', '72 61 77 ff ff ff ff ff')
    expect(decode(padded, DATA_FILE, END)).toMatchObject({ backingFormat: 'raw', dataFile: 'disk.raw' })
  })

  test('name of the external data file', () => {
    expect(decode(DATA_FILE, END)).toEqual({ ...noExtensions(), dataFile: 'disk.raw' })
  })

  test('full disk encryption header pointer: offset and length', () => {
    expect(decode(CRYPTO, END)).toEqual({ ...noExtensions(), crypto: { offset: 0x40000, bytes: 0x1f9000 } })
  })

  test('bitmaps: count, size and offset of the directory', () => {
    expect(decode(BITMAPS, END)).toEqual({
      ...noExtensions(),
      bitmaps: { count: 2, directorySize: 72, directoryOffset: 0x1_0002_0000 },
    })
  })

  test('unknown ones, with their type and data, in their order', () => {
    const other = bytesOf('00 00 00 01 00 00 00 00')
    const { unknown } = decode(FOREIGN, other, FOREIGN, END)
    expect(unknown.map(({ type, data }) => [type, hexOf(data)])).toEqual([
      [0x12345678, '0a0b0c0d0e'],
      [1, ''],
      [0x12345678, '0a0b0c0d0e'],
    ])
  })
})

describe('the area of extensions', () => {
  test('ends at the end marker', () => {
    expect(decode(FORMAT, END, DATA_FILE)).toEqual({ ...noExtensions(), backingFormat: 'raw' })
  })

  test('ends where the backing file name begins, without a marker', () => {
    const bytes = joined(new Uint8Array(112), FORMAT, asciiOf('base.img'))
    expect(decodeExtensions(bytes, 112, 128)).toEqual({ ...noExtensions(), backingFormat: 'raw' })
  })

  test.each([
    ['data that reaches behind the end', [bytesOf('12 34 56 78 00 00 00 09', '01 02 03 04 05 06 07 08')], 'EINVAL'],
    ['a length of 2^32 - 1', [bytesOf('12 34 56 78 ff ff ff ff')], 'EINVAL'],
    ['the same extension twice', [FORMAT, FORMAT], 'EINVAL'],
    ['a format name of 16 bytes', [bytesOf('e2 79 2a ca 00 00 00 10', '61'.repeat(16))], 'EINVAL'],
    ['an encryption pointer of 15 bytes', [bytesOf('05 37 be 77 00 00 00 0f', '00'.repeat(16))], 'EINVAL'],
    ['an encryption pointer beyond any offset', [bytesOf('05 37 be 77 00 00 00 10', 'ff'.repeat(16))], 'EINVAL'],
    ['bitmaps of 16 bytes', [bytesOf('23 85 28 75 00 00 00 10', '00'.repeat(16))], 'EINVAL'],
    [
      'bitmaps with a reserved bit',
      [bytesOf('23 85 28 75 00 00 00 18', '00 00 00 01 00 00 00 01', '00'.repeat(16))],
      'EINVAL',
    ],
  ])('is refused with %s', async (_name, parts, code) => {
    expect(await codeOf(() => decode(...parts))).toBe(code)
  })
})

describe('written', () => {
  test('all of them come back to the same bytes, unknown ones behind the known', () => {
    const all = joined(FORMAT, DATA_FILE, CRYPTO, BITMAPS, FOREIGN, END)
    expect(hexOf(encodeExtensions(decode(all), false))).toBe(hexOf(all))
  })

  test('none of them is the end marker alone', () => {
    expect(hexOf(encodeExtensions(noExtensions(), false))).toBe(hexOf(END))
  })

  test('padding is zeroes', () => {
    const bytes = encodeExtensions({ ...noExtensions(), dataFile: 'd' }, false)
    expect(hexOf(bytes)).toBe(hexOf(bytesOf('44 41 54 41 00 00 00 01', '64 00 00 00 00 00 00 00', '00'.repeat(8))))
  })

  test('the pointer of the encryption takes offsets beyond 4 GiB', () => {
    const crypto = { offset: host(0x12_3456_0000), bytes: 512 }
    expect(hexOf(encodeExtensions({ ...noExtensions(), crypto }, false))).toBe(
      hexOf(bytesOf('05 37 be 77 00 00 00 10', '00 00 00 12 34 56 00 00', '00 00 00 00 00 00 02 00', '00'.repeat(8))),
    )
  })
})

describe('the feature name table', () => {
  const entry = (kind: number, bit: number, name: string) => joined(Uint8Array.of(kind, bit), asciiOf(name, 46))

  test('has 48 bytes for each feature that is known here: its kind, its bit, its name', () => {
    const bytes = encodeExtensions(noExtensions(), true)
    expect(hexOf(bytes.subarray(0, 8))).toBe(hexOf(bytesOf('68 03 f8 57 00 00 01 80')))
    const table = joined(
      entry(0, 0, 'dirty bit'),
      entry(0, 1, 'corrupt bit'),
      entry(0, 2, 'external data file'),
      entry(0, 3, 'compression type'),
      entry(0, 4, 'extended L2 entries'),
      entry(1, 0, 'lazy refcounts'),
      entry(2, 0, 'bitmaps'),
      entry(2, 1, 'raw external data'),
    )
    expect(hexOf(bytes.subarray(8))).toBe(hexOf(joined(table, END)))
  })

  test('names incompatible features by their bit', () => {
    const table = joined(entry(1, 7, 'compatible'), entry(0, 7, 'incompatible'), entry(0, 9, 'x'.repeat(46)))
    expect(featureName(table, 7)).toBe('incompatible')
    // A name of full length has no zero behind it.
    expect(featureName(table, 9)).toBe('x'.repeat(46))
    expect(featureName(table, 8)).toBeUndefined()
    expect(featureName(undefined, 7)).toBeUndefined()
  })

  test('an entry that is cut short is none', () => {
    expect(featureName(entry(0, 3, 'short').subarray(0, 47), 3)).toBeUndefined()
  })
})
