// Queues that a hostile driver has written, and that it goes on writing between any two looks of the device: the device
// gets chains that lie in guest memory, or one fault, within a bounded number of steps, and never throws. Afterwards the
// same memory makes a good queue. A failure prints its number, which alone makes the ring.

import fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import { createDriverQueue } from '../../../src/devices/virtio/driver-queue/create-driver-queue.js'
import { planQueue, type QueuePlan } from '../../../src/devices/virtio/driver-queue/queue-plan.js'
import { DescriptorChain } from '../../../src/devices/virtio/memory/descriptor-chain.js'
import { GuestMemory, type GuestRegion, type PieceSink } from '../../../src/devices/virtio/memory/guest-memory.js'
import { createDeviceQueue, type QueueFeatures } from '../../../src/devices/virtio/queue/create-queue.js'
import {
  type DeviceQueue,
  FETCH_CHAIN,
  FETCH_EMPTY,
  FETCH_FAULT,
} from '../../../src/devices/virtio/queue/device-queue.js'
import { type RandomBelow, seededRandom } from '../../../src/testing/crash/seeded-random.js'
import { bordersEvery, cutMemory } from '../../support/cut-memory.js'

const RUNS = 60_000
const RAM = 0x4000
const BORDER = 0x3000
const QUEUE_AT = 0x1000
/** The ring, its tables and the buffers of a good queue lie in this part of memory, which is what is scribbled over. */
const SCRIBBLED = 0x1400
/** Looks at the queue before the driver is given up. */
const LOOKS = 64
/** Descriptors that a chain may have at most: a whole ring, then a whole table. */
const MAX_STEPS = 1024 + 16

/** Memory whose contents change whenever the device asks where something lies: between any two descriptors. */
class RestlessMemory extends GuestMemory {
  steps = 0
  restless: (() => void) | undefined

  override find(high: number, low: number, bytes: number): GuestRegion | undefined {
    this.steps++
    this.restless?.()
    return super.find(high, low, bytes)
  }

  override pieces(high: number, low: number, bytes: number, sink: PieceSink): boolean {
    this.restless?.()
    return super.pieces(high, low, bytes, sink)
  }
}

const ram = new Uint8Array(RAM)
const view = new DataView(ram.buffer)
const memory = restlessMemory([BORDER])
/** The same with a border every 16 bytes of the queue, so that its parts cross regions. */
const cut = restlessMemory(bordersEvery(16, QUEUE_AT, SCRIBBLED, BORDER))

function restlessMemory(borders: readonly number[]): RestlessMemory {
  const { regions } = cutMemory(ram, borders)
  return new RestlessMemory(regions.map(({ base, bytes }) => ({ address: base, memory: bytes })))
}

/** A 16-bit value that means something to a queue more often than chance would have it. */
function word(random: RandomBelow, size: number): number {
  switch (random(6)) {
    case 0:
      return random(size + 1)
    case 1:
      return random(8)
    case 2:
      return [0x80, 0x8000, 0x8080, 0x81, 0x82, 0x83, 0x84, 0x8001, 0x8002, 0x8004][random(10)] as number
    case 3:
      return 0xffff - random(3)
    case 4:
      return 0
    default:
      return random(0x1_0000)
  }
}

/** Writes a descriptor that is nearly good: flags, next or id, place and length are each bad now and then. */
function descriptor(random: RandomBelow, at: number, plan: QueuePlan, packed: boolean): void {
  const bad = () => random(12) === 0
  const table = random(4) === 0
  const address = bad() ? random(0x1_0000) : table ? QUEUE_AT + 0x200 + 16 * random(16) : 0x2000 + random(0x1800)
  view.setUint32(at, bad() && bad() ? 0xffff_ffff - random(64) : address, true)
  view.setUint32(at + 4, bad() && bad() ? word(random, plan.size) : 0, true)
  view.setUint32(at + 8, bad() ? random(0x7fff_ffff) * 2 : table ? 16 * random(12) : random(0x400), true)
  const flags = (random(2) === 0 ? 1 : 0) | (random(2) === 0 ? 2 : 0) | (table ? 4 : 0)
  const turn = bad() ? word(random, plan.size) & 0x8080 : random(8) === 0 ? 0x8000 : 0x80
  const other = bad() ? word(random, plan.size) : random(plan.size)
  view.setUint16(at + 12, packed ? other : flags, true)
  view.setUint16(at + 14, packed ? flags | turn : other, true)
}

function scribble(random: RandomBelow, plan: QueuePlan, packed: boolean): void {
  ram.fill(0, QUEUE_AT, SCRIBBLED)
  for (let i = 0; i < plan.size; i++) descriptor(random, plan.table + 16 * i, plan, packed)
  for (let i = 0; i < 16; i++) descriptor(random, QUEUE_AT + 0x200 + 16 * i, plan, packed)
  if (packed) return
  view.setUint16(plan.avail + 2, random(5) === 0 ? word(random, plan.size) : random(plan.size + 1), true)
  for (let i = 0; i < plan.size; i++) {
    view.setUint16(plan.avail + 4 + 2 * i, random(6) === 0 ? word(random, plan.size) : (i * 3) % plan.size, true)
  }
}

