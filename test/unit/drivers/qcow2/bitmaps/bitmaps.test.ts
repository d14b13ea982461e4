// Persistent dirty bitmaps by what stands on disk: directory, tables and data, and the rules of in-use and autoclear (qcow2
// specification, "Bitmaps").

import { describe, expect, test } from 'vitest'
import { mergeDirtyBitmap } from '../../../../../src/global-state/bitmaps/bitmap-content.js'
import {
  addDirtyBitmap,
  disableDirtyBitmap,
  findDirtyBitmap,
  removeDirtyBitmap,
  requireDirtyBitmap,
} from '../../../../../src/global-state/bitmaps/bitmaps.js'
import { dirtyAreas } from '../../../../../src/io/dirty-bitmap.js'
import { codeOf } from '../../../../support/code-of.js'
import { closeSound, type OpenQcow2, openQcow2 } from '../../../../support/open-qcow2.js'
import type { ImageBytes } from '../../../../support/qcow2-bytes.js'
import { firstDifferentCluster } from '../../../../support/qcow2-compare.js'
import { type HandMadeOptions, handMadeImage } from '../../../../support/qcow2-image.js'

const CLUSTER = 4096
const SIZE = 1024 * CLUSTER
const image = (options: HandMadeOptions = {}) => handMadeImage({ clusterBits: 12, size: SIZE, ...options })

function add(disk: OpenQcow2, name: string, options: { disabled?: boolean; granularity?: number } = {}): Promise<void> {
  const { graph, node } = disk.rig
  return graph.mainLoop((main) => {
    addDirtyBitmap(main, node, { name, persistent: true, granularity: 65_536, ...options })
    return Promise.resolve()
  })
}

/** The areas that are dirty in a bitmap, as [start, bytes]. */
function areas(disk: OpenQcow2, name: string): [number, number][] {
  const bitmap = requireDirtyBitmap(disk.rig.node, name)
  return [...dirtyAreas(bitmap)].map(({ offset, bytes }) => [offset, bytes])
}

interface Stored {
  name: string
  flags: number
  granularityBits: number
  table: bigint[]
}

/** The directory as it stands in the image; undefined where the extension is missing. */
function directoryOf(image: ImageBytes): Stored[] | undefined {
  let at = 112
  while (image.get32(at) !== 0x23852875) {
    if (image.get32(at) === 0) return undefined
    at += 8 + Math.ceil(image.get32(at + 4) / 8) * 8
  }
  const found: Stored[] = []
  let entry = Number(image.get64(at + 24))
  for (let left = image.get32(at + 8); left > 0; left--) {
    const [place, entries] = [Number(image.get64(entry)), image.get32(entry + 8)]
    const nameBytes = image.get32(entry + 16) & 0xffff
    found.push({
      name: new TextDecoder().decode(image.bytes.subarray(entry + 24, entry + 24 + nameBytes)),
      flags: image.get32(entry + 12),
      granularityBits: image.bytes[entry + 17] ?? 0,
      table: Array.from({ length: entries }, (_, index) => image.get64(place + index * 8)),
    })
    entry += Math.ceil((24 + nameBytes) / 8) * 8
  }
  return found
}

const autoclear = (image: ImageBytes) => image.get64(88)

/** An image with a bitmap `a`, in which 64 KiB from 128 KiB on are dirty. */
async function stored(): Promise<ImageBytes> {
  const disk = await openQcow2(image())
  await add(disk, 'a')
  await disk.write(130_000 + 4096, 4096, 1)
  await closeSound(disk)
  return disk.image
}

