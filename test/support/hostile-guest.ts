// A guest of bad faith before a device: queues that are nearly good, and memory that changes whenever the device asks where
// something lies or reads an index. Turns of the event loop are counted, and run when the test says so.

import type { Clock, Timer } from '../../src/common/clock.js'
import type { VirtioDevice } from '../../src/devices/virtio/core/virtio-device.js'
import { createDriverQueue } from '../../src/devices/virtio/driver-queue/create-driver-queue.js'
import type { DriverQueue } from '../../src/devices/virtio/driver-queue/driver-queue.js'
import { planQueue, type QueuePlan } from '../../src/devices/virtio/driver-queue/queue-plan.js'
import { GuestMemory, type GuestRegion, type PieceSink } from '../../src/devices/virtio/memory/guest-memory.js'
import {
  type FeatureSet,
  featureWindow,
  hasFeature,
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_IN_ORDER,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_RING_PACKED,
  VIRTIO_F_VERSION_1,
} from '../../src/protocols/virtio/features.js'
import type { RandomBelow } from '../../src/testing/crash/seeded-random.js'

const RAM = 0x10000
const BORDER = 0xc000
export const HEADERS = 0x8000
export const BUFFERS = 0xb000
const QUEUE_SIZE = 16
/** Looks of the device at memory in one run, and turns it may take. */
const MOST_LOOKS = 100_000
const MOST_TURNS = 200

/** A clock whose turns are run by hand. */
export class ManualClock implements Clock {
  turns: (() => void)[] = []

  now(): number {
    return 0
  }

  /** Only the watch over stalls sets timers, and no time passes here. */
  after(): Timer {
    return { cancel: () => {} }
  }

  nextTurn(callback: () => void): void {
    this.turns.push(callback)
  }
}

class RestlessMemory extends GuestMemory {
  restless: (() => void) | undefined

  override find(high: number, low: number, bytes: number): GuestRegion | undefined {
    this.restless?.()
    return super.find(high, low, bytes)
  }

  override pieces(high: number, low: number, bytes: number, sink: PieceSink): boolean {
    this.restless?.()
    return super.pieces(high, low, bytes, sink)
  }
}

/** A kind of device. */
export interface HostileSubject {
  device: VirtioDevice
  queues: number
  /** Writes what requests of this kind begin with; how many bytes it is. */
  header(view: DataView, at: number, random: RandomBelow): number
  /** Whether anything of it is still under way. */
  busy(): boolean
  /** Lets requests that wait for the test go on. */
  release(random: RandomBelow): void
  /** After a reset: 100 good requests. */
  works(): Promise<boolean>
}

const load = Atomics.load

export class HostileGuest {
  readonly ram = new Uint8Array(RAM)
  readonly view = new DataView(this.ram.buffer)
  readonly memory = new RestlessMemory([
    { address: 0, memory: this.ram.subarray(0, BORDER) },
    { address: BORDER, memory: this.ram.subarray(BORDER) },
  ])
  readonly clock = new ManualClock()
  configNotifications = 0
  private looks = 0
  private onLoad: (() => void) | undefined

  /** Makes every atomic load a look, until {@link unhook}. */
  hook(): void {
    Atomics.load = ((array: Uint16Array | Uint32Array, index: number) => {
      const value = load(array, index)
      this.onLoad?.()
      return value
    }) as typeof Atomics.load
  }

  unhook(): void {
    Atomics.load = load
  }

  /** Starts a device as a driver does, with some of its features. */
  start(device: VirtioDevice, random: RandomBelow): FeatureSet {
    let features = (BigInt(device.readFeatures(1)) << 32n) | BigInt(device.readFeatures(0))
    for (let bit = 0; bit < 64; bit++) {
      const often = bit === VIRTIO_F_IN_ORDER || bit === VIRTIO_F_RING_PACKED
      if (bit !== VIRTIO_F_VERSION_1 && random(often ? 2 : 4) === 0) features &= ~(1n << BigInt(bit))
    }
    device.writeStatus(1)
    device.writeStatus(3)
    device.writeFeatures(0, featureWindow(features, 0))
    device.writeFeatures(1, featureWindow(features, 1))
    device.writeStatus(11)
    if (device.readStatus() !== 11) throw new Error(`the device refused ${features.toString(16)}`)
    return features
  }

