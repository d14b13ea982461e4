import { describe, expect, it } from 'vitest'
import { AssertionFailure } from '../../../../src/common/assert.js'
import { GiB, KiB, MiB } from '../../../../src/common/units.js'
import {
  clearDirtyBitmap,
  mergeDirtyBitmap,
  restoreDirtyBitmap,
} from '../../../../src/global-state/bitmaps/bitmap-content.js'
import {
  abdicateBitmap,
  createBitmapSuccessor,
  reclaimBitmap,
} from '../../../../src/global-state/bitmaps/bitmap-successor.js'
import {
  addDirtyBitmap,
  BDRV_BITMAP_ALLOW_RO,
  BDRV_BITMAP_BUSY,
  checkDirtyBitmap,
  createDirtyBitmap,
  defaultBitmapGranularity,
  dirtyBitmaps,
  disableDirtyBitmap,
  enableDirtyBitmap,
  findDirtyBitmap,
  releaseDirtyBitmap,
  releaseNamedDirtyBitmaps,
  requireDirtyBitmap,
  setBitmapBusy,
  setBitmapInconsistent,
  setBitmapPersistence,
  setBitmapReadonly,
} from '../../../../src/global-state/bitmaps/bitmaps.js'
import type { MainLoop } from '../../../../src/global-state/main-loop.js'
import { dirtyAreas, dirtyBytes, markDirty } from '../../../../src/io/dirty-bitmap.js'
import { inMainLoop, stubNode } from '../../../support/stub-node.js'

const code = (expected: string) => expect.objectContaining({ name: 'BlockError', code: expected })
const clusters = (clusterSize: number) => ({
  io: {
    length: () => 0,
    read: () => {},
    info: () => ({ clusterSize, vmStateOffset: 0, isDirty: false, needsCompressedWrites: false }),
  },
})

describe('createDirtyBitmap', () => {
  it('records from the start, over the length of the node', () =>
    inMainLoop(async (main) => {
      const node = stubNode('n', 10 * MiB)
      const bitmap = await createDirtyBitmap(main, node, { name: 'b' })
      expect([bitmap.bits.length, bitmap.bits.granularity, bitmap.enabled]).toEqual([10 * MiB, 64 * KiB, true])
      expect(node.state.bitmaps).toEqual([bitmap])
      expect(node.state.writeGates).not.toBe(0)
      expect((await createDirtyBitmap(main, node, { disabled: true })).enabled).toBe(false)
      expect(dirtyBitmaps(node)).toHaveLength(2)
    }))

  it.each([
    [0, 64 * KiB],
    [512, 4 * KiB],
    [16 * KiB, 16 * KiB],
    [2 * MiB, 64 * KiB],
    [3000, 64 * KiB],
  ])('takes a cluster size of %d as a granularity of %d', async (clusterSize, expected) => {
    expect(await defaultBitmapGranularity(stubNode('n', GiB, clusters(clusterSize)))).toBe(expected)
  })

  it.each([
    [{ name: '' }, 'EINVAL'],
    [{ name: 'ä'.repeat(512) }, 'EINVAL'],
    [{ name: 'taken' }, 'EEXIST'],
    [{ persistent: true }, 'EINVAL'],
    [{ granularity: 256 }, 'EINVAL'],
    [{ granularity: 1000 }, 'EINVAL'],
    [{ granularity: 2 ** 32 }, 'EINVAL'],
    [{ granularity: -512 }, 'EINVAL'],
    [{ granularity: Number.NaN }, 'EINVAL'],
  ])('refuses %j with %s', (options, expected) =>
    inMainLoop(async (main) => {
      const node = stubNode('n', MiB)
      await createDirtyBitmap(main, node, { name: 'taken' })
      await expect(createDirtyBitmap(main, node, options)).rejects.toEqual(code(expected))
      expect(node.state.bitmaps).toHaveLength(1)
    }),
  )

  it('takes a name of 1023 bytes, and refuses a closed node and a dead token', async () => {
    let late: MainLoop | undefined
    await inMainLoop(async (main) => {
      late = main
      await createDirtyBitmap(main, stubNode('n', MiB), { name: `a${'ä'.repeat(511)}` })
      await expect(createDirtyBitmap(main, stubNode('n', MiB, { closed: true }))).rejects.toEqual(code('ENOMEDIUM'))
    })
    const node = stubNode('n', MiB)
    expect(() => addDirtyBitmap(late as MainLoop, node, { granularity: 512 })).toThrow(AssertionFailure)
  })
})

