// New images: header, first tables and their places, for each creation option. Places are those of the field's tools.

import { describe, expect, test } from 'vitest'
import { codeOf } from '../../../../support/code-of.js'
import { MemoryHost } from '../../../../support/memory-host.js'
import { COPIED, type ImageBytes } from '../../../../support/qcow2-bytes.js'
import { runCheck } from '../../../../support/qcow2-check.js'

const KiB = 1024
const MiB = 1024 * KiB
const GiB = 1024 * MiB

const create = (options: Record<string, string | number | boolean>) => new MemoryHost().create(options)

/** Refcounts of the first clusters. */
const counts = (image: ImageBytes, clusters: number) =>
  Array.from({ length: clusters }, (_, cluster) => Number(image.refcount(cluster)))

async function expectSound(image: ImageBytes): Promise<void> {
  expect((await runCheck(image)).result).toMatchObject({ corruptions: 0, leaks: 0, checkErrors: 0 })
}

describe('by default', () => {
  test('version 3, 64 KiB clusters, 16-bit refcounts; refcount table, block and L1 in clusters 1, 2 and 3', async () => {
    const image = await create({ size: GiB })
    expect([image.get32(0), image.get32(4), image.get32(20), image.get32(96), image.get32(100)]).toEqual([
      0x514649fb, 3, 16, 4, 112,
    ])
    expect([image.get64(24), image.get32(36), image.get64(40)]).toEqual([BigInt(GiB), 2, 0x30000n])
    expect([image.get64(48), image.get32(56), image.get64(0x10000)]).toEqual([0x10000n, 1, 0x20000n])
    expect([image.get64(72), image.get64(80), image.get64(88)]).toEqual([0n, 0n, 0n])
    expect([image.get64(8), image.get32(32), image.get32(60), image.get64(64)]).toEqual([0n, 0, 0, 0n])
    expect(counts(image, 5)).toEqual([1, 1, 1, 1, 0])
    // The file ends with the L1 table.
    expect(image.bytes.byteLength).toBe(0x30000 + 16)
    await expectSound(image)
  })

  test('the names of features follow the header, and end the extensions', async () => {
    const image = await create({ size: MiB })
    expect([image.get32(112), image.get32(116), image.get32(120 + 384)]).toEqual([0x6803f857, 384, 0])
  })

  test('a size is rounded up to sectors', async () => {
    expect((await create({ size: 1000 })).get64(24)).toBe(1024n)
    const empty = await create({ size: 0 })
    expect([empty.get64(24), empty.get32(36), empty.get64(40)]).toEqual([0n, 0, 0n])
  })
})

