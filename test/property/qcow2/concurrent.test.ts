// Many requests in flight at once, overlapping or not, while the file below completes its own in any order: each range ends as
// one of the orders (threats D14, D15), the image is sound, and opened again it shows the same.

import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createLayout } from '../../../src/drivers/qcow2/format/layout.js'
import { type BatchContext, runBatch } from './batch.js'
import { ImageWorld, type LayerKind } from './image-world.js'
import { type GuestRequest, guestRequest, placesOf } from './requests.js'

/** How many times as many runs as in a normal one. */
const scale = Number(process.env.BLOCKGRAPH_MODEL_SCALE ?? '1')

const SMALL_CACHES = { 'l2-cache-size': 1024, 'l2-cache-entry-size': 512, 'refcount-cache-size': 2048 }
const ALL_DISCARDS = { 'pass-discard-request': true, 'pass-discard-other': true, 'pass-discard-snapshot': true }

const KINDS: Readonly<Record<string, LayerKind>> = {
  'clusters of 512 bytes': { image: {}, size: 80 * 512 },
  'the smallest caches and all discards passed on': {
    image: {},
    size: 200 * 512,
    open: { ...SMALL_CACHES, ...ALL_DISCARDS },
  },
  'refcounts of 1 bit': { image: { refcountOrder: 0 }, size: 130 * 512, open: ALL_DISCARDS },
  'refcounts of 64 bits': { image: { refcountOrder: 6 }, size: 160 * 512, open: SMALL_CACHES },
  'lazy refcounts': { image: { lazyRefcounts: true }, size: 80 * 512, open: SMALL_CACHES },
  'clusters of 4 KiB': { image: { clusterBits: 12 }, size: 11 * 4096 + 512, open: ALL_DISCARDS },
  subclusters: { image: { clusterBits: 14, extendedL2: true }, size: 6 * 16_384, open: ALL_DISCARDS },
  'version 2': { image: { version: 2 }, size: 80 * 512 },
  'an external data file': { image: { dataFile: 'plain' }, size: 80 * 512, open: ALL_DISCARDS },
  'a raw external data file': { image: { dataFile: 'raw' }, size: 80 * 512 },
  'clusters that stay where they are': { image: {}, size: 80 * 512, open: { 'discard-no-unref': true } },
}

async function run(kind: LayerKind, seed: number, batches: readonly GuestRequest[][], together: number): Promise<void> {
  const world = new ImageWorld([kind], seed)
  const { clusterBits = 9, refcountOrder = 4, extendedL2 = false } = kind.image
  const layout = createLayout(clusterBits, refcountOrder, extendedL2)
  const places = placesOf(Math.ceil(kind.size / layout.clusterSize), layout.l2Entries)
  const context: BatchContext = { world, clusterSize: layout.clusterSize, places, serial: 0 }
  await world.open()
  let content: Uint8Array = new Uint8Array(kind.size)
  for (const batch of batches) {
    ;({ content } = await runBatch(context, batch, together, content))
    const { result, lines } = await world.check()
    expect(lines).toEqual([])
    expect(result).toMatchObject({ corruptions: 0, leaks: 0, checkErrors: 0 })
  }
  expect(world.rig.node.state.inFlight).toBe(0)
  await world.close()
  await world.open()
  expect(Buffer.compare(await world.readAll(), content)).toBe(0)
  await world.close()
}

describe('requests in flight together, with', () => {
  it.each(Object.entries(KINDS))('%s', { timeout: 120_000 }, async (_name, kind) => {
    await fc.assert(
      fc.asyncProperty(
        fc.noShrink(fc.integer()),
        fc.array(fc.array(guestRequest, { minLength: 1, maxLength: 14 }), { minLength: 1, maxLength: 3 }),
        fc.integer({ min: 2, max: 10 }),
        (seed, batches, together) => run(kind, seed, batches, together),
      ),
      { numRuns: 40 * scale },
    )
  })
})