describe('release and lookup', () => {
  it('finds by name and releases one or all named ones', () =>
    inMainLoop((main) => {
      const node = stubNode('n', MiB)
      const a = addDirtyBitmap(main, node, { name: 'a', granularity: 512 })
      const b = addDirtyBitmap(main, node, { name: 'b', granularity: 512 })
      const anonymous = addDirtyBitmap(main, node, { granularity: 512 })
      expect(findDirtyBitmap(node, 'b')).toBe(b)
      expect(() => requireDirtyBitmap(node, 'c')).toThrow(code('ENOENT'))
      setBitmapBusy(main, node, a, true)
      expect(() => releaseDirtyBitmap(main, node, a)).toThrow(code('EBUSY'))
      expect(() => releaseNamedDirtyBitmaps(main, node)).toThrow(code('EBUSY'))
      expect(node.state.bitmaps).toEqual([a, b, anonymous])
      setBitmapBusy(main, node, a, false)
      releaseDirtyBitmap(main, node, a)
      expect(() => releaseDirtyBitmap(main, node, a)).toThrow(AssertionFailure)
      releaseNamedDirtyBitmaps(main, node)
      expect(node.state.bitmaps).toEqual([anonymous])
      releaseDirtyBitmap(main, node, anonymous)
      expect(node.state.writeGates).toBe(0)
    }))
})

describe('states', () => {
  it('decide by mask what is refused', () =>
    inMainLoop((main) => {
      const node = stubNode('n', MiB)
      const bitmap = addDirtyBitmap(main, node, { name: 'b', granularity: 512 })
      bitmap.persistent = true
      checkDirtyBitmap(node, bitmap)
      setBitmapReadonly(main, node, bitmap, true)
      expect(() => checkDirtyBitmap(node, bitmap)).toThrow(code('EPERM'))
      checkDirtyBitmap(node, bitmap, BDRV_BITMAP_ALLOW_RO)
      setBitmapReadonly(main, node, bitmap, false)
      setBitmapBusy(main, node, bitmap, true)
      expect(() => setBitmapBusy(main, node, bitmap, true)).toThrow(code('EBUSY'))
      expect(() => disableDirtyBitmap(main, node, bitmap)).toThrow(code('EBUSY'))
      expect(() => clearDirtyBitmap(main, node, bitmap)).toThrow(code('EBUSY'))
      setBitmapBusy(main, node, bitmap, false)
      disableDirtyBitmap(main, node, bitmap)
      markDirty(bitmap, 0, 1)
      expect(dirtyBytes(bitmap)).toBe(0)
      setBitmapInconsistent(main, node, bitmap)
      expect(() => enableDirtyBitmap(main, node, bitmap)).toThrow(code('EINVAL'))
      expect(() => mergeDirtyBitmap(main, node, bitmap, [])).toThrow(code('EINVAL'))
      checkDirtyBitmap(node, bitmap, BDRV_BITMAP_BUSY)
      releaseDirtyBitmap(main, node, bitmap)
    }))

  it('let only a named bitmap be stored, in an image that keeps bitmaps', () =>
    inMainLoop((main) => {
      const node = stubNode('n', MiB)
      const anonymous = addDirtyBitmap(main, node, { granularity: 512 })
      expect(() => setBitmapPersistence(main, node, anonymous, true)).toThrow(code('EINVAL'))
      const named = addDirtyBitmap(main, node, { name: 'b', granularity: 512 })
      expect(() => setBitmapPersistence(main, node, named, true)).toThrow(code('ENOTSUP'))
      expect(named.persistent).toBe(false)
    }))
})