describe('a new bitmap', () => {
  test('is stored when the image is closed: directory, table, one cluster of bits, and the autoclear bit', async () => {
    const disk = await openQcow2(image())
    await add(disk, 'a')
    expect([directoryOf(disk.image), autoclear(disk.image)]).toEqual([undefined, 0n])
    await disk.write(2 * 65_536, 4096, 1)
    await disk.write(9 * 65_536 + 100, 65_536, 1)
    await closeSound(disk)
    const after = disk.image
    const [bitmap] = directoryOf(after) ?? []
    expect(bitmap).toMatchObject({ name: 'a', flags: 2, granularityBits: 16 })
    expect([autoclear(after), bitmap?.table.length]).toEqual([1n, 1])
    const bits = Number(bitmap?.table[0] ?? 0n)
    // Bits 2, 9 and 10, from the least significant of the first byte on.
    expect([...after.bytes.subarray(bits, bits + 3)]).toEqual([0b0000_0100, 0b0000_0110, 0])
    expect(after.refcount(bits / CLUSTER)).toBe(1n)
  })

  test('that is clean has a table without clusters', async () => {
    const disk = await openQcow2(image())
    await add(disk, 'a', { disabled: true })
    await closeSound(disk)
    expect(directoryOf(disk.image)).toEqual([{ name: 'a', flags: 0, granularityBits: 16, table: [0n] }])
  })

  test('is refused in version 2, with a name too long, and where one is', async () => {
    const old = await openQcow2(image({ version: 2 }))
    expect(await codeOf(() => add(old, 'a'))).toBe('EINVAL')
    await old.close()
    const disk = await openQcow2(image())
    expect(await codeOf(() => add(disk, 'a'.repeat(1024)))).toBe('EINVAL')
    await add(disk, 'a')
    expect(await codeOf(() => add(disk, 'a'))).not.toBeUndefined()
    await closeSound(disk)
  })
})

describe('while the image is open for writing', () => {
  test('what is stored is marked as in use; afterwards it is not', async () => {
    const disk = await openQcow2(await stored())
    expect(directoryOf(disk.image)).toMatchObject([{ name: 'a', flags: 3 }])
    expect(autoclear(disk.image)).toBe(1n)
    expect(areas(disk, 'a')).toEqual([[131_072, 65_536]])
    await disk.write(0, 1, 1)
    await closeSound(disk)
    expect(directoryOf(disk.image)).toMatchObject([{ name: 'a', flags: 2 }])
    const again = await openQcow2(disk.image)
    expect(areas(again, 'a')).toEqual([
      [0, 65_536],
      [131_072, 65_536],
    ])
    await again.close()
  })

  test('a reader leaves it as it is', async () => {
    const before = await stored()
    const disk = await openQcow2(before, { options: { 'read-only': true }, perm: 1 })
    expect(areas(disk, 'a')).toEqual([[131_072, 65_536]])
    await disk.close()
    expect(firstDifferentCluster(disk.image.bytes, before.bytes, CLUSTER)).toBeUndefined()
  })
})

describe('a bitmap that was in use', () => {
  test('is inconsistent: it holds nothing, records nothing, and stays marked until it is removed', async () => {
    const open = await openQcow2(await stored())
    // What a crash leaves.
    const left = open.image
    await open.close()
    const disk = await openQcow2(left)
    const bitmap = requireDirtyBitmap(disk.rig.node, 'a')
    expect([bitmap.inconsistent, bitmap.enabled]).toEqual([true, false])
    await disk.write(0, 1, 1)
    await closeSound(disk)
    expect(directoryOf(disk.image)).toMatchObject([{ name: 'a', flags: 3 }])
    const last = await openQcow2(disk.image)
    const { graph, node } = last.rig
    await graph.mainLoop((main) => removeDirtyBitmap(main, node, requireDirtyBitmap(node, 'a')))
    await closeSound(last)
    expect([directoryOf(last.image), autoclear(last.image)]).toEqual([undefined, 0n])
  })
})

