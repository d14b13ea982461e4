// Damaged images: whatever stands in them, using them ends in success or in one BlockError, within a second, and with memory
// that the limits of the format bound. `npm run fuzz -- qcow2` runs more of them, from another seed.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { nodeServices } from '../../src/platform/services.js'
import { seededRandom } from '../../src/testing/crash/seeded-random.js'
import { exercise, WAYS } from './qcow2/exercise.js'
import { fieldsOf } from './qcow2/fields.js'
import { mutate } from './qcow2/mutate.js'

const CORPUS = join(import.meta.dirname, 'corpus', 'qcow2')
const RUNS = Number(process.env.BLOCKGRAPH_FUZZ_RUNS ?? 20_000)
const SEED = Number(process.env.BLOCKGRAPH_FUZZ_SEED ?? 1)
/** Processor time that one image may cost. */
const MOST_MS = 1000

/** The child that an image has besides its file. */
function childOf(name: string): string | undefined {
  if (name.startsWith('external')) return 'data-file'
  return name.startsWith('overlay') ? 'backing' : undefined
}

const images = readdirSync(CORPUS).map((name) => ({
  name: name.replace(/\.gz$/, ''),
  bytes: new Uint8Array(gunzipSync(readFileSync(join(CORPUS, name)))),
}))

describe('qcow2 images', () => {
  test.each(images.map(({ name, bytes }) => [name, bytes] as const))('%s is sound as it is', async (name, bytes) => {
    const sound = { opened: true, fault: undefined }
    for (const way of WAYS) expect(await exercise(bytes, nodeServices, way, childOf(name))).toEqual(sound)
  })

  const each = Math.ceil(RUNS / images.length)
  test.each(images.map(({ name, bytes }, index) => [name, bytes, index] as const))(
    `%s survives ${each} mutations`,
    async (name, bytes, index) => {
      const fields = fieldsOf(bytes)
      let opened = 0
      for (let run = 0; run < each; run++) {
        const seed = SEED * 1_000_003 + index * 100_000 + run
        const mutant = mutate(bytes, fields, seededRandom(seed))
        const way = WAYS[run % WAYS.length] ?? { writable: true, check: false }
        const began = process.cpuUsage()
        const verdict = await exercise(mutant.bytes, nodeServices, way, childOf(name))
        const { user, system } = process.cpuUsage(began)
        const told = `${name}, seed ${seed}, ${JSON.stringify(way)}: ${mutant.done.join('; ')}`
        expect(verdict.fault, told).toBeUndefined()
        if (verdict.opened) opened++
        expect((user + system) / 1000, `${told}: processor time`).toBeLessThan(MOST_MS)
      }
      // Damage that no image survives would find nothing behind the door.
      expect(opened / each).toBeGreaterThan(0.25)
    },
    600_000,
  )
})