describe('clear, merge and taking back', () => {
  it('restores exactly what was there where nothing was written since', () =>
    inMainLoop((main) => {
      const node = stubNode('n', MiB)
      const bitmap = addDirtyBitmap(main, node, { name: 'b', granularity: 512 })
      markDirty(bitmap, 1024, 512)
      const backup = clearDirtyBitmap(main, node, bitmap)
      expect(dirtyBytes(bitmap)).toBe(0)
      restoreDirtyBitmap(main, node, bitmap, backup)
      expect([...dirtyAreas(bitmap)]).toEqual([{ offset: 1024, bytes: 512 }])
    }))

  it('keeps writes recorded between change and taking back', () =>
    inMainLoop((main) => {
      const node = stubNode('n', MiB)
      const bitmap = addDirtyBitmap(main, node, { name: 'b', granularity: 512 })
      markDirty(bitmap, 0, 512)
      const backup = clearDirtyBitmap(main, node, bitmap)
      node.state.writeGeneration += 1
      markDirty(bitmap, 4096, 512)
      restoreDirtyBitmap(main, node, bitmap, backup)
      expect([...dirtyAreas(bitmap)]).toEqual([
        { offset: 0, bytes: 512 },
        { offset: 4096, bytes: 512 },
      ])
    }))

  it('merges across granularities and nodes, all or nothing', () =>
    inMainLoop((main) => {
      const node = stubNode('n', MiB)
      const other = stubNode('o', MiB)
      const target = addDirtyBitmap(main, node, { name: 't', granularity: 4096 })
      const fine = addDirtyBitmap(main, other, { name: 'fine', granularity: 512 })
      const short = stubNode('s', MiB - 512)
      const foreign = addDirtyBitmap(main, short, { name: 'x', granularity: 512 })
      markDirty(fine, 5000, 1)
      const from = { node: other, bitmap: fine }
      expect(() => mergeDirtyBitmap(main, node, target, [from, { node: short, bitmap: foreign }])).toThrow(
        code('EINVAL'),
      )
      expect(dirtyBytes(target)).toBe(0)
      const backup = mergeDirtyBitmap(main, node, target, [from, { node, bitmap: target }])
      expect([...dirtyAreas(target)]).toEqual([{ offset: 4096, bytes: 4096 }])
      restoreDirtyBitmap(main, node, target, backup)
      expect(dirtyBytes(target)).toBe(0)
      setBitmapBusy(main, other, fine, true)
      expect(() => mergeDirtyBitmap(main, node, target, [from])).toThrow(code('EBUSY'))
    }))
})

describe('successor', () => {
  const setup = (main: MainLoop, disabled = false) => {
    const node = stubNode('n', MiB)
    const bitmap = addDirtyBitmap(main, node, { name: 'b', granularity: 512, disabled })
    bitmap.persistent = true
    const after = addDirtyBitmap(main, node, { name: 'after', granularity: 512 })
    if (!disabled) markDirty(bitmap, 0, 512)
    const successor = createBitmapSuccessor(main, node, bitmap)
    for (const each of node.state.bitmaps) markDirty(each, 8192, 512)
    return { node, bitmap, after, successor }
  }

  it('records while the bitmap is frozen', () =>
    inMainLoop((main) => {
      const { node, bitmap, successor } = setup(main)
      expect([dirtyBytes(bitmap), dirtyBytes(successor)]).toEqual([512, 512])
      expect(() => createBitmapSuccessor(main, node, bitmap)).toThrow(code('EBUSY'))
      expect(() => clearDirtyBitmap(main, node, bitmap)).toThrow(code('EBUSY'))
      expect(() => releaseDirtyBitmap(main, node, bitmap)).toThrow(code('EBUSY'))
    }))

  it('takes name, place and persistence when the bitmap abdicates', () =>
    inMainLoop((main) => {
      const { node, bitmap, after, successor } = setup(main)
      expect(abdicateBitmap(main, node, bitmap)).toBe(successor)
      expect(node.state.bitmaps).toEqual([successor, after])
      expect([successor.name, successor.persistent, successor.busy, successor.enabled]).toEqual([
        'b',
        true,
        false,
        true,
      ])
      expect([...dirtyAreas(successor)]).toEqual([{ offset: 8192, bytes: 512 }])
      expect(() => abdicateBitmap(main, node, successor)).toThrow(AssertionFailure)
    }))

  it('joins the bitmap when that is reclaimed', () =>
    inMainLoop((main) => {
      const { node, bitmap, after } = setup(main)
      expect(reclaimBitmap(main, node, bitmap)).toBe(bitmap)
      expect(node.state.bitmaps).toEqual([bitmap, after])
      expect([...dirtyAreas(bitmap)]).toEqual([
        { offset: 0, bytes: 512 },
        { offset: 8192, bytes: 512 },
      ])
      markDirty(bitmap, 16384, 512)
      expect(dirtyBytes(bitmap)).toBe(1536)
      clearDirtyBitmap(main, node, bitmap)
    }))

  it('of a disabled bitmap records nothing, and reclaiming leaves it disabled', () =>
    inMainLoop((main) => {
      const { node, bitmap, successor } = setup(main, true)
      expect(dirtyBytes(successor)).toBe(0)
      expect(reclaimBitmap(main, node, bitmap).enabled).toBe(false)
    }))
})
