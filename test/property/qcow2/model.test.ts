// Everything that is done to an image, in random order, against a model of what it must show: snapshots, bitmaps, lengths, options,
// and requests in flight together, some of which fail below; alone, and at the top of a chain.

import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createLayout } from '../../../src/drivers/qcow2/format/layout.js'
import { nodeServices } from '../../../src/platform/services.js'
import { encryptedQcow2 } from '../../support/encrypted-qcow2.js'
import type { BatchContext } from './batch.js'
import { type ImageCommand, imageCommands, OPTION_SETS } from './commands.js'
import { ImageModel } from './image-model.js'
import { ImageWorld, type LayerKind, PASSWORD } from './image-world.js'
import { placesOf } from './requests.js'

/** How many times as many runs as in a normal one. */
const scale = Number(process.env.BLOCKGRAPH_MODEL_SCALE ?? '1')

const KINDS: Readonly<Record<string, LayerKind>> = {
  'clusters of 512 bytes': { image: {}, size: 80 * 512 },
  'refcounts of 1 bit': { image: { refcountOrder: 0 }, size: 130 * 512 },
  'refcounts of 2 bits': { image: { refcountOrder: 1 }, size: 70 * 512 },
  'refcounts of 64 bits': { image: { refcountOrder: 6 }, size: 100 * 512 },
  'lazy refcounts': { image: { lazyRefcounts: true }, size: 80 * 512 },
  subclusters: { image: { clusterBits: 14, extendedL2: true }, size: 5 * 16_384 },
  'version 2': { image: { version: 2 }, size: 80 * 512 },
  'an external data file': { image: { dataFile: 'plain' }, size: 80 * 512 },
}

function contextOf(world: ImageWorld, { image, size }: LayerKind): BatchContext {
  const layout = createLayout(image.clusterBits ?? 9, image.refcountOrder ?? 4, image.extendedL2 ?? false)
  const places = placesOf(Math.ceil(size / layout.clusterSize), layout.l2Entries)
  return { world, clusterSize: layout.clusterSize, places, serial: 0 }
}

/** Requests below that were made to fail, in all runs. */
let struck = 0

async function run(layers: readonly LayerKind[], seed: number, commands: readonly ImageCommand[][]): Promise<void> {
  const world = new ImageWorld(layers, seed)
  let below: Uint8Array = new Uint8Array(0)
  for (const [index, kind] of layers.entries()) {
    const shown: Uint8Array = new Uint8Array(kind.size)
    shown.set(below.subarray(0, Math.min(below.byteLength, kind.size)))
    const refcountBits = 2 ** (kind.image.refcountOrder ?? 4)
    const limits = {
      maxRefcount: 2 ** Math.min(refcountBits, 30) - 1,
      version: kind.image.version ?? 3,
      externalData: kind.image.dataFile !== undefined,
      most: kind.size * 2,
    }
    world.moveTo(index)
    await world.open()
    const model = new ImageModel(contextOf(world, kind), limits, shown)
    for (const command of commands[index] ?? []) {
      await model.perform(command)
      await model.compare()
    }
    await model.compareStatus()
    if (index === layers.length - 1) {
      await model.reopen(seed & 1)
      await model.compare()
    }
    below = await world.readAll()
    await world.close()
    struck += world.order.failed
    world.order.failed = 0
  }
}

const seeds = fc.noShrink(fc.integer())

describe('an image does what its model does, with', () => {
  it.each(Object.entries(KINDS))('%s', { timeout: 120_000 }, async (_name, kind) => {
    await fc.assert(
      fc.asyncProperty(seeds, fc.constantFrom(...OPTION_SETS), imageCommands(8, 10), (seed, open, commands) =>
        run([{ ...kind, open }], seed, [commands]),
      ),
      { numRuns: 15 * scale },
    )
  })

  it('encryption', { timeout: 120_000 }, async () => {
    const size = 5 * 65_536
    const encrypted = await encryptedQcow2(PASSWORD, size)
    await fc.assert(
      fc.asyncProperty(seeds, imageCommands(6, 6), (seed, commands) =>
        run([{ image: { clusterBits: 16 }, size, encrypted }], seed, [commands]),
      ),
      { numRuns: 5 * scale },
    )
  })

  it.skipIf(nodeServices.zstd === undefined)('zstd', { timeout: 120_000 }, async () => {
    const kind = { image: { clusterBits: 12, zstd: true }, size: 40 * 4096 }
    await fc.assert(
      fc.asyncProperty(seeds, imageCommands(8, 8), (seed, commands) => run([kind], seed, [commands])),
      { numRuns: 6 * scale },
    )
  })

  it('up to three images below it', { timeout: 120_000 }, async () => {
    const layer = fc.constantFrom<LayerKind[]>(
      { image: {}, size: 80 * 512 },
      { image: { clusterBits: 10 }, size: 41 * 512 },
      { image: { clusterBits: 12 }, size: 130 * 512 },
      { image: { clusterBits: 14, extendedL2: true }, size: 90 * 512 },
      { image: { version: 2 }, size: 60 * 512 },
      { image: { refcountOrder: 0 }, size: 70 * 512 },
    )
    await fc.assert(
      fc.asyncProperty(
        seeds,
        fc.array(layer, { minLength: 2, maxLength: 4 }),
        fc.array(imageCommands(6, 4), { minLength: 4, maxLength: 4 }),
        (seed, layers, commands) => run(layers, seed, commands),
      ),
      { numRuns: 20 * scale },
    )
  })

  it('requests below that fail, in some of these', () => {
    expect(struck).toBeGreaterThan(2)
  })
})