describe('the autoclear bit', () => {
  test('cleared by a program that knows no bitmaps: they are dropped, and the extension with them', async () => {
    const touched = await stored()
    touched.put64(88, 0)
    const disk = await openQcow2(touched)
    expect(findDirtyBitmap(disk.rig.node, 'a')).toBeUndefined()
    await disk.close()
    expect([directoryOf(disk.image), autoclear(disk.image)]).toEqual([undefined, 0n])
  })

  test('to a reader they are not there either, and the image stays as it is', async () => {
    const touched = await stored()
    touched.put64(88, 0)
    const disk = await openQcow2(touched, { options: { 'read-only': true }, perm: 1 })
    expect(findDirtyBitmap(disk.rig.node, 'a')).toBeUndefined()
    await disk.close()
    expect(firstDifferentCluster(disk.image.bytes, touched.bytes, CLUSTER)).toBeUndefined()
  })

  test('bits that are unknown are cleared by the first write, and not by reading', async () => {
    const foreign = image({ autoclear: 1n << 40n })
    const reader = await openQcow2(foreign)
    await reader.read(0, 1)
    expect(autoclear(reader.image)).toBe(1n << 40n)
    await reader.write(0, 1, 1)
    expect(autoclear(reader.image)).toBe(0n)
    await closeSound(reader)
  })
})

describe('removing and merging', () => {
  test('one of two: its clusters are free, the other stays', async () => {
    const disk = await openQcow2(await stored())
    await add(disk, 'b')
    await disk.write(0, 1, 1)
    await closeSound(disk)
    const both = directoryOf(disk.image)
    expect(both?.map(({ name }) => name)).toEqual(['a', 'b'])
    const again = await openQcow2(disk.image)
    const { graph, node } = again.rig
    await graph.mainLoop((main) => removeDirtyBitmap(main, node, requireDirtyBitmap(node, 'a')))
    expect(directoryOf(again.image)?.map(({ name }) => name)).toEqual(['b'])
    expect(again.image.refcount(Number(both?.[0]?.table[0] ?? 0n) / CLUSTER)).toBe(0n)
    await closeSound(again)
    expect(autoclear(again.image)).toBe(1n)
  })

  test('of another granularity: whole units of the target become dirty, and stay so on disk', async () => {
    const disk = await openQcow2(await stored())
    await add(disk, 'fine', { granularity: 4096 })
    await disk.write(0, 1, 1)
    const { graph, node } = disk.rig
    await graph.mainLoop((main) => {
      const [target, source] = [requireDirtyBitmap(node, 'fine'), requireDirtyBitmap(node, 'a')]
      disableDirtyBitmap(main, node, source)
      mergeDirtyBitmap(main, node, target, [{ node, bitmap: source }])
      return Promise.resolve()
    })
    const expected = [
      [0, 65_536],
      [131_072, 65_536],
    ]
    expect(areas(disk, 'fine')).toEqual(expected)
    await closeSound(disk)
    expect(directoryOf(disk.image)?.map(({ name, flags }) => [name, flags])).toEqual([
      ['a', 0],
      ['fine', 2],
    ])
    const again = await openQcow2(disk.image)
    expect(areas(again, 'fine')).toEqual(expected)
    await again.close()
  })
})

describe('a bitmap of many clusters', () => {
  test('stores those with bits alone; a table entry of 1 reads as all ones', async () => {
    // 4096 clusters of 512 bytes a bit: one cluster of bits for 16 MiB.
    const disk = await openQcow2(image({ size: 64 * 2 ** 20 }))
    await add(disk, 'a', { granularity: 512 })
    await disk.write(20 * 2 ** 20, 512, 1)
    await closeSound(disk)
    const [bitmap] = directoryOf(disk.image) ?? []
    expect(bitmap?.table.map((entry) => entry !== 0n)).toEqual([false, true, false, false])
    const ones = disk.image
    const table = Number(ones.get64(directoryPlace(ones)))
    ones.put64(table + 24, 1)
    const again = await openQcow2(ones)
    expect(areas(again, 'a')).toEqual([
      [20 * 2 ** 20, 512],
      [48 * 2 ** 20, 16 * 2 ** 20],
    ])
    await again.close()
  })
})

/** Where the bitmap directory stands. */
function directoryPlace(image: ImageBytes): number {
  let at = 112
  while (image.get32(at) !== 0x23852875) at += 8 + Math.ceil(image.get32(at + 4) / 8) * 8
  return Number(image.get64(at + 24))
}