/** Changes a word or two of the queue, its tables or its events. */
function change(random: RandomBelow, plan: QueuePlan, packed: boolean): void {
  for (let i = random(3); i > 0; i--) {
    if (random(3) === 0) descriptor(random, plan.table + 16 * random(plan.size), plan, packed)
    else view.setUint16(QUEUE_AT + 2 * random((SCRIBBLED - QUEUE_AT) / 2), word(random, plan.size), true)
  }
}

function checkChain(chain: DescriptorChain): void {
  let bytes = 0
  for (let i = 0; i < chain.segments; i++) {
    const region = chain.segmentRegion(i)
    const end = chain.segmentStart(i) + chain.segmentBytes(i)
    if (chain.segmentStart(i) < 0 || chain.segmentBytes(i) <= 0 || end > region.bytes.length) {
      throw new Error(`segment ${i} of ${chain.segments} leaves its region`)
    }
    bytes += chain.segmentBytes(i)
  }
  if (bytes !== chain.readableBytes + chain.writableBytes) throw new Error('a chain with other bytes than its segments')
}

/** Serves the queue as a device does until it is empty, broken, or has been looked at often enough; its verdict. */
function serve(queue: DeviceQueue, where: RestlessMemory, random: RandomBelow): number {
  const chain = new DescriptorChain()
  const taken: number[] = []
  for (let look = 0; look < LOOKS; look++) {
    where.steps = 0
    const result = queue.fetch(chain)
    if (where.steps > MAX_STEPS) throw new Error(`${where.steps} steps for one chain`)
    if (result === FETCH_FAULT) {
      if (queue.fault === undefined) throw new Error('a fault without a reason')
      if (chain.head >= 0) queue.push(chain.head, 0)
      while (taken.length > 0) queue.push(taken.pop() as number, 0)
      queue.publish()
      if (queue.fetch(chain) !== FETCH_FAULT || queue.inFlight !== 0) throw new Error('a broken queue went on')
      return FETCH_FAULT
    }
    if (result === FETCH_CHAIN) {
      checkChain(chain)
      if (random(2) === 0) queue.push(chain.head, chain.writableBytes)
      else taken.push(chain.head)
    } else {
      queue.publish()
      if (taken.length === 0 && !queue.allowNotifications()) return FETCH_EMPTY
      while (taken.length > 0) queue.push(taken.pop() as number, random(2))
    }
    if (queue.inFlight > queue.size) throw new Error('more in flight than the queue has')
    if (random(8) === 0) queue.availableBytes({ readable: random(0x1000), writable: random(0x1000) })
  }
  return FETCH_CHAIN
}

/** The same memory makes a good queue again. */
function works(plan: QueuePlan, features: QueueFeatures): boolean {
  const driver = createDriverQueue(memory, plan, features)
  const device = createDeviceQueue(memory, plan.config, plan.size, features)
  const chain = new DescriptorChain()
  for (let i = 0; i < 100; i++) {
    const head = driver.begin(2)
    driver.append(0x2000, 1 + i, false)
    driver.append(0x2000 + i, 2, true)
    driver.end()
    driver.publish()
    if (device.fetch(chain) !== FETCH_CHAIN || chain.readableBytes !== 1 + i || chain.writableBytes !== 2) return false
    device.push(chain.head, 2)
    device.publish()
    if (driver.reap() !== head || driver.usedLength !== 2) return false
  }
  return device.fetch(chain) === FETCH_EMPTY
}

/** Runs the ring that `number` stands for; the verdict. */
function run(number: number): number {
  const random = seededRandom(number)
  const features: QueueFeatures = {
    packed: random(2) === 0,
    indirect: random(4) > 0,
    eventIndex: random(2) === 0,
    inOrder: random(3) === 0,
  }
  const size = features.packed ? 2 + random(15) : 2 << random(4)
  const plan = planQueue(QUEUE_AT, size, { packed: features.packed })
  scribble(random, plan, features.packed)
  const where = random(6) === 0 ? cut : memory
  const queue = createDeviceQueue(where, plan.config, size, features)
  const restless = random(2) === 0 ? undefined : () => change(random, plan, features.packed)
  loads = restless
  where.restless = restless
  const verdict = serve(queue, where, random)
  loads = undefined
  where.restless = undefined
  queue.retire()
  if (number % 16 === 0 && !works(plan, features)) throw new Error('the memory makes no good queue again')
  return verdict
}

/** What happens at each atomic load: between an index or a descriptor's flags and what is read next. */
let loads: (() => void) | undefined
const load = Atomics.load
const restlessLoad = ((array: Uint16Array | Uint32Array, index: number) => {
  const value = load(array, index)
  loads?.()
  return value
}) as typeof Atomics.load

describe('hostile rings, half of them changed at each access', () => {
  afterEach(() => {
    Atomics.load = load
    loads = undefined
    memory.restless = undefined
    cut.restless = undefined
  })

  test(`${RUNS} of them: chains inside memory, one fault, or nothing; never an exception or a spin`, () => {
    Atomics.load = restlessLoad
    const verdicts = new Map<number, number>()
    fc.assert(
      fc.property(fc.nat(0x7fff_ffff), (number) => {
        const verdict = run(number)
        verdicts.set(verdict, (verdicts.get(verdict) ?? 0) + 1)
      }),
      { numRuns: RUNS },
    )
    // The rings are neither all good nor all broken at once.
    expect(verdicts.get(FETCH_FAULT)).toBeGreaterThan(RUNS / 20)
    expect(verdicts.get(FETCH_EMPTY)).toBeGreaterThan(RUNS / 20)
  }, 120_000)
})
