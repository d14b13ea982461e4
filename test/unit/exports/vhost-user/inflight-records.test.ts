// The record of requests in flight against real rings: a device that dies between any two steps of its bookkeeping, again and
// again, returns every chain exactly once (but for one it had begun to show), in the order in which they were taken.

import { describe, expect, test } from 'vitest'
import { createDriverQueue } from '../../../../src/devices/virtio/driver-queue/create-driver-queue.js'
import { planQueue } from '../../../../src/devices/virtio/driver-queue/queue-plan.js'
import { DescriptorChain } from '../../../../src/devices/virtio/memory/descriptor-chain.js'
import type { GuestMemory } from '../../../../src/devices/virtio/memory/guest-memory.js'
import { createDeviceQueue } from '../../../../src/devices/virtio/queue/create-queue.js'
import { type DeviceQueue, FETCH_CHAIN } from '../../../../src/devices/virtio/queue/device-queue.js'
import type { InflightTracker } from '../../../../src/devices/virtio/queue/inflight-tracker.js'
import type { QueueFeatures } from '../../../../src/devices/virtio/queue/queue-state.js'
import { packedRecordBytes } from '../../../../src/exports/vhost-user/inflight/packed-record.js'
import { splitRecordBytes } from '../../../../src/exports/vhost-user/inflight/split-record.js'
import { ringPosition } from '../../../../src/exports/vhost-user/ring-position.js'
import { type RandomBelow, seededRandom } from '../../../../src/testing/crash/seeded-random.js'
import { codeOf } from '../../../support/code-of.js'
import { bordersEvery, cutMemory } from '../../../support/cut-memory.js'

const SIZE = 16
const SEEDS = 300
const BUFFERS = 0x8000

class Killed extends Error {}

describe.each([
  { packed: false, inOrder: false, cut: false },
  { packed: true, inOrder: false, cut: false },
  { packed: false, inOrder: true, cut: false },
  { packed: true, inOrder: true, cut: false },
  { packed: false, inOrder: false, cut: true },
  { packed: true, inOrder: true, cut: true },
])('packed $packed, in order $inOrder, across regions $cut', ({ packed, inOrder, cut }) => {
  test('every chain comes back once, whenever the device dies', () => {
    const counts = { deaths: 0, remains: 0 }
    const seeds = cut ? SEEDS / 3 : SEEDS
    for (let seed = 1; seed <= seeds; seed++) {
      try {
        runLives(newWorld(packed, cut), inOrder, seededRandom(seed), counts)
      } catch (error) {
        throw new Error(`seed ${seed}`, { cause: error })
      }
    }
    expect(counts.deaths).toBeGreaterThan(seeds)
    expect(counts.remains).toBeGreaterThan(seeds)
  })
})

test('a record that cannot be true is refused', async () => {
  const world = newWorld(false)
  const words = new Uint16Array(world.record)
  position(world)
  const damage: [number, number][] = [
    [4, 2],
    [5, 999],
    [7, 40],
  ]
  for (const [at, value] of damage) {
    const before = words[at] as number
    words[at] = value
    expect(await codeOf(() => position(world)), `word ${at}`).toBe('EINVAL')
    words[at] = before
  }
  // More in flight than the driver has made available.
  new Uint8Array(world.record)[16] = 1
  expect(await codeOf(() => position(world))).toBe('EINVAL')
})

test('a packed record that cannot be true is refused', async () => {
  const world = newWorld(true)
  position(world)
  const bytes = new Uint8Array(world.record)
  const sound = bytes.slice()
  const inFlight = 32
  const cases: ((view: DataView) => void)[] = [
    (view) => view.setUint16(8, 7, true),
    (view) => view.setUint16(16, SIZE, true),
    // No descriptors, too many, and a list that bites its tail.
    () => {},
    (view) => view.setUint16(inFlight + 6, SIZE + 1, true),
    (view) => {
      view.setUint16(inFlight + 6, 2, true)
      view.setUint16(inFlight + 2, 0, true)
    },
    // A buffer id that is none.
    (view) => {
      view.setUint16(inFlight + 6, 1, true)
      view.setUint16(inFlight + 16, SIZE, true)
    },
  ]
  for (const [index, change] of cases.entries()) {
    bytes.set(sound)
    bytes[inFlight] = 1
    change(new DataView(world.record))
    expect(await codeOf(() => position(world)), `case ${index}`).toBe('EINVAL')
  }
})

interface World {
  /** The driver's, and the same as the device sees it. */
  memory: GuestMemory
  deviceMemory: GuestMemory
  plan: ReturnType<typeof planQueue>
  record: ArrayBuffer
  packed: boolean
}

