// Dirty bitmaps inside images, by blockgraph-img and by the real qemu-img: the same commands give the same output, messages and exit
// codes, and leave the same bytes. What one has recorded the other goes on with.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type RandomBelow, seededRandom } from '../../src/testing/crash/seeded-random.js'
import { BITMAP_SCENARIOS } from './qcow2/bitmap-scenarios.js'
import { both, compareFiles, makePair, type Pair } from './qcow2/scenario-pair.js'

let root = ''

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'blockgraph-bitmaps-'))
})

afterAll(() => {
  rmSync(root, { recursive: true, force: true })
})

describe('the same commands on the same image', () => {
  test.each(BITMAP_SCENARIOS)('$name', async ({ name, make, steps, damaged }) => {
    const pair = makePair(root, name, make)
    for (const step of steps) await both(pair, step)
    if (damaged !== true) compareFiles(pair)
  })
})

describe('random work with bitmaps', () => {
  test.each([1, 2, 3, 4, 5, 6])('seed %i', { timeout: 60_000 }, async (seed) => {
    const random = seededRandom(seed)
    const options = ['cluster_size=512', 'cluster_size=4k,refcount_bits=1', 'cluster_size=64k,lazy_refcounts=on'][
      seed % 3
    ]
    const pair = makePair(root, `random ${seed}`, `qemu-img create -q -f qcow2 -o ${options} a.qcow2 2M`)
    const names: string[] = []
    for (let count = 0; count < 14; count++) await randomStep(pair, random, names)
    compareFiles(pair)
  })
})

async function randomStep(pair: Pair, random: RandomBelow, names: string[]): Promise<void> {
  const { io, ours, theirs } = pair
  const [name, other] = [pick(names, random), pick(names, random)]
  const dice = random(12)
  if (dice < 3 || name === undefined || other === undefined) {
    const created = `b${random(1_000_000)}`
    names.push(created)
    const granularity = String(512 * 2 ** random(8))
    const more = random(3) === 0 ? ['--disable'] : []
    await both(pair, ['bitmap', '--add', ...more, '-g', granularity, 'a.qcow2', created])
  } else if (dice < 8) {
    const [offset, bytes] = [random(4000) * 512, (1 + random(90)) * 512]
    const command = `write ${offset} ${Math.min(bytes, 2_097_152 - offset)}`
    for (const cwd of [ours, theirs]) expect(io.run(['-c', command, 'a.qcow2'], { cwd })).toMatchObject({ status: 0 })
  } else if (dice === 8) {
    names.splice(names.indexOf(name), 1)
    await both(pair, ['bitmap', '--remove', 'a.qcow2', name])
  } else {
    const action = [['--clear'], ['--merge', other], [random(2) === 0 ? '--enable' : '--disable']][dice - 9] ?? []
    await both(pair, ['bitmap', ...action, 'a.qcow2', name])
  }
}

function pick(names: readonly string[], random: RandomBelow): string | undefined {
  return names[random(Math.max(names.length, 1))]
}
