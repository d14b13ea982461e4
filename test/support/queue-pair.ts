// The two ends of a queue over one guest memory, with everything that passes written down: what the driver added, what the
// device fetched, what came back. A record of what is in flight is kept as a tracker outside the device would.

import { expect } from 'vitest'
import type { Bytes } from '../../src/common/io-vector.js'
import { createDriverQueue } from '../../src/devices/virtio/driver-queue/create-driver-queue.js'
import type { DriverQueue } from '../../src/devices/virtio/driver-queue/driver-queue.js'
import { planQueue } from '../../src/devices/virtio/driver-queue/queue-plan.js'
import { DescriptorChain } from '../../src/devices/virtio/memory/descriptor-chain.js'
import type { GuestMemory } from '../../src/devices/virtio/memory/guest-memory.js'
import { createDeviceQueue, type QueueFeatures } from '../../src/devices/virtio/queue/create-queue.js'
import { type DeviceQueue, FETCH_CHAIN, FETCH_EMPTY } from '../../src/devices/virtio/queue/device-queue.js'
import type { InflightTracker } from '../../src/devices/virtio/queue/inflight-tracker.js'
import type { EarlierList } from '../../src/devices/virtio/queue/taken-heads.js'
import { bordersEvery, cutMemory } from './cut-memory.js'

/** A buffer of a chain. */
export interface PairBuffer {
  address: number
  bytes: number
  writable: boolean
}

/** Every combination of features, by a name. */
export const ALL_FEATURES: [string, QueueFeatures][] = Array.from({ length: 16 }, (_, bits) => {
  const features = {
    packed: (bits & 1) !== 0,
    indirect: (bits & 2) !== 0,
    eventIndex: (bits & 4) !== 0,
    inOrder: (bits & 8) !== 0,
  }
  const names = Object.entries(features).flatMap(([name, on]) => (on ? [name] : []))
  return [names.length === 0 ? 'split' : names.join(' '), features]
})

/** What a tracker outside the device knows: the heads in flight in the order in which they were taken, with their lists. */
export class RecordingTracker implements InflightTracker {
  readonly lists = new Map<number, EarlierList>()
  readonly calls: string[] = []
  private returned: number[] = []

  taken(head: number, descriptors: Uint32Array, count: number): void {
    expect(this.lists.has(head)).toBe(false)
    this.lists.set(head, { slots: count, descriptors: descriptors.slice(0, 4 * count) })
    this.calls.push(`taken ${head} ${count}`)
  }

  returning(head: number): void {
    expect(this.lists.has(head)).toBe(true)
    this.returned.push(head)
    this.calls.push(`returning ${head}`)
  }

  published(usedIndex: number, usedWrap: boolean): void {
    for (const head of this.returned.splice(0)) this.lists.delete(head)
    this.calls.push(`published ${usedIndex} ${usedWrap}`)
  }
}

export const QUEUE_AT = 0x1000
/** Guest memory free for buffers. */
export const BUFFERS_AT = 0x20000
export const MEMORY_BYTES = 0x40000
/** Where its two regions touch: among the buffers. */
const BORDER = 0x21000

/** A queue with both its ends. */
export class QueuePair {
  readonly ram = new Uint8Array(new SharedArrayBuffer(MEMORY_BYTES))
  readonly memory: GuestMemory
  /** As the device sees it. */
  readonly deviceMemory: GuestMemory
  readonly features: QueueFeatures
  readonly driver: DriverQueue
  readonly tracker = new RecordingTracker()
  device: DeviceQueue
  /** Added and not fetched; fetched and not completed; completed and not reaped: what is to come back, by head. */
  readonly added: { head: number; buffers: PairBuffer[] }[] = []
  readonly fetched: { head: number; writable: number }[] = []
  readonly completed = new Map<number, number>()
  /** Heads in the order in which they were added, until they are reaped. */
  readonly order: number[] = []

  /** `cut`: for the device memory has a border every 16 bytes of the queue, so that its parts cross regions. */
  constructor(features: QueueFeatures, size: number, { tableEntries = 4, cut = false } = {}) {
    this.memory = cutMemory(this.ram, [BORDER])
    this.deviceMemory = cut ? cutMemory(this.ram, bordersEvery(16, QUEUE_AT, QUEUE_AT + 0x800, BORDER)) : this.memory
    this.features = features
    const plan = planQueue(QUEUE_AT, size, { packed: features.packed, tableEntries })
    this.driver = createDriverQueue(this.memory, plan, features)
    this.device = this.createDevice()
  }

  /** Adds a chain; false where it does not fit. */
  add(buffers: PairBuffer[]): boolean {
    const head = this.driver.begin(buffers.length)
    if (head < 0) return false
    for (const { address, bytes, writable } of buffers) this.driver.append(address, bytes, writable)
    this.driver.end()
    expect(this.order).not.toContain(head)
    this.added.push({ head, buffers })
    this.order.push(head)
    return true
  }

