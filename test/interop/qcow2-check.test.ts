// Checks of damaged images against the real qemu-img on the same bytes: the same findings, the same words, the same exit codes. And
// repairs: where the real one leaves a clean image, ours is clean in its eyes too and shows the same disk.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { firstDifference } from '../../src/testing/crash/compare-bytes.js'
import { seededRandom } from '../../src/testing/crash/seeded-random.js'
import { type PeerRun, peer } from '../support/peers.js'
import { type Damage, damageImage } from '../support/qcow2-damage.js'
import { makeRandomImage, type RandomImage } from '../support/random-qcow2.js'
import { runOurs } from '../support/tool-pair.js'

const IMAGES = 24
const FIRST_SEED = Number(process.env.BLOCKGRAPH_FUZZ_SEED ?? 1)
const DAMAGES = 14
/** One in so many damaged images is repaired as well. */
const REPAIRED = 4

let folder = ''

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'blockgraph-check-'))
})

afterAll(() => {
  rmSync(folder, { recursive: true, force: true })
})

const path = (name: string) => join(folder, name)

describe('damaged images', () => {
  test.each(Array.from({ length: IMAGES }, (_, index) => FIRST_SEED + index))(
    `image %i in ${DAMAGES} states`,
    async (seed) => {
      const random = seededRandom(seed)
      const image = makeRandomImage(folder, 'base.qcow2', random)
      const base = new Uint8Array(readFileSync(path('base.qcow2')))
      for (let state = 0; state < DAMAGES; state++) {
        const damage = damageImage(base, random)
        const told = `image ${seed}, state ${state}: ${image.made.join('; ')}: ${damage.done.join('; ')}`
        const theirs = await compareChecks(damage, told)
        if (state % REPAIRED !== 0 || theirs === undefined || theirs.status === 0) continue
        if (!isLossy(image, damage)) await compareRepair(damage, 'leaks', told)
        if (!isLossy(image, damage) && !theirs.stderr.includes('outside image')) {
          await compareRepair(damage, 'all', told)
        } else await repairAlone(damage, told)
      }
    },
    120_000,
  )
})

/** Both check the same bytes. What theirs said; undefined where neither opens the image. */
async function compareChecks(damage: Damage, told: string): Promise<PeerRun | undefined> {
  writeFileSync(path('x.qcow2'), damage.bytes)
  const args = ['check', '-f', 'qcow2', '--output=json', 'x.qcow2']
  const theirs = peer('qemu-img').run(args, { cwd: folder })
  const ours = await runOurs(args, folder)
  expect(ours.stderr.includes('Could not open'), `${told}\n${ours.stderr}${theirs.stderr}`).toBe(
    theirs.stderr.includes('Could not open'),
  )
  if (ours.stderr.includes('Could not open')) return undefined
  expect(linesOf(ours.stderr), told).toEqual(linesOf(theirs.stderr))
  expect(findingsOf(ours.stdout), told).toEqual(findingsOf(theirs.stdout))
  expect(ours.status, told).toBe(theirs.status)
  // A check changes nothing.
  expect(readFileSync(path('x.qcow2')).equals(damage.bytes), told).toBe(true)
  return theirs
}

function findingsOf(output: string): unknown {
  return output === '' ? undefined : JSON.parse(output)
}

/** Lines without the name of the tool; a warning of bitmaps ends without a line feed in theirs. */
function linesOf(text: string): string[] {
  return text
    .replaceAll('qemu-img', 'blockgraph-img')
    .replace(/^(blockgraph-img: warning: .*\n)?(Some clusters may be leaked.*to fix\.)?\n?/, '')
    .split('\n')
    .map((line) => line.replace(/^blockgraph-img: /, ''))
}

/**
 * The real tool opens an image for a repair before it has read its snapshots, and forgets them where it writes the header then: for
 * bitmaps, or for features it does not know.
 */
function isLossy(image: RandomImage, { bytes }: Damage): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const unknown = view.getUint32(4) >= 3 && (view.getBigUint64(88) & ~3n) !== 0n
  return image.bitmaps > 0 || unknown
}

/** Both repair the same bytes; compared where theirs leaves nothing to be found. */
async function compareRepair(damage: Damage, what: 'leaks' | 'all', told: string): Promise<void> {
  writeFileSync(path('theirs.qcow2'), damage.bytes)
  writeFileSync(path('ours.qcow2'), damage.bytes)
  const repair = ['check', '-f', 'qcow2', '--output=json', '-r', what]
  const theirs = peer('qemu-img').run([...repair, 'theirs.qcow2'], { cwd: folder })
  const ours = await runOurs([...repair, 'ours.qcow2'], folder)
  if (theirs.status !== 0) return
  expect(ours, told).toMatchObject({ status: 0 })
  expect(peer('qemu-img').run(['check', '-f', 'qcow2', 'ours.qcow2'], { cwd: folder }), told).toMatchObject({
    status: 0,
    stderr: '',
  })
  for (const show of [[], ...[0, 1, 2].map((round) => ['-l', `snapshot.name=snap${round}`])]) {
    const [mine, real] = ['ours.qcow2', 'theirs.qcow2'].map((name) => contentOf(name, show))
    const same = mine === undefined || real === undefined ? mine === real : firstDifference(mine, real) === undefined
    expect(same, `${told}: content ${show.join(' ')}`).toBe(true)
  }
}

/** Where theirs would lose snapshots, or make the file as long as a damaged entry says: ours leaves an image that both accept. */
async function repairAlone(damage: Damage, told: string): Promise<void> {
  writeFileSync(path('ours.qcow2'), damage.bytes)
  const ours = await runOurs(['check', '-f', 'qcow2', '-q', '-r', 'all', 'ours.qcow2'], folder)
  const after = peer('qemu-img').run(['check', '-f', 'qcow2', 'ours.qcow2'], { cwd: folder })
  expect(after.status, `${told}\n${after.stderr}`).toBe(ours.status)
}

/** The disk, or the snapshot, that an image shows, zeroes where it cannot be read; undefined where it has none. */
function contentOf(name: string, show: readonly string[]): Uint8Array | undefined {
  const args = ['convert', '--salvage', ...show, '-f', 'qcow2', '-O', 'raw', name, 'content.raw']
  const { status } = peer('qemu-img').run(args, { cwd: folder })
  return status === 0 ? readFileSync(path('content.raw')) : undefined
}
