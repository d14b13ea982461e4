// A device's queue over memory that a test writes byte by byte: descriptors as no driver of good faith would write them.

import { planQueue, type QueuePlan } from '../../src/devices/virtio/driver-queue/queue-plan.js'
import { DescriptorChain } from '../../src/devices/virtio/memory/descriptor-chain.js'
import type { GuestMemory } from '../../src/devices/virtio/memory/guest-memory.js'
import {
  createDeviceQueue,
  type QueueFeatures,
  type QueueOptions,
} from '../../src/devices/virtio/queue/create-queue.js'
import type { DeviceQueue, QueueState } from '../../src/devices/virtio/queue/device-queue.js'
import { encodePackedDescriptor } from '../../src/protocols/virtio/packed-ring.js'
import { encodeDescriptor } from '../../src/protocols/virtio/split-ring.js'
import { bordersEvery, cutMemory } from './cut-memory.js'

/** Guest addresses free for buffers and tables; memory has two regions, which touch at BORDER. */
export const BUFFER = 0x8000
export const TABLE = 0x9000
export const BORDER = 0xa000
export const RAM = 0x10000

export const NO_FEATURES: QueueFeatures = { packed: false, indirect: false, eventIndex: false, inOrder: false }

/** A descriptor of either format; `at` is its index, or slot. */
export interface RawDescriptor {
  at: number
  address?: number
  high?: number
  length?: number
  flags?: number
  next?: number
  id?: number
}

export class RawQueue {
  /** Make memory with a border every 16 bytes of the queue, so that its parts cross regions. */
  static cut = false

  readonly ram = new Uint8Array(RAM)
  readonly view = new DataView(this.ram.buffer)
  readonly memory: GuestMemory
  readonly plan: QueuePlan
  readonly queue: DeviceQueue
  readonly chain = new DescriptorChain()

  constructor(features: Partial<QueueFeatures>, size = 8, state?: QueueState, options?: QueueOptions) {
    const all = { ...NO_FEATURES, ...features }
    this.memory = cutMemory(this.ram, RawQueue.cut ? bordersEvery(16, 0x1000, 0x2000, BORDER) : [BORDER])
    this.plan = planQueue(0x1000, size, { packed: all.packed })
    this.queue = createDeviceQueue(this.memory, this.plan.config, size, all, state, options)
  }

  /** Writes descriptors of the table, or of a table at `table`. */
  split(descriptors: RawDescriptor[], table = this.plan.table): void {
    for (const { at, address = BUFFER, high = 0, length = 16, flags = 0, next = 0 } of descriptors) {
      encodeDescriptor(this.view, table + 16 * at, { addressHigh: high, addressLow: address, length, flags, next })
    }
  }

  /** Writes descriptors of the ring; their flags are all they have: AVAIL and USED are the test's to set. */
  packed(descriptors: RawDescriptor[], table = this.plan.table): void {
    for (const { at, address = BUFFER, high = 0, length = 16, flags = 0, id = 0 } of descriptors) {
      encodePackedDescriptor(this.view, table + 16 * at, { addressHigh: high, addressLow: address, length, id, flags })
    }
  }

  /** Makes heads available in a split ring. */
  offer(...heads: number[]): void {
    const at = this.plan.avail + 2
    let index = this.view.getUint16(at, true)
    for (const head of heads) {
      this.view.setUint16(this.plan.avail + 4 + 2 * (index % this.plan.size), head, true)
      index = (index + 1) & 0xffff
    }
    this.view.setUint16(at, index, true)
  }

  get usedIndex(): number {
    return this.view.getUint16(this.plan.used + 2, true)
  }

  /** Id and length of the used element at a place of a split ring. */
  usedElement(place: number): [number, number] {
    const at = this.plan.used + 4 + 8 * place
    return [this.view.getUint32(at, true), this.view.getUint32(at + 4, true)]
  }

  /** Length, id and flags of a slot of a packed ring. */
  slot(slot: number): [length: number, id: number, flags: number] {
    const at = this.plan.table + 16 * slot
    return [this.view.getUint32(at + 8, true), this.view.getUint16(at + 12, true), this.view.getUint16(at + 14, true)]
  }

  /** Fetches; what came: a list of [address, bytes], readable ones first, or the result. */
  fetch(): number {
    return this.queue.fetch(this.chain)
  }

  /** The segments of the chain fetched last, as guest addresses. */
  get segments(): [number, number][] {
    const { chain } = this
    return Array.from({ length: chain.segments }, (_, i) => [
      chain.segmentRegion(i).base + chain.segmentStart(i),
      chain.segmentBytes(i),
    ])
  }
}
