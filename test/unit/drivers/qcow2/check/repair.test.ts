// Repair of an image that is opened: the dirty bit, and what stands in memory when an open image is checked.

import { expect, test } from 'vitest'
import { BDRV_FIX_ERRORS, BDRV_FIX_LEAKS } from '../../../../../src/common/block-info.js'
import { checkImage } from '../../../../../src/global-state/check-image.js'
import { contentOf, storageDriver, storageOf } from '../../../../../src/testing/storage/memory-storage.js'
import { codeOf } from '../../../../support/code-of.js'
import { openRig, type Rig } from '../../../../support/driver-rig.js'
import { COPIED, ImageBytes } from '../../../../support/qcow2-bytes.js'
import { runCheck } from '../../../../support/qcow2-check.js'
import { handMadeImage } from '../../../../support/qcow2-image.js'

const ALL = BDRV_FIX_LEAKS | BDRV_FIX_ERRORS

async function withImage(image: ImageBytes, act: (rig: Rig) => Promise<void>, options = {}): Promise<ImageBytes> {
  const store = storageOf(image.bytes)
  const rig = await openRig(
    { driver: 'qcow2', file: { driver: 'storage' }, ...options },
    {
      drivers: [storageDriver(store)],
    },
  )
  try {
    await act(rig)
  } finally {
    await rig.close()
  }
  return new ImageBytes(contentOf(store))
}

test('a dirty image is repaired when it is opened for writing', async () => {
  const image = handMadeImage()
  image.put64(72, 1)
  image.setRefcount(8, 0n)
  image.setRefcount(6, 3n)
  const after = await withImage(image, async ({ backend }) => {
    const read = new Uint8Array(512)
    await backend.read(3 * 512, read)
    expect(read[0]).toBe(4)
    await backend.write(100 * 512, new Uint8Array(512).fill(9))
  })
  expect(after.get64(72)).toBe(0n)
  expect((await runCheck(after)).lines).toEqual([])
})

test('a dirty image that is opened for reading stays as it is', async () => {
  const image = handMadeImage()
  image.put64(72, 1)
  image.setRefcount(8, 0n)
  const store = storageOf(image.bytes)
  const rig = await openRig(
    { driver: 'qcow2', 'read-only': true, file: { driver: 'storage' } },
    { drivers: [storageDriver(store)], perm: 1 },
  )
  await rig.close()
  expect(contentOf(store)).toEqual(image.bytes)
})

test('a dirty image beyond repair is not opened for writing', async () => {
  const image = handMadeImage()
  image.put64(72, 1)
  image.put64(64, 1)
  expect(await codeOf(() => withImage(image, async () => {}))).toBe('EINVAL')
})

test('a check of an open image sees what is not written out yet, and a repair goes on from what it left', async () => {
  const image = handMadeImage()
  image.setEntry(7, 0n)
  const after = await withImage(image, async ({ graph, node, backend }) => {
    const check = (fix: number) => graph.mainLoop((main) => checkImage(main, node, fix))
    await backend.write(70 * 512, new Uint8Array(512).fill(7))
    expect(await check(0)).toMatchObject({ leaks: 1, corruptions: 0 })
    expect(await check(ALL)).toMatchObject({ leaksFixed: 1, leaks: 0 })
    await backend.write(200 * 512, new Uint8Array(512).fill(8))
    expect(await check(0)).toMatchObject({ leaks: 0, corruptions: 0 })
    const read = new Uint8Array(512)
    await backend.read(70 * 512, read)
    expect(read[511]).toBe(7)
  })
  expect((await runCheck(after)).lines).toEqual([])
})

test('refcounts built anew serve the writes that follow', async () => {
  const image = handMadeImage()
  image.put64(image.refcountTableAt, image.l1At)
  const after = await withImage(image, async ({ graph, node, backend }) => {
    await graph.mainLoop((main) => checkImage(main, node, ALL))
    for (let cluster = 100; cluster < 140; cluster++) {
      await backend.write(cluster * 512, new Uint8Array(512).fill(cluster))
    }
  })
  expect((await runCheck(after)).lines).toEqual([])
  expect(after.get64(after.l1At) & COPIED).toBe(COPIED)
})

test('a repair needs a writable node, and a driver that checks', async () => {
  const readOnly = await openRig(
    { driver: 'qcow2', 'read-only': true, file: { driver: 'storage' } },
    { drivers: [storageDriver(storageOf(handMadeImage().bytes))], perm: 1 },
  )
  expect(await codeOf(() => readOnly.graph.mainLoop((main) => checkImage(main, readOnly.node, ALL)))).toBe('EPERM')
  await readOnly.close()
  const raw = await openRig({ driver: 'null-co' })
  expect(await codeOf(() => raw.graph.mainLoop((main) => checkImage(main, raw.node, 0)))).toBe('ENOTSUP')
  await raw.close()
})
