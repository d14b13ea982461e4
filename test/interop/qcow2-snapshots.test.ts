// Snapshots inside images, by blockgraph-img and by the real qemu-img: the same commands give the same output, messages and exit
// codes, and leave the same bytes but for dates. Their check finds our images clean, and what we show of a snapshot they show.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type RandomBelow, seededRandom } from '../../src/testing/crash/seeded-random.js'
import { runOurs } from '../support/tool-pair.js'
import { both, compareFiles, makePair, type Pair } from './qcow2/scenario-pair.js'
import { SNAPSHOT_SCENARIOS } from './qcow2/snapshot-scenarios.js'

let root = ''

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'blockgraph-snapshots-'))
})

afterAll(() => {
  rmSync(root, { recursive: true, force: true })
})

describe('the same commands on the same image', () => {
  test.each(SNAPSHOT_SCENARIOS)('$name', async ({ name, make, steps, damaged }) => {
    const pair = makePair(root, name, make)
    for (const step of steps) await both(pair, step)
    if (damaged !== true) compareFiles(pair)
  })
})

describe('random work with snapshots', () => {
  test.each([1, 2, 3, 4, 5, 6])('seed %i', { timeout: 60_000 }, async (seed) => {
    const random = seededRandom(seed)
    const options = ['cluster_size=512', 'cluster_size=4k,refcount_bits=8', 'cluster_size=16k,extended_l2=on'][seed % 3]
    const pair = makePair(root, `random ${seed}`, `qemu-img create -q -f qcow2 -o ${options} a.qcow2 256k`)
    const names: string[] = []
    for (let count = 0; count < 14; count++) await randomStep(pair, random, names)
    compareFiles(pair)
    for (const name of names) await showSame(pair, name)
  })
})

async function randomStep(pair: Pair, random: RandomBelow, names: string[]): Promise<void> {
  const { io, ours, theirs } = pair
  const dice = random(10)
  const name = names[random(Math.max(names.length, 1))]
  if (dice < 4 || (dice > 5 && name === undefined)) {
    const [offset, bytes] = [random(500) * 512, (1 + random(12)) * 512]
    const what = ['write -P 7', 'write -z', 'discard', 'write -z -u'][dice] ?? 'write'
    const command = `${what} ${offset} ${Math.min(bytes, 262_144 - offset)}`
    for (const cwd of [ours, theirs]) expect(io.run(['-c', command, 'a.qcow2'], { cwd })).toMatchObject({ status: 0 })
  } else if (dice < 6) {
    const created = `s${random(1_000_000)}`
    names.push(created)
    await both(pair, ['snapshot', '-c', created, 'a.qcow2'])
  } else if (dice < 8) {
    await both(pair, ['snapshot', '-a', name ?? '', 'a.qcow2'])
  } else {
    names.splice(names.indexOf(name ?? ''), 1)
    await both(pair, ['snapshot', '-d', name ?? '', 'a.qcow2'])
  }
}

/** A snapshot of our image, copied out by both. */
async function showSame({ qemu, ours }: Pair, name: string): Promise<void> {
  const line = (target: string) => ['convert', '-l', name, '-O', 'raw', 'a.qcow2', target]
  expect(qemu.run(line('theirs.raw'), { cwd: ours })).toMatchObject({ status: 0 })
  expect(await runOurs(line('ours.raw'), ours)).toMatchObject({ status: 0 })
  expect(readFileSync(join(ours, 'ours.raw')).equals(readFileSync(join(ours, 'theirs.raw')))).toBe(true)
}
