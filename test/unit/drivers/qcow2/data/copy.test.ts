// Copies that the files below do by themselves: no data comes by, and what would need it in memory is refused.

import { describe, expect, test } from 'vitest'
import { BDRV_REQ_WRITE_COMPRESSED } from '../../../../../src/common/request.js'
import { copyRange } from '../../../../../src/io/copy-range.js'
import { nodeServices } from '../../../../../src/platform/services.js'
import { storageDriver, storageOf } from '../../../../../src/testing/storage/memory-storage.js'
import { codeOf } from '../../../../support/code-of.js'
import { openRig } from '../../../../support/driver-rig.js'
import { filled, runsOf } from '../../../../support/open-qcow2.js'
import { COPIED, type ImageBytes } from '../../../../support/qcow2-bytes.js'
import { handMadeImage } from '../../../../support/qcow2-image.js'

const CLUSTER = 4096

/** An image directly over memory, which can copy. */
async function open(image: ImageBytes) {
  const rig = await openRig(
    { driver: 'qcow2', file: { driver: 'storage' } },
    { drivers: [storageDriver(storageOf(image.bytes))], services: nodeServices },
  )
  const edge = rig.backend.edge
  if (edge === undefined) throw new Error('no edge')
  const read = async (offset: number, bytes: number) => {
    const into = filled(bytes, 0xcc)
    await rig.backend.read(offset, into)
    return into
  }
  return { rig, edge, read, copy: (from: number, to: number, bytes: number) => copyRange(edge, from, edge, to, bytes) }
}

const image = () => handMadeImage({ clusterBits: 12 })

describe('a copy within an image', () => {
  test('takes clusters for what is data, and zero clusters for what reads as zeroes', async () => {
    const source = image()
    source.setEntry(2, source.entry(2) | 1n)
    const { rig, copy, read } = await open(source)
    await copy(0, 40 * CLUSTER, 4 * CLUSTER)
    expect(runsOf(await read(40 * CLUSTER, 4 * CLUSTER))).toEqual([
      [1, CLUSTER],
      [2, CLUSTER],
      [0, CLUSTER],
      [4, CLUSTER],
    ])
    await rig.close()
  })

  test('overwrites in place what is the image’s own', async () => {
    const { rig, copy, read } = await open(image())
    await copy(0, 4 * CLUSTER + 1000, 2000)
    expect(runsOf(await read(4 * CLUSTER, CLUSTER))).toEqual([
      [5, 1000],
      [1, 2000],
      [5, 1096],
    ])
    await rig.close()
  })

  test('into a part of a shared cluster is refused: the rest would have to be read', async () => {
    const shared = image()
    shared.setEntry(4, shared.entry(4) & ~COPIED)
    shared.setRefcount(9, 2n)
    const { rig, copy, read } = await open(shared)
    expect(await codeOf(() => copy(0, 4 * CLUSTER + 1000, 2000))).toBe('ENOTSUP')
    expect(runsOf(await read(4 * CLUSTER, CLUSTER))).toEqual([[5, CLUSTER]])
    await rig.close()
  })

  test('of a compressed cluster is refused', async () => {
    const { rig, copy } = await open(image())
    await rig.backend.write(20 * CLUSTER, filled(CLUSTER, 7), { flags: BDRV_REQ_WRITE_COMPRESSED })
    expect(await codeOf(() => copy(20 * CLUSTER, 40 * CLUSTER, CLUSTER))).toBe('ENOTSUP')
    await rig.close()
  })
})
