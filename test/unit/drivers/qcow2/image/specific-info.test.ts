// What an image tells of itself beside what every node tells.

import { expect, test } from 'vitest'
import { nodeInfo, nodeSpecificInfo } from '../../../../../src/io/node-info.js'
import { storageDriver, storageOf } from '../../../../../src/testing/storage/memory-storage.js'
import { openRig } from '../../../../support/driver-rig.js'
import type { ImageBytes } from '../../../../support/qcow2-bytes.js'
import { handMadeImage } from '../../../../support/qcow2-image.js'

async function factsOf(image: ImageBytes) {
  const rig = await openRig(
    { driver: 'qcow2', 'read-only': true, backing: null, file: { driver: 'storage' } },
    { drivers: [storageDriver(storageOf(image.bytes))], perm: 1 },
  )
  const facts = { info: await nodeInfo(rig.node), specific: await nodeSpecificInfo(rig.node) }
  await rig.close()
  return facts
}

test('version 3: features as the header has them', async () => {
  const image = handMadeImage({ clusterBits: 14, extendedL2: true, refcountOrder: 6 })
  image.put64(80, 1)
  image.put64(72, image.get64(72) | 3n)
  expect(await factsOf(image)).toEqual({
    info: {
      clusterSize: 16384,
      vmStateOffset: image.clusterSize * 1024,
      isDirty: true,
      needsCompressedWrites: false,
      isEncrypted: false,
      backing: undefined,
    },
    specific: {
      type: 'qcow2',
      data: {
        compat: '1.1',
        'compression-type': 'zlib',
        'lazy-refcounts': true,
        'refcount-bits': 64,
        corrupt: true,
        'extended-l2': true,
      },
    },
  })
})

test('version 2 says less', async () => {
  const { specific } = await factsOf(handMadeImage({ version: 2 }))
  expect(specific).toEqual({
    type: 'qcow2',
    data: { compat: '0.10', 'compression-type': 'zlib', 'refcount-bits': 16 },
  })
})

test('the backing file is told as the image names it, open or not', async () => {
  const image = handMadeImage()
  const name = new TextEncoder().encode('base.img')
  image.bytes.set(name, 400)
  image.put64(8, 400)
  image.put32(16, name.byteLength)
  // An extension with the format, and the end of extensions.
  image.put32(112, 0xe2792aca)
  image.put32(116, 3)
  image.bytes.set(new TextEncoder().encode('raw'), 120)
  expect((await factsOf(image)).info.backing).toEqual({ filename: 'base.img', format: 'raw' })
})
