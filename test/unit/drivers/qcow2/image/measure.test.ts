// How large images would be. The numbers are those that qemu-img measure 7.2 gives for the same options.

import { describe, expect, test } from 'vitest'
import { qcow2Driver } from '../../../../../src/drivers/qcow2/index.js'
import { measureImage } from '../../../../../src/global-state/life/measure-image.js'
import { codeOf } from '../../../../support/code-of.js'
import { MemoryHost } from '../../../../support/memory-host.js'
import { openQcow2 } from '../../../../support/open-qcow2.js'
import { handMadeImage } from '../../../../support/qcow2-image.js'

const MiB = 2 ** 20
const GiB = 2 ** 30
const TiB = 2 ** 40

type Options = Record<string, string | number | boolean>

function measure(options: Options, size: number) {
  const { graph } = new MemoryHost()
  return graph.mainLoop((main) => measureImage(main, graph, { format: 'qcow2', options, content: size }))
}

describe('an image without data', () => {
  test.each<[size: number, options: Options, required: number, fullyAllocated: number]>([
    [0, {}, 196_608, 196_608],
    [1_000_000, {}, 327_680, 1_376_256],
    [MiB, {}, 327_680, 1_376_256],
    [GiB, {}, 393_216, 1_074_135_040],
    [10 * GiB, {}, 1_900_544, 10_739_318_784],
    [TiB, {}, 168_034_304, 1_099_679_662_080],
    [MiB, { cluster_size: 512 }, 22_528, 1_071_104],
    [GiB, { cluster_size: 512 }, 21_385_216, 1_095_127_040],
    [100 * GiB, { cluster_size: 1024 }, 1_058_853_888, 108_433_036_288],
    [GiB, { cluster_size: 2 * MiB }, 10_485_760, 1_084_227_584],
    [TiB, { cluster_size: 2 * MiB }, 12_582_912, 1_099_524_210_688],
    [GiB, { refcount_bits: 1 }, 393_216, 1_074_135_040],
    [GiB, { refcount_bits: 64 }, 524_288, 1_074_266_112],
    [TiB, { refcount_bits: 64 }, 268_697_600, 1_099_780_325_376],
    [GiB, { cluster_size: 512, refcount_bits: 64 }, 34_629_120, 1_108_370_944],
    [GiB, { cluster_size: 512, refcount_bits: 1 }, 17_311_232, 1_091_053_056],
    [GiB, { extended_l2: true }, 524_288, 1_074_266_112],
    [TiB, { extended_l2: true, cluster_size: 131_072 }, 151_519_232, 1_099_663_147_008],
    [GiB, { preallocation: 'metadata' }, 393_216, 1_074_135_040],
    [GiB, { preallocation: 'full' }, 1_074_135_040, 1_074_135_040],
    [GiB, { compat: '0.10' }, 393_216, 1_074_135_040],
  ])('%i bytes, %j', async (size, options, required, fullyAllocated) => {
    expect(await measure(options, size)).toEqual({ required, fullyAllocated })
  })

  test('that no L1 table maps is too large', async () => {
    expect(await codeOf(() => measure({ cluster_size: 512 }, 128 * GiB + 512))).toBe('EFBIG')
  })
})

test('an image of a source takes what that holds, in whole clusters', async () => {
  // 8 clusters of 512 bytes are data; in clusters of 4 KiB that is one.
  const image = handMadeImage({ size: MiB })
  image.setEntry(3, image.entry(3) | 1n)
  const disk = await openQcow2(image)
  const { graph, node } = disk.rig
  const measured = (options: Options) =>
    graph.mainLoop((main) => measureImage(main, graph, { format: qcow2Driver.name, options, content: node }))
  const small = await measured({ cluster_size: 512 })
  expect([small.required - 22_528, small.fullyAllocated]).toEqual([7 * 512, 1_071_104])
  const large = await measured({})
  expect([large.required - 327_680, large.fullyAllocated]).toEqual([65_536, 1_376_256])
  await disk.close()
})
