// The header by tables of bytes, from the specification ("Header", "Additional fields", "Header padding").

import { describe, expect, test } from 'vitest'
import {
  checkFeatures,
  decodeHeader,
  encodedHeaderLength,
  encodeHeader,
  isExtended,
  looksLikeQcow2,
} from '../../../../../src/drivers/qcow2/format/header.js'
import { codeOf } from '../../../../support/code-of.js'
import { bytesOf, hexOf } from '../../../../support/hex.js'

const V2 = [
  '51 46 49 fb', // magic: "QFI\xfb"
  '00 00 00 02', // version
  '00 00 00 00 00 00 01 90', // backing_file_offset: 400
  '00 00 00 08', // backing_file_size
  '00 00 00 10', // cluster_bits: 64 KiB
  '00 00 01 00 00 00 02 00', // size: 1 TiB and a sector
  '00 00 00 01', // crypt_method: AES
  '00 00 08 01', // l1_size
  '00 00 00 00 00 03 00 00', // l1_table_offset
  '00 00 00 01 00 01 00 00', // refcount_table_offset: 4 GiB and a cluster
  '00 00 00 02', // refcount_table_clusters
  '00 00 00 03', // nb_snapshots
  '00 00 00 00 00 0a 00 00', // snapshots_offset
]

const V3 = [
  '51 46 49 fb 00 00 00 03',
  '00 00 00 00 00 00 00 00 00 00 00 00',
  '00 00 00 0e', // cluster_bits: 16 KiB
  '00 00 00 00 00 10 00 00', // size: 1 MiB
  '00 00 00 02', // crypt_method: LUKS
  '00 00 00 01 00 00 00 00 00 00 c0 00', // l1
  '00 00 00 00 00 00 40 00 00 00 00 01', // refcount table
  '00 00 00 00 00 00 00 00 00 00 00 00', // snapshots
  '00 00 00 00 00 00 00 19', // incompatible_features: dirty, compression type, extended L2
  '00 00 00 00 00 00 00 01', // compatible_features: lazy refcounts
  '80 00 00 00 00 00 00 01', // autoclear_features: bitmaps, and bit 63
  '00 00 00 06', // refcount_order: 64 bits
]

const LENGTH_104 = '00 00 00 68'
const LENGTH_112 = '00 00 00 70'
const ZSTD = '01 00 00 00 00 00 00 00'

/** A header of version 3 with four bytes at `at` changed. */
function changed(at: number, digits: string): Uint8Array {
  const bytes = bytesOf(...V3, LENGTH_112, ZSTD)
  bytes.set(bytesOf(digits), at)
  return bytes
}

describe('version 2', () => {
  const header = decodeHeader(bytesOf(...V2))

  test('has its fields at the offsets of the specification', () => {
    expect(header).toMatchObject({
      version: 2,
      backingFileOffset: 400,
      backingFileSize: 8,
      clusterBits: 16,
      size: 1_099_511_628_288,
      cryptMethod: 1,
      l1Size: 2049,
      l1TableOffset: 196_608,
      refcountTableOffset: 4_295_032_832,
      refcountTableClusters: 2,
      nbSnapshots: 3,
      snapshotsOffset: 655_360,
    })
  })

  test('has no features, 16-bit refcounts, deflate, and 72 bytes', () => {
    expect(header).toMatchObject({
      incompatibleFeatures: 0n,
      compatibleFeatures: 0n,
      autoclearFeatures: 0n,
      refcountOrder: 4,
      headerLength: 72,
      compressionType: 0,
    })
    expect(encodedHeaderLength(header)).toBe(72)
  })

  test('is written to the same bytes, and not beyond', () => {
    const into = new Uint8Array(80).fill(0)
    encodeHeader(header, into)
    expect(hexOf(into)).toBe(hexOf(bytesOf(...V2)) + '00'.repeat(8))
  })

  test('takes nothing from what stands behind its 72 bytes', () => {
    const followed = decodeHeader(bytesOf(...V2, 'ff'.repeat(48)))
    expect(followed).toEqual(header)
  })
})