function newWorld(packed: boolean, cut = false): World {
  const ram = new Uint8Array(0x10000)
  return {
    memory: cutMemory(ram, []),
    deviceMemory: cutMemory(ram, cut ? bordersEvery(16, 16, 0x800) : []),
    plan: planQueue(0, SIZE, { packed }),
    record: new ArrayBuffer(packed ? packedRecordBytes(SIZE) : splitRecordBytes(SIZE)),
    packed,
  }
}

function position({ deviceMemory, plan, record, packed }: World) {
  const shape = { queues: 1, queueSize: SIZE, packed }
  return ringPosition({
    memory: deviceMemory,
    config: plan.config,
    packed,
    base: undefined,
    knowsRecords: true,
    inflight: { memory: { part: () => record, shape }, index: 0 },
    left: undefined,
  })
}

function runLives(world: World, inOrder: boolean, random: RandomBelow, counts: { deaths: number; remains: number }) {
  const features = { packed: world.packed, inOrder, indirect: false, eventIndex: false }
  const driver = createDriverQueue(world.memory, world.plan, features)
  const chain = new DescriptorChain()
  /** What the driver has made and not got back, oldest first, by head. */
  const offered: number[] = []
  let queue: DeviceQueue | undefined
  let taken: number[] = []
  for (let step = 0; step < 300; step++) {
    try {
      queue ??= startLife(world, features, random, taken, counts)
      const choice = random(4)
      if (choice === 0) offer(driver, offered, random)
      else if (choice === 1 && queue.fetch(chain) === FETCH_CHAIN) taken.push(chain.head)
      else if (choice === 2 && taken.length > 0) queue.push(taken.splice(random(taken.length), 1)[0] as number, 0)
      else if (choice === 3) queue.publish()
    } catch (error) {
      if (!(error instanceof Killed)) throw error
      counts.deaths++
      queue = undefined
    }
    reapAll(driver, offered)
    if (queue === undefined) taken = [...offered]
  }
  finish(world, features, queue, driver, offered, taken)
  expect(offered).toEqual([])
}

/** The next life takes up what is left: heads that the driver has not got back, in the order in which they were made. */
function startLife(
  world: World,
  features: QueueFeatures,
  random: RandomBelow | undefined,
  known: number[],
  counts: { remains: number },
): DeviceQueue {
  const { state, tracker, heads, lists } = position(world)
  expect(heads).toEqual(known.filter((head) => heads.includes(head)))
  counts.remains += heads.length
  known.length = 0
  const killer = random === undefined ? tracker : mortal(tracker as InflightTracker, random)
  const options = killer === undefined ? {} : { tracker: killer }
  const queue = createDeviceQueue(world.deviceMemory, world.plan.config, SIZE, features, state, options)
  expect(queue.refetch(heads, lists)).toBe(heads.length)
  return queue
}

/** Dies before or after any of its notes. */
function mortal(tracker: InflightTracker, random: RandomBelow): InflightTracker {
  const maybe = (note: () => void): void => {
    const fate = random(25)
    if (fate === 0) throw new Killed()
    note()
    if (fate === 1) throw new Killed()
  }
  return {
    taken: (head, descriptors, count) => maybe(() => tracker.taken(head, descriptors, count)),
    returning: (head) => maybe(() => tracker.returning(head)),
    published: (index, wrap) => maybe(() => tracker.published(index, wrap)),
  }
}

function offer(driver: ReturnType<typeof createDriverQueue>, offered: number[], random: RandomBelow): void {
  const descriptors = 1 + random(3)
  const head = driver.begin(descriptors)
  if (head < 0) return
  for (let i = 0; i < descriptors; i++) driver.append(BUFFERS + i * 64, 64, false)
  driver.end()
  driver.publish()
  offered.push(head)
}

/** The driver throws where it is given what it has not made. */
function reapAll(driver: ReturnType<typeof createDriverQueue>, offered: number[]): void {
  for (let head = driver.reap(); head >= 0; head = driver.reap()) {
    const at = offered.indexOf(head)
    expect(at).toBeGreaterThanOrEqual(0)
    offered.splice(at, 1)
  }
}

/** A life that nobody ends serves all there is. */
function finish(
  world: World,
  features: QueueFeatures,
  last: DeviceQueue | undefined,
  driver: ReturnType<typeof createDriverQueue>,
  offered: number[],
  taken: number[],
): void {
  if (last !== undefined) {
    for (const head of taken) {
      try {
        last.push(head, 0)
      } catch (error) {
        if (!(error instanceof Killed)) throw error
        break
      }
    }
  }
  const chain = new DescriptorChain()
  const queue = startLife(world, features, undefined, [...offered], { remains: 0 })
  while (queue.fetch(chain) === FETCH_CHAIN) queue.push(chain.head, 0)
  expect(queue.fault).toBeUndefined()
  queue.publish()
  reapAll(driver, offered)
}