  /** Fetches one chain and compares it with what was added; false where none is available. */
  fetch(chain = new DescriptorChain()): boolean {
    const result = this.device.fetch(chain)
    if (result === FETCH_EMPTY) return false
    expect([result, this.device.fault]).toEqual([FETCH_CHAIN, undefined])
    const expected = this.added.shift()
    expect(expected).toBeDefined()
    if (expected === undefined) return false
    expectChain(chain, expected.head, expected.buffers)
    this.fetched.push({ head: chain.head, writable: chain.writableBytes })
    return true
  }

  /** Completes the fetched chain at `index`, writing so much of it. */
  complete(index: number, share: (writable: number) => number): void {
    const [done] = this.fetched.splice(index, 1)
    if (done === undefined) return
    const length = share(done.writable)
    this.completed.set(done.head, length)
    this.device.push(done.head, length)
  }

  /** Takes back what has come; how many. */
  reapAll(): number {
    let count = 0
    for (let head = this.driver.reap(); head >= 0; head = this.driver.reap()) {
      expect(this.completed.get(head)).toBe(this.driver.usedLength)
      this.completed.delete(head)
      if (this.features.inOrder) expect(this.order[0]).toBe(head)
      this.order.splice(this.order.indexOf(head), 1)
      count++
    }
    return count
  }

  /** The device is saved and loaded: another one goes on, fetches what was in flight again, and keeps what it had done. */
  reload(): void {
    this.device.publish()
    const order = this.device.ordered()
    const heads = this.features.inOrder ? order.map(({ head }) => head) : [...this.tracker.lists.keys()]
    const held = new Map(order.map(({ head, done }) => [head, done]))
    const lists = heads.map((head) => {
      const { slots, descriptors } = this.tracker.lists.get(head) as EarlierList
      const done = held.get(head)
      return done === undefined ? { slots, descriptors } : { slots, descriptors: new Uint32Array(0), done }
    })
    this.goOn(heads, lists, (head) => held.get(head) === undefined)
  }

  /** The device is killed: another one goes on, and fetches what was in flight again. What was held is done again. */
  restart(): void {
    this.device.publish()
    this.goOn([...this.tracker.lists.keys()], [...this.tracker.lists.values()], () => true)
  }

  private goOn(heads: number[], lists: EarlierList[], again: (head: number) => boolean): void {
    const state = this.device.save()
    this.device.retire()
    this.device = createDeviceQueue(
      this.deviceMemory,
      this.driver.plan.config,
      this.driver.size,
      this.features,
      state,
      {
        tracker: this.tracker,
      },
    )
    expect(this.device.refetch(heads, lists)).toBe(heads.length)
    expect(this.device.refetch(heads, lists)).toBe(0)
    const chain = new DescriptorChain()
    this.fetched.length = 0
    for (const head of heads.filter(again)) {
      expect(this.device.fetch(chain)).toBe(FETCH_CHAIN)
      expect(chain.head).toBe(head)
      this.completed.delete(head)
      this.fetched.push({ head, writable: chain.writableBytes })
    }
  }

  private createDevice(): DeviceQueue {
    const { driver, memory, features, tracker } = this
    return createDeviceQueue(memory, driver.plan.config, driver.size, features, undefined, { tracker })
  }
}

/** Compares a chain with the buffers it was made of, byte by byte of their place. */
export function expectChain(chain: DescriptorChain, head: number, buffers: PairBuffer[]): void {
  const sum = (writable: boolean) =>
    buffers.reduce((bytes, one) => (one.writable === writable ? bytes + one.bytes : bytes), 0)
  expect([chain.head, chain.readableBytes, chain.writableBytes]).toEqual([head, sum(false), sum(true)])
  expect(placesOf(chain.readable(0, chain.readableBytes))).toEqual(cutPlaces(buffers, false))
  expect(placesOf(chain.writable(chain.writableBytes))).toEqual(cutPlaces(buffers, true))
}

type Place = [address: number, bytes: number]

function placesOf(bytes: Bytes): Place[] {
  const views = bytes instanceof Uint8Array ? [bytes] : bytes.buffers
  return views.filter((view) => view.length > 0).map((view) => [view.byteOffset, view.length])
}

/** Buffers across the border of the regions are in two pieces. */
function cutPlaces(buffers: PairBuffer[], writable: boolean): Place[] {
  return buffers
    .filter((buffer) => buffer.writable === writable)
    .flatMap(({ address, bytes }): Place[] => {
      const before = BORDER - address
      if (before <= 0 || before >= bytes) return [[address, bytes]]
      return [
        [address, before],
        [BORDER, bytes - before],
      ]
    })
}