describe('options', () => {
  test.each([9, 10, 12, 14, 16, 18, 21])(
    'cluster_size 2^%i: tables in clusters 1, 2 and 3 of that size',
    async (bits) => {
      const cluster = 2 ** bits
      const image = await create({ size: 16 * cluster, cluster_size: cluster })
      expect([image.get32(20), image.get64(48), image.get64(40)]).toEqual([bits, BigInt(cluster), BigInt(3 * cluster)])
      expect(image.get64(cluster)).toBe(BigInt(2 * cluster))
      expect(counts(image, 5)).toEqual([1, 1, 1, 1, 0])
      await expectSound(image)
    },
  )

  test.each([1, 2, 4, 8, 16, 32, 64])('refcount_bits %i', async (bits) => {
    const image = await create({ size: MiB, refcount_bits: bits })
    expect(image.get32(96)).toBe(Math.log2(bits))
    expect(counts(image, 5)).toEqual([1, 1, 1, 1, 0])
    await expectSound(image)
  })

  test('compat=0.10: version 2, and nothing behind byte 72 but the end of extensions', async () => {
    const image = await create({ size: MiB, compat: '0.10' })
    expect([image.get32(4), image.get64(72), image.get64(80), image.get64(96)]).toEqual([2, 0n, 0n, 0n])
    await expectSound(image)
  })

  test('lazy_refcounts, compression_type and extended_l2 set their feature bits', async () => {
    const image = await create({ size: MiB, lazy_refcounts: true, compression_type: 'zstd', extended_l2: true })
    expect([image.get64(72), image.get64(80), image.bytes[104]]).toEqual([0x18n, 1n, 1])
  })

  test('backing_file and backing_fmt: the name stands behind the extensions', async () => {
    const host = new MemoryHost()
    await host.create({ size: MiB }, 'base')
    const image = await host.create({ size: MiB, backing_file: 'base', backing_fmt: 'qcow2' })
    const [at, length] = [Number(image.get64(8)), image.get32(16)]
    expect(new TextDecoder().decode(image.bytes.subarray(at, at + length))).toBe('base')
    expect([image.get32(112), image.get32(116)]).toEqual([0xe2792aca, 5])
    expect(new TextDecoder().decode(image.bytes.subarray(120, 125))).toBe('qcow2')
  })

  test('data_file: its bit, its name, and a file of the length of the disk', async () => {
    const host = new MemoryHost()
    const image = await host.create({ size: MiB, data_file: 'data' })
    expect([image.get64(72), image.get64(88), image.get32(112), image.get32(116)]).toEqual([4n, 0n, 0x44415441, 4])
    expect(host.files.get('data')?.length).toBe(MiB)
  })

  test('data_file_raw: its autoclear bit, and every cluster where the guest sees it', async () => {
    const image = await new MemoryHost().create({ size: MiB, data_file: 'data', data_file_raw: true })
    expect(image.get64(88)).toBe(2n)
    const entries = Array.from({ length: 16 }, (_, index) => image.entry(index))
    expect(entries).toEqual(entries.map((_, index) => COPIED | BigInt(index * 64 * KiB)))
  })

  test('preallocation=metadata: every cluster has its place, and its count', async () => {
    const image = await create({ size: MiB, preallocation: 'metadata' })
    for (let index = 0; index < 16; index++) {
      expect(image.entry(index) & COPIED).toBe(COPIED)
      expect(image.refcount(Number(image.entry(index) & ~COPIED) / (64 * KiB))).toBe(1n)
    }
    await expectSound(image)
  })
})

describe('a large disk of small clusters', () => {
  test('has an L1 table over many clusters, and refcounts for all of it', async () => {
    // 2^15 L1 entries: 512 clusters, more than one block of 256 counts.
    const image = await create({ size: GiB, cluster_size: 512 })
    expect(image.get32(36)).toBe(32_768)
    expect(image.get64(image.refcountTableAt + 8)).not.toBe(0n)
    await expectSound(image)
  })
})

describe('is refused', () => {
  test.each([
    ['clusters of 256 bytes', { cluster_size: 256 }, 'EINVAL'],
    ['clusters of 4 MiB', { cluster_size: 4 * MiB }, 'EINVAL'],
    ['clusters of 3 KiB', { cluster_size: 3 * KiB }, 'EINVAL'],
    ['refcounts of 3 bits', { refcount_bits: 3 }, 'EINVAL'],
    ['refcounts of 128 bits', { refcount_bits: 128 }, 'EINVAL'],
    ['narrow refcounts in version 2', { compat: '0.10', refcount_bits: 8 }, 'EINVAL'],
    ['lazy refcounts in version 2', { compat: '0.10', lazy_refcounts: true }, 'EINVAL'],
    ['subclusters in version 2', { compat: '0.10', extended_l2: true }, 'EINVAL'],
    ['zstd in version 2', { compat: '0.10', compression_type: 'zstd' }, 'EINVAL'],
    ['subclusters in clusters of 8 KiB', { cluster_size: 8 * KiB, extended_l2: true }, 'EINVAL'],
    ['an unknown compression', { compression_type: 'lzma' }, 'EINVAL'],
    ['an unknown version', { compat: '2.0' }, 'EINVAL'],
    ['a format without a backing file', { backing_fmt: 'raw' }, 'EINVAL'],
    ['a raw data file without a data file', { data_file_raw: true }, 'EINVAL'],
    // 32 MiB of L1 table map 128 GiB of 512-byte clusters.
    ['a disk that no L1 table maps', { size: 128 * GiB + 512, cluster_size: 512 }, 'EFBIG'],
  ])('%s', async (_name, options, code) => {
    const host = new MemoryHost()
    expect(await codeOf(() => host.create({ size: MiB, ...options }))).toBe(code)
    expect(host.files.get('image')?.length ?? 0).toBe(0)
  })
})