  /** Serves one hostile driver; whether the device asked for a reset. It is reset after that. */
  async run(subject: HostileSubject, random: RandomBelow): Promise<boolean> {
    const { device } = subject
    const features = this.start(device, random)
    const plans = this.fill(subject, features, random)
    for (const [index, plan] of plans.entries()) device.enableQueue(index, plan.config)
    this.configNotifications = 0
    this.looks = 0
    const restless = random(2) === 0
    this.onLoad = () => {
      if (++this.looks > MOST_LOOKS) throw new Error('the device spins')
      if (restless && random(4) === 0) this.change(plans, random)
    }
    this.memory.restless = this.onLoad
    device.writeStatus(15)
    for (let kicks = 1 + random(3); kicks > 0; kicks--) {
      for (let i = 0; i < subject.queues; i++) device.kick(i)
      if (random(3) === 0) this.change(plans, random)
    }
    await this.finish(subject, random)
    this.onLoad = undefined
    this.memory.restless = undefined
    const broken = (device.readStatus() & 64) !== 0
    if (this.configNotifications !== (broken ? 1 : 0)) throw new Error(`${this.configNotifications} notifications`)
    // Every head that was taken is back: a queue that waits for one would not stop.
    if (random(4) === 0) for (let i = 0; i < subject.queues; i++) await device.stopQueue(i)
    device.writeStatus(0)
    if (device.readStatus() !== 0 || subject.busy()) throw new Error('the device does not come to rest')
    if (broken && !(await subject.works())) throw new Error('the device does not work after its reset')
    return broken
  }

  /** Runs turns, and lets promises settle, until nothing is left to do. */
  async finish(subject: HostileSubject, random: RandomBelow): Promise<void> {
    for (let turn = 0; turn < MOST_TURNS; turn++) {
      for (const callback of this.clock.turns.splice(0)) callback()
      if (!subject.busy() && this.clock.turns.length === 0) return
      subject.release(random)
      for (let i = 0; i < 6; i++) await undefined
    }
    throw new Error('the device goes on and on')
  }

  private fill(subject: HostileSubject, features: FeatureSet, random: RandomBelow): QueuePlan[] {
    const kinds = {
      packed: hasFeature(features, VIRTIO_F_RING_PACKED),
      indirect: hasFeature(features, VIRTIO_F_INDIRECT_DESC),
      eventIndex: hasFeature(features, VIRTIO_F_EVENT_IDX),
      inOrder: hasFeature(features, VIRTIO_F_IN_ORDER),
    }
    this.ram.fill(0, 0, HEADERS)
    return Array.from({ length: subject.queues }, (_, index) => {
      const size = kinds.packed ? 2 + random(QUEUE_SIZE - 1) : 2 << random(4)
      const plan = planQueue(0x1000 * (index + 1), size, { packed: kinds.packed, tableEntries: random(3) * 4 })
      const queue = createDriverQueue(this.memory, plan, kinds)
      for (let chains = random(6); chains > 0; chains--) this.add(subject, queue, random)
      queue.publish()
      for (let changes = random(4); changes > 0; changes--) this.change([plan], random)
      return plan
    })
  }

  /** A request that is good, or has a buffer or two that is not. */
  private add(subject: HostileSubject, queue: DriverQueue, random: RandomBelow): void {
    const at = HEADERS + 0x100 * random(0x30)
    const bytes = subject.header(this.view, at, random)
    const odd = random(3) === 0
    const data = random(3)
    const buffers: [number, number, boolean][] = [[at, bytes, false]]
    if (data > 0) buffers.push([BUFFERS, 512 * (1 + random(2)), data === 1])
    buffers.push([at + 0x80, random(2) === 0 ? 1 : 0x6c, true])
    if (odd) buffers.splice(random(buffers.length + 1), random(2), this.oddBuffer(random))
    if (queue.begin(buffers.length) < 0) return
    for (const [address, length, writable] of buffers) queue.append(address, length, writable)
    queue.end()
  }

  private oddBuffer(random: RandomBelow): [number, number, boolean] {
    const addresses = [0x1000, BORDER - 8, RAM - 8, RAM, 0xffff_fff0, 2 ** 40, 2 ** 53 - 2, random(RAM)]
    const lengths = [0, 1, 15, 16, 17, 51, 108, 512, 513, 0xffff_ffff, 0x8000_0000, random(0x1000)]
    return [addresses[random(addresses.length)] as number, lengths[random(lengths.length)] as number, random(2) === 0]
  }

  /** Changes a word of a queue, or of a header. */
  private change(plans: QueuePlan[], random: RandomBelow): void {
    const plan = plans[random(plans.length)] as QueuePlan
    const inQueue = random(8) > 0
    const at = inQueue ? plan.table + random(plan.end - plan.table) : HEADERS + random(0x3000)
    this.view.setUint16(at & ~1, word(random, plan.size), true)
  }
}

/** A 16-bit value that means something to a queue more often than chance would have it. */
function word(random: RandomBelow, size: number): number {
  switch (random(5)) {
    case 0:
      return random(size + 1)
    case 1:
      return [0x80, 0x8000, 0x8080, 0x81, 0x82, 0x84, 0x8001, 0x8004][random(8)] as number
    case 2:
      return 0xffff - random(3)
    case 3:
      return random(8)
    default:
      return random(0x1_0000)
  }
}
