// Repair of images that are damaged at random: afterwards a check finds nothing, another repair changes nothing, and what the damage
// did not touch reads as before.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { BDRV_FIX_ERRORS, BDRV_FIX_LEAKS } from '../../../src/common/block-info.js'
import { BlockError } from '../../../src/common/error.js'
import { BDRV_O_NO_BACKING } from '../../../src/common/open-flags.js'
import { nodeServices } from '../../../src/platform/services.js'
import { seededRandom } from '../../../src/testing/crash/seeded-random.js'
import { storageDriver, storageOf } from '../../../src/testing/storage/memory-storage.js'
import { openRig } from '../../support/driver-rig.js'
import { ImageBytes } from '../../support/qcow2-bytes.js'
import { type CheckRunResult, runCheck } from '../../support/qcow2-check.js'
import { damageImage } from '../../support/qcow2-damage.js'

const CORPUS = join(import.meta.dirname, '..', '..', 'fuzz', 'corpus', 'qcow2')
const RUNS = Math.ceil(20 * Number(process.env.BLOCKGRAPH_MODEL_SCALE ?? '1'))
const SEED = Number(process.env.BLOCKGRAPH_FUZZ_SEED ?? 1)
const ALL = BDRV_FIX_LEAKS | BDRV_FIX_ERRORS
const OFFSET_MASK = 0x00ff_ffff_ffff_fe00n
const COMPRESSED = 1n << 62n
const FLAGS = 3n << 62n
/** Damage to these changes entries one by one; other damage may give any cluster any meaning. */
const ENTRIES = ['L1 at', 'L1 entry', 'L2 at', 'L2 entry', 'refcount table entry', 'refcount block', 'bitmap table']

const images = readdirSync(CORPUS)
  .filter((name) => !name.startsWith('external'))
  .map(
    (name) => [name.replace(/\.qcow2\.gz$/, ''), new Uint8Array(gunzipSync(readFileSync(join(CORPUS, name))))] as const,
  )

describe('repair of damaged images', () => {
  test.each(images)(`%s, ${RUNS} times`, { timeout: 300_000 }, async (name, base) => {
    const whole = await contentOf(base)
    let [repaired, clean, compared] = [0, 0, 0]
    for (let run = 0; run < RUNS; run++) {
      const seed = SEED * 10_007 + run
      const damage = damageImage(base, seededRandom(seed))
      const told = `${name}, seed ${seed}: ${damage.done.join('; ')}`
      const first = await repair(damage.bytes, told)
      if (first === undefined) continue
      repaired++
      // What no repair knows how to mend is told of.
      if (first.result.corruptions + first.result.checkErrors > 0) continue
      clean++
      const { result, lines } = await runCheck(first.after)
      const { corruptions, checkErrors, leaks } = result
      const shown = `${told}\n${lines.slice(0, 8).join('\n')}`
      expect({ corruptions, checkErrors, leaks }, shown).toEqual({ corruptions: 0, checkErrors: 0, leaks: 0 })
      const second = await repair(first.after.bytes, told)
      expect(Buffer.compare(second?.after.bytes ?? new Uint8Array(0), first.after.bytes), `${told}: once more`).toBe(0)
      if (whole !== undefined && damage.done.every((done) => ENTRIES.some((entry) => done.startsWith(entry)))) {
        const found = await contentOf(first.after.bytes)
        compared += compareUntouched(new ImageBytes(base), new ImageBytes(damage.bytes), whole, found, told)
      }
    }
    // Most damage can be repaired, and leaves something to compare.
    expect(clean).toBeGreaterThan(RUNS / 3)
    expect(repaired).toBeGreaterThanOrEqual(clean)
    expect(compared).toBeGreaterThan(RUNS)
  })
})

/** Undefined where the image is beyond a repair. */
async function repair(bytes: Uint8Array, told: string): Promise<CheckRunResult | undefined> {
  try {
    return await runCheck(new ImageBytes(bytes.slice()), ALL)
  } catch (error) {
    expect(error instanceof BlockError, `${told}: ${error}`).toBe(true)
    return undefined
  }
}