describe('version 3', () => {
  test('has features, the width of refcounts and its length behind the fields of version 2', () => {
    const header = decodeHeader(bytesOf(...V3, LENGTH_112, ZSTD))
    expect(header).toMatchObject({
      version: 3,
      clusterBits: 14,
      cryptMethod: 2,
      incompatibleFeatures: 0x19n,
      compatibleFeatures: 1n,
      autoclearFeatures: 0x8000_0000_0000_0001n,
      refcountOrder: 6,
      headerLength: 112,
      compressionType: 1,
    })
    expect(isExtended(header)).toBe(true)
  })

  test('of 104 bytes has no compression type, whatever stands there', () => {
    expect(decodeHeader(bytesOf(...V3, LENGTH_104, ZSTD)).compressionType).toBe(0)
  })

  test('is written to the same bytes', () => {
    const bytes = bytesOf(...V3, LENGTH_112, ZSTD)
    const into = new Uint8Array(112)
    encodeHeader(decodeHeader(bytes), into)
    expect(hexOf(into)).toBe(hexOf(bytes))
  })

  test('keeps fields that are unknown: they are as long as its length says', () => {
    const bytes = bytesOf(...V3, '00 00 00 80', ZSTD, '01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 10', 'ee ee')
    const header = decodeHeader(bytes)
    expect(hexOf(header.unknownFields)).toBe('0102030405060708090a0b0c0d0e0f10')
    expect(encodedHeaderLength(header)).toBe(128)
    const into = new Uint8Array(128)
    encodeHeader(header, into)
    expect(hexOf(into)).toBe(hexOf(bytes.subarray(0, 128)))
  })
})

describe('no header', () => {
  test.each([
    ['another magic', changed(0, '51 46 49 fa'), 'EINVAL'],
    ['71 bytes', bytesOf(...V2).subarray(0, 71), 'EINVAL'],
    ['a file of version 3 that ends before byte 104', bytesOf(...V3), 'EINVAL'],
    ['version 1', changed(4, '00 00 00 01'), 'ENOTSUP'],
    ['version 4', changed(4, '00 00 00 04'), 'ENOTSUP'],
    ['clusters of 256 bytes', changed(20, '00 00 00 08'), 'EINVAL'],
    ['clusters of 4 MiB', changed(20, '00 00 00 16'), 'EINVAL'],
    ['a length of 96', changed(100, '00 00 00 60'), 'EINVAL'],
    ['a length of 108: no multiple of 8', changed(100, '00 00 00 6c'), 'EINVAL'],
    ['a length of a cluster and 8', changed(100, '00 00 40 08'), 'EINVAL'],
    ['a disk beyond the cap', changed(24, '00 40 00 00 00 00 00 00'), 'EFBIG'],
    ['an L1 table beyond any offset', changed(40, '80 00 00 00 00 00 00 00'), 'EINVAL'],
  ])('%s', async (_name, bytes, code) => {
    expect(await codeOf(() => decodeHeader(bytes))).toBe(code)
  })

  test('is what a probe of less than 8 bytes sees', () => {
    expect(looksLikeQcow2(bytesOf('51 46 49 fb 00 00 00'))).toBe(false)
    expect(looksLikeQcow2(bytesOf('51 46 49 fb 00 00 00 02'))).toBe(true)
    expect(looksLikeQcow2(bytesOf('51 46 49 fb 00 00 00 01'))).toBe(false)
    expect(looksLikeQcow2(bytesOf('51 46 49 fb 00 00 00 03'))).toBe(true)
  })
})

describe('features', () => {
  const judged = (bytes: Uint8Array, names: Record<number, string> = {}) =>
    codeOf(() => checkFeatures(decodeHeader(bytes), (bit) => names[bit]))

  test('that are known are no reason to refuse', async () => {
    expect(await judged(changed(72, '00 00 00 00 00 00 00 1b'))).toBeUndefined()
  })

  test.each([5, 31, 32, 63])('incompatible bit %i is unknown: the image cannot be opened', async (bit) => {
    const bytes = bytesOf(...V3, LENGTH_112, ZSTD)
    new DataView(bytes.buffer).setBigUint64(72, (1n << BigInt(bit)) | 8n)
    expect(await judged(bytes)).toBe('ENOTSUP')
    expect(() => checkFeatures(decodeHeader(bytes), (asked) => (asked === bit ? 'new thing' : undefined))).toThrow(
      'Unsupported qcow2 feature(s): new thing',
    )
  })

  test('unknown compatible and autoclear bits are none', async () => {
    const bytes = changed(80, 'ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff')
    expect(await judged(bytes)).toBeUndefined()
  })

  test.each([
    ['the compression bit without a type', changed(104, '00'), 'EINVAL'],
    ['a type without the compression bit', changed(72, '00 00 00 00 00 00 00 10'), 'EINVAL'],
    ['an unknown type', changed(104, '02'), 'ENOTSUP'],
    ['refcounts of 128 bits', changed(96, '00 00 00 07'), 'EINVAL'],
    ['subclusters in clusters of 8 KiB', changed(20, '00 00 00 0d'), 'EINVAL'],
    ['encryption method 3', changed(32, '00 00 00 03'), 'EINVAL'],
  ])('%s', async (_name, bytes, code) => {
    expect(await judged(bytes)).toBe(code)
  })
})
