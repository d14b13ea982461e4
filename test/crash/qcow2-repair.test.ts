// Repairs on a host that stops at any moment or fails: the image can be repaired again, is clean then, and shows the same disk.

import { describe, expect, it } from 'vitest'
import { BDRV_FIX_ERRORS, BDRV_FIX_LEAKS } from '../../src/common/block-info.js'
import { BlockError } from '../../src/common/error.js'
import { BDRV_O_CHECK } from '../../src/common/open-flags.js'
import { checkImage } from '../../src/global-state/check-image.js'
import { partCount } from '../../src/testing/crash/change.js'
import { crashChoices } from '../../src/testing/crash/crash-choices.js'
import { crashPoints } from '../../src/testing/crash/crash-points.js'
import { crashState, stateKey } from '../../src/testing/crash/crash-state.js'
import { imagesOf, storesOf } from '../../src/testing/crash/crash-world.js'
import { seededRandom } from '../../src/testing/crash/seeded-random.js'
import { FaultPlan, faultDriver } from '../../src/testing/storage/faults.js'
import { type ChunkStore, contentOf, storageDriver, storageOf } from '../../src/testing/storage/memory-storage.js'
import { Recording, recordingDriver } from '../../src/testing/storage/recording.js'
import { openRig } from '../support/driver-rig.js'
import { COPIED, ImageBytes } from '../support/qcow2-bytes.js'
import { runCheck } from '../support/qcow2-check.js'
import { handMadeImage } from '../support/qcow2-image.js'
import { inspectQcow2 } from '../support/qcow2-inspector.js'

const ALL = BDRV_FIX_LEAKS | BDRV_FIX_ERRORS
const STATES_PER_POINT = 50

const DAMAGES: Readonly<Record<string, (image: ImageBytes) => void>> = {
  leaks(image) {
    for (const cluster of [13, 14, 40]) image.setRefcount(cluster, 1n)
    image.setRefcount(6, 3n)
  },
  'counts that are too low'(image) {
    image.setEntry(9, image.entry(1) & ~COPIED)
    image.setEntry(1, image.entry(1) & ~COPIED)
  },
  'a cluster in use that is free by its count': (image) => image.setRefcount(7, 0n),
  'no counts at all': (image) => image.put64(image.refcountTableAt, 0),
  'counts by a block that is no block': (image) => image.put64(image.refcountTableAt, 0x200 * 77),
  'copied flags that are wrong'(image) {
    for (const index of [0, 2, 5]) image.setEntry(index, image.entry(index) ^ COPIED)
    image.put64(image.l1At, image.get64(image.l1At) ^ COPIED)
  },
  'the dirty bit, and counts of before'(image) {
    image.put64(72, 1)
    image.setRefcount(11, 0n)
    image.setRefcount(30, 1n)
  },
  'a snapshot table without lengths of disks'(image) {
    const l1 = image.addCluster()
    image.put64(l1, image.get64(image.l1At) & ~COPIED)
    const table = image.addCluster()
    image.put64(table, l1)
    image.put32(table + 8, 1)
    image.put16(table + 12, 1)
    image.bytes[table + 40] = 0x31
    image.put32(60, 1)
    image.put64(64, table)
  },
}

interface Outcome {
  clean: boolean
  content: Uint8Array
  problems: string[]
}

/** What is left when the image on `store` is repaired in peace. */
async function repairedOutcome(store: ChunkStore): Promise<Outcome> {
  const { after } = await runCheck(new ImageBytes(contentOf(store)), ALL)
  const { result } = await runCheck(after)
  const { corruptions, checkErrors, leaks } = result
  return {
    clean: corruptions + checkErrors + leaks === 0,
    content: await diskOf(after),
    problems: inspectQcow2(after.bytes).problems,
  }
}

async function diskOf(image: ImageBytes): Promise<Uint8Array> {
  const options = { driver: 'qcow2', 'read-only': true, file: { driver: 'storage' } }
  const rig = await openRig(options, { drivers: [storageDriver(storageOf(image.bytes))], perm: 1 })
  const content = new Uint8Array(rig.backend.length)
  await rig.backend.read(0, content)
  await rig.close()
  return content
}

/** Repairs the image on `store` through what records and fails. */
async function repairOn(store: ChunkStore, recording: Recording, plan = new FaultPlan()): Promise<void> {
  const recorded = { driver: 'recording', 'node-name': 'disk', file: { driver: 'storage' } }
  const drivers = [storageDriver(store), recordingDriver(recording), faultDriver(plan)]
  const options = { driver: 'qcow2', file: { driver: 'fault', file: recorded } }
  const rig = await openRig(options, { drivers, settings: { flags: BDRV_O_CHECK } })
  try {
    await rig.graph.mainLoop((main) => checkImage(main, rig.node, ALL, () => {}))
  } finally {
    await rig.close()
  }
}

function damaged(damage: (image: ImageBytes) => void): ImageBytes {
  const image = handMadeImage({ data: 8, size: 64 * 512 })
  damage(image)
  return image
}

describe('a crash while qcow2 repairs', () => {
  it.each(Object.entries(DAMAGES))('%s', { timeout: 120_000 }, async (_name, damage) => {
    const store = storageOf(damaged(damage).bytes)
    const initial = imagesOf(new Map([['disk', store]]))
    const wanted: Outcome = { ...(await repairedOutcome(store)), problems: [] }
    expect(wanted.clean).toBe(true)
    const recording = new Recording()
    await repairOn(store, recording)
    const random = seededRandom(1)
    const seen = new Set<string>()
    for (const point of crashPoints(recording, initial)) {
      const parts = point.window.map(({ entry }) => partCount(entry))
      const choices = [...crashChoices(parts, random)].slice(0, STATES_PER_POINT)
      for (const choice of choices) {
        const images = crashState(point, choice)
        if (seen.has(stateKey(images))) continue
        seen.add(stateKey(images))
        const stopped = storesOf(images).get('disk') ?? store
        const told = `crash at ${point.serial}, ${JSON.stringify(choice)}`
        expect(await repairedOutcome(stopped), told).toEqual(wanted)
      }
    }
    expect(seen.size).toBeGreaterThan(1)
  })
})

describe('a fault while qcow2 repairs', () => {
  it.each(Object.entries(DAMAGES))('%s', { timeout: 120_000 }, async (_name, damage) => {
    const image = damaged(damage)
    const wanted: Outcome = { ...(await repairedOutcome(storageOf(image.bytes))), problems: [] }
    let faults = 0
    for (let nth = 1; ; nth++) {
      const store = storageOf(image.bytes)
      const plan = new FaultPlan()
      const fault = plan.add({ nth, fail: 'EIO' })
      const failure = await repairOn(store, new Recording(), plan).catch((error: unknown) => error)
      if (fault.hits === 0) break
      faults++
      expect(failure === undefined || failure instanceof BlockError, `lower call ${nth}: ${failure}`).toBe(true)
      expect(await repairedOutcome(store), `lower call ${nth}`).toEqual(wanted)
    }
    expect(faults).toBeGreaterThan(5)
  })
})