/** What the disk reads as, cluster by cluster; undefined for those that cannot be read, or for all of it. */
async function contentOf(bytes: Uint8Array): Promise<(Uint8Array | undefined)[] | undefined> {
  const options = { driver: 'qcow2', 'read-only': true, file: { driver: 'storage' } }
  const settings = { flags: BDRV_O_NO_BACKING }
  const drivers = [storageDriver(storageOf(bytes))]
  const rig = await openRig(options, { drivers, services: nodeServices, settings, perm: 1 }).catch((error: unknown) => {
    if (!(error instanceof BlockError)) throw error
  })
  if (rig === undefined) return undefined
  try {
    const { clusterSize } = new ImageBytes(bytes)
    const content: (Uint8Array | undefined)[] = []
    for (let at = 0; at < rig.backend.length; at += clusterSize) {
      const into = new Uint8Array(Math.min(clusterSize, rig.backend.length - at))
      const read = await rig.backend.read(at, into).then(
        () => true,
        () => false,
      )
      content.push(read ? into : undefined)
    }
    return content
  } finally {
    await rig.close()
  }
}

/** Compares the guest clusters that the damage did not touch; how many they are. */
function compareUntouched(
  base: ImageBytes,
  damaged: ImageBytes,
  before: readonly (Uint8Array | undefined)[],
  after: readonly (Uint8Array | undefined)[] | undefined,
  told: string,
): number {
  const { clusterSize } = base
  const claimed = claimedClusters(base, damaged)
  const isClaimed = (offset: number, bytes = clusterSize) => {
    for (let at = Math.floor(offset / clusterSize); at * clusterSize < offset + bytes; at++)
      if (claimed.has(at)) return true
    return false
  }
  const tableBytes = base.get32(36) * 8
  if (isClaimed(base.l1At, tableBytes)) return 0
  let compared = 0
  const perTable = base.layout.l2Entries
  for (const [index, content] of before.entries()) {
    const [entry, same] = [entryOf(base, index, perTable), entryOf(damaged, index, perTable)]
    if (entry.word !== same.word || entry.more !== same.more || entry.l2 !== same.l2) continue
    if (entry.l2 !== 0 && isClaimed(entry.l2)) continue
    const place = placeOf(base, entry.word)
    if (place !== undefined && isClaimed(place.offset, place.bytes)) continue
    expect(after?.[index], `${told}: guest cluster ${index}`).toEqual(content)
    compared++
  }
  return compared
}

/** Clusters that damaged words may name: a repair may take them for what they say. */
function claimedClusters(base: ImageBytes, damaged: ImageBytes): Set<number> {
  const claimed = new Set<number>()
  const { clusterSize } = base
  for (let at = 0; at + 8 <= base.bytes.byteLength; at += 8) {
    const word = damaged.get64(at)
    if (word === base.get64(at)) continue
    claimed.add(Number((word & OFFSET_MASK) / BigInt(clusterSize)))
    const place = placeOf(base, word | COMPRESSED)
    for (let byte = place?.offset ?? 0; byte < (place?.offset ?? 0) + (place?.bytes ?? 0); byte += 512) {
      claimed.add(Math.floor(byte / clusterSize))
    }
  }
  return claimed
}

function entryOf(image: ImageBytes, index: number, perTable: number): { l2: number; word: bigint; more: bigint } {
  const l2 = Number(image.get64(image.l1At + Math.floor(index / perTable) * 8) & OFFSET_MASK)
  if (l2 === 0 || l2 + image.clusterSize > image.bytes.byteLength) return { l2, word: 0n, more: 0n }
  const { l2EntryBytes } = image.layout
  const at = l2 + (index % perTable) * l2EntryBytes
  return { l2, word: image.get64(at), more: l2EntryBytes === 16 ? image.get64(at + 8) : 0n }
}

/** Where an entry says that data stands. */
function placeOf(image: ImageBytes, word: bigint): { offset: number; bytes: number } | undefined {
  if ((word & COMPRESSED) === 0n) {
    const offset = Number(word & OFFSET_MASK)
    return offset === 0 ? undefined : { offset, bytes: image.clusterSize }
  }
  const bits = 62n - BigInt(Math.log2(image.clusterSize) - 8)
  const offset = Number(word & ((1n << bits) - 1n))
  return { offset, bytes: Number((word & ~FLAGS) >> bits) * 512 + 512 }
}
