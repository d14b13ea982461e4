// Block status of an image's own layer: runs as long as they go, and where they stand.

import { describe, expect, test } from 'vitest'
import {
  BDRV_BLOCK_ALLOCATED,
  BDRV_BLOCK_DATA,
  BDRV_BLOCK_OFFSET_VALID,
  BDRV_BLOCK_ZERO,
} from '../../../../../src/common/block-status.js'
import { BDRV_REQ_WRITE_COMPRESSED } from '../../../../../src/common/request.js'
import { statusOf } from '../../../../../src/drivers/qcow2/data/status.js'
import { guest } from '../../../../../src/drivers/qcow2/format/layout.js'
import { codeOf } from '../../../../support/code-of.js'
import { filled, type OpenQcow2, openQcow2 } from '../../../../support/open-qcow2.js'
import { COPIED, type ImageBytes } from '../../../../support/qcow2-bytes.js'
import { handMadeImage } from '../../../../support/qcow2-image.js'

const CLUSTER = 512
const DATA = BDRV_BLOCK_DATA | BDRV_BLOCK_OFFSET_VALID
const PLACED_ZERO = BDRV_BLOCK_ZERO | BDRV_BLOCK_OFFSET_VALID

type Run = [bits: number, bytes: number, map: number | undefined]

/** The runs of the first `bytes` bytes. */
async function statusRuns(disk: OpenQcow2, bytes: number): Promise<Run[]> {
  const runs: Run[] = []
  for (let at = 0; at < bytes; ) {
    const extent = await statusOf(disk.state, guest(at), bytes - at)
    runs.push([extent.bits, extent.bytes, extent.map])
    at += extent.bytes
  }
  return runs
}

async function runsOfImage(image: ImageBytes, bytes: number, options: Record<string, unknown> = {}): Promise<Run[]> {
  const disk = await openQcow2(image, { options })
  const runs = await statusRuns(disk, bytes)
  await disk.close()
  return runs
}

describe('block status', () => {
  test('joins clusters of one kind that follow each other, also over slices and tables that are not in memory', async () => {
    const image = handMadeImage({ clusterBits: 12, data: 100 })
    expect(await runsOfImage(image, 1024 * 4096, { 'l2-cache-entry-size': 512, 'l2-cache-size': 1024 })).toEqual([
      [DATA, 100 * 4096, 5 * 4096],
      [0, 924 * 4096, undefined],
    ])
  })

  test('tells data, zeroes with and without a place, and what is not there', async () => {
    const image = handMadeImage()
    image.setEntry(2, image.entry(2) | 1n)
    image.setEntry(3, image.entry(3) | 1n)
    image.setEntry(4, 1n)
    image.setEntry(5, 0n)
    expect(await runsOfImage(image, 8 * CLUSTER)).toEqual([
      [DATA, 2 * CLUSTER, 5 * CLUSTER],
      [PLACED_ZERO, 2 * CLUSTER, 7 * CLUSTER],
      [BDRV_BLOCK_ZERO, CLUSTER, undefined],
      [0, CLUSTER, undefined],
      [DATA, 2 * CLUSTER, 11 * CLUSTER],
    ])
  })

  test('breaks a run where the host clusters do not follow each other', async () => {
    const image = handMadeImage()
    const [two, three] = [image.entry(2), image.entry(3)]
    image.setEntry(2, three)
    image.setEntry(3, two)
    expect(await runsOfImage(image, 8 * CLUSTER)).toEqual([
      [DATA, 2 * CLUSTER, 5 * CLUSTER],
      [DATA, CLUSTER, 8 * CLUSTER],
      [DATA, CLUSTER, 7 * CLUSTER],
      [DATA, 4 * CLUSTER, 9 * CLUSTER],
    ])
  })

  test('begins where it is asked, not where the cluster does', async () => {
    const disk = await openQcow2(handMadeImage())
    expect(await statusOf(disk.state, guest(700), 1000)).toMatchObject({ bits: DATA, bytes: 1000, map: 5 * 512 + 700 })
    await disk.close()
  })

  test('of a compressed cluster is data without a place', async () => {
    const disk = await openQcow2(handMadeImage({ clusterBits: 12 }))
    const flags = BDRV_REQ_WRITE_COMPRESSED
    await disk.rig.backend.write(20 * 4096, filled(8192, 1), { flags })
    const first = await statusOf(disk.state, guest(20 * 4096), 8192)
    expect([first.bits, first.bytes, first.map]).toEqual([BDRV_BLOCK_DATA, 4096, undefined])
    await disk.close()
  })

  test('of subclusters has a place for those that the backing file fills', async () => {
    const image = handMadeImage({ clusterBits: 14, extendedL2: true, data: 1 })
    // 0 to 7 allocated, 8 to 15 zero, 16 to 31 neither.
    image.put64(image.entryAt(0) + 8, 0x0000_ff00_0000_00ffn)
    const at = 5 * 16_384
    expect(await runsOfImage(image, 16_384)).toEqual([
      [DATA, 8 * 512, at],
      [PLACED_ZERO, 8 * 512, at + 8 * 512],
      [BDRV_BLOCK_OFFSET_VALID, 16 * 512, at + 16 * 512],
    ])
  })

  test('of an entry that cannot be is EIO', async () => {
    const image = handMadeImage({ clusterBits: 12 })
    image.setEntry(3, COPIED | BigInt(8 * 4096 + 512))
    const disk = await openQcow2(image, { options: { 'read-only': true }, perm: 1 })
    expect(await codeOf(() => statusOf(disk.state, guest(3 * 4096), 4096))).toBe('EIO')
    const before = await statusOf(disk.state, guest(0), 8 * 4096)
    expect(before.bytes).toBe(3 * 4096)
    await disk.close()
  })

  test('through the chain: allocated here or below', async () => {
    const disk = await openQcow2(handMadeImage({ data: 2 }), {
      options: { backing: { driver: 'null-co', size: 4 * CLUSTER, 'read-zeroes': true } },
    })
    const here = await disk.rig.backend.blockStatus(0, 8 * CLUSTER)
    expect([here.bits & BDRV_BLOCK_ALLOCATED, here.bytes]).toEqual([BDRV_BLOCK_ALLOCATED, 2 * CLUSTER])
    const behind = await disk.rig.backend.blockStatus(4 * CLUSTER, 4 * CLUSTER)
    expect([behind.bits & BDRV_BLOCK_ZERO, behind.bytes]).toEqual([BDRV_BLOCK_ZERO, 4 * CLUSTER])
    await disk.close()
  })
})
