// A guest's driver of a virtio-blk device: the start-up dance, then requests by number. It makes no promises and no
// closures, so that a benchmark measures the device; GuestDisk is the comfortable way to the same queue.

import { BlockError } from '../../common/error.js'
import { highHalf, lowHalf } from '../../common/units.js'
import type { VirtioTransport } from '../../devices/virtio/core/transport.js'
import { createDriverQueue } from '../../devices/virtio/driver-queue/create-driver-queue.js'
import type { DriverQueue } from '../../devices/virtio/driver-queue/driver-queue.js'
import { planQueue, type QueuePlan } from '../../devices/virtio/driver-queue/queue-plan.js'
import type { GuestMemory, GuestRegion } from '../../devices/virtio/memory/guest-memory.js'
import {
  VIRTIO_BLK_ID_BYTES,
  VIRTIO_BLK_SEGMENT_BYTES,
  VIRTIO_BLK_T_DISCARD,
  VIRTIO_BLK_T_FLUSH,
  VIRTIO_BLK_T_GET_ID,
  VIRTIO_BLK_T_IN,
  VIRTIO_BLK_T_OUT,
  VIRTIO_BLK_T_WRITE_ZEROES,
  VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
} from '../../protocols/virtio/blk.js'
import { decodeBlkConfig, VIRTIO_BLK_CONFIG_BYTES, type VirtioBlkConfig } from '../../protocols/virtio/blk-config.js'
import {
  VIRTIO_CONFIG_S_ACKNOWLEDGE,
  VIRTIO_CONFIG_S_DRIVER,
  VIRTIO_CONFIG_S_DRIVER_OK,
  VIRTIO_CONFIG_S_FAILED,
  VIRTIO_CONFIG_S_FEATURES_OK,
} from '../../protocols/virtio/device-status.js'
import {
  type FeatureSet,
  featureSet,
  featureWindow,
  hasFeature,
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_IN_ORDER,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_RING_PACKED,
} from '../../protocols/virtio/features.js'
import { le32 } from '../../protocols/virtio/little-endian.js'

/** What a driver does with a device: calls of the device itself, or registers that lead to them. */
export type GuestTransport = Pick<
  VirtioTransport,
  | 'queueSizeMax'
  | 'configGeneration'
  | 'readFeatures'
  | 'writeFeatures'
  | 'readStatus'
  | 'writeStatus'
  | 'readConfig'
  | 'enableQueue'
  | 'kick'
>

/** Where a driver keeps its things. */
export interface GuestBlkDriverOptions {
  device: GuestTransport
  memory: GuestMemory
  /** Guest address of the queue and the request headers, all in one region. */
  address: number
  /** Entries; the device's largest by default. */
  queueSize?: number
  queueIndex?: number
  /** Descriptors in the indirect table of each request; 0, the default, for none. */
  tableEntries?: number
  /** Features to accept of those offered; by default all but packed rings and use in order. */
  features?: FeatureSet
}

/** Bytes of a slot: the header, a segment of discard or write zeroes, the status. One slot for each descriptor. */
const SLOT_BYTES = 48
const SEGMENT_AT = 16
const STATUS_AT = 32

/** Hears of a request that has come back: its head, its status byte and the length in the used ring. */
export type GuestCompletion = (head: number, status: number, usedLength: number) => void

/** The driver of one queue. Requests are named by the head of their chain, from submission to completion. */
export class GuestBlkDriver {
  plan: QueuePlan
  /** Guest address behind everything the driver uses. */
  readonly end: number
  /** The features agreed. */
  features: FeatureSet = 0n
  queue: DriverQueue

  private readonly device: GuestTransport
  private readonly memory: GuestMemory
  private readonly queueIndex: number
  private readonly wanted: FeatureSet
  private readonly tableEntries: number
  private readonly slots: number
  private readonly region: GuestRegion
  private readonly slotWord: number

  constructor(options: GuestBlkDriverOptions) {
    this.device = options.device
    this.memory = options.memory
    this.queueIndex = options.queueIndex ?? 0
    this.wanted = options.features ?? ~featureSet(VIRTIO_F_RING_PACKED, VIRTIO_F_IN_ORDER)
    this.tableEntries = options.tableEntries ?? 0
    this.plan = planQueue(options.address, options.queueSize ?? options.device.queueSizeMax, this.planOptions())
    this.slots = Math.ceil(this.plan.end / 16) * 16
    this.end = this.slots + this.plan.size * SLOT_BYTES
    const region = this.memory.find(highHalf(this.slots), lowHalf(this.slots), this.end - this.slots)
    if (region === undefined)
      throw new BlockError('EINVAL', 'the request headers do not lie in one region of guest memory')
    this.region = region
    this.slotWord = (this.slots - region.base) >>> 2
    this.queue = this.emptyQueue()
  }

  /** Starts the device, whose status must read 0 (virtio 1.2, 3.1.1). Throws EPROTO where it refuses the features. */
  initialise(): void {
    this.negotiate()
    this.startQueue()
    this.ready()
  }

  /** Acknowledges the device and agrees on features. */
  negotiate(): void {
    const { device } = this
    if (device.readStatus() !== 0) throw new BlockError('EBUSY', 'the device has not been reset')
    const begun = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER
    device.writeStatus(VIRTIO_CONFIG_S_ACKNOWLEDGE)
    device.writeStatus(begun)
    const offered = (BigInt(device.readFeatures(1)) << 32n) | BigInt(device.readFeatures(0))
    this.features = offered & this.wanted
    device.writeFeatures(0, featureWindow(this.features, 0))
    device.writeFeatures(1, featureWindow(this.features, 1))
    device.writeStatus(begun | VIRTIO_CONFIG_S_FEATURES_OK)
    if ((device.readStatus() & VIRTIO_CONFIG_S_FEATURES_OK) === 0) {
      device.writeStatus(begun | VIRTIO_CONFIG_S_FAILED)
      throw new BlockError('EPROTO', 'the device refused the features')
    }
  }

  /** Lays out an empty queue and enables it. */
  startQueue(): void {
    this.plan = planQueue(this.plan.table, this.plan.size, this.planOptions())
    this.queue = this.emptyQueue()
    this.device.enableQueue(this.queueIndex, this.plan.config)
  }

  /** Tells the device to begin. */
  ready(): void {
    this.device.writeStatus(this.device.readStatus() | VIRTIO_CONFIG_S_DRIVER_OK)
  }

  /** Begins a reset; the device may be initialised again when its status reads 0. */
  reset(): void {
    this.device.writeStatus(0)
  }

  /** The configuration space, of one generation (virtio 1.2, 2.5.1). */
  config(): VirtioBlkConfig {
    const bytes = new Uint8Array(VIRTIO_BLK_CONFIG_BYTES)
    let before: number
    do {
      before = this.device.configGeneration
      this.device.readConfig(0, bytes)
    } while (before !== this.device.configGeneration)
    return decodeBlkConfig(bytes)
  }

  /** Reads into guest memory. The head, or -1 where the queue is full. Nothing is sent before {@link kick}. */
  submitRead(sector: number, address: number, bytes: number): number {
    return this.submit(VIRTIO_BLK_T_IN, sector, address, bytes, true)
  }

  /** Writes from guest memory. */
  submitWrite(sector: number, address: number, bytes: number): number {
    return this.submit(VIRTIO_BLK_T_OUT, sector, address, bytes, false)
  }

  submitFlush(): number {
    return this.submit(VIRTIO_BLK_T_FLUSH, 0, 0, 0, false)
  }

  /** Asks for the serial: `bytes` of it, 20 by default. */
  submitGetId(address: number, bytes = VIRTIO_BLK_ID_BYTES): number {
    return this.submit(VIRTIO_BLK_T_GET_ID, 0, address, bytes, true)
  }

  submitDiscard(sector: number, sectors: number): number {
    return this.submitSegment(VIRTIO_BLK_T_DISCARD, sector, sectors, 0)
  }

  submitWriteZeroes(sector: number, sectors: number, unmap = false): number {
    return this.submitSegment(
      VIRTIO_BLK_T_WRITE_ZEROES,
      sector,
      sectors,
      unmap ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0,
    )
  }

  /** Any type, with at most one data buffer. */
  submit(type: number, sector: number, address: number, bytes: number, writable: boolean): number {
    const { queue } = this
    const head = queue.begin(bytes === 0 ? 2 : 3)
    if (head < 0) return -1
    this.writeHeader(head, type, sector)
    const slot = this.slots + head * SLOT_BYTES
    queue.append(slot, SEGMENT_AT, false)
    if (bytes > 0) queue.append(address, bytes, writable)
    queue.append(slot + STATUS_AT, 1, true)
    queue.end()
    return head
  }

  /** Shows the device what was submitted and kicks it where it wants that; whether it did. */
  kick(): boolean {
    const wanted = this.queue.publish()
    if (wanted) this.device.kick(this.queueIndex)
    return wanted
  }

  /** Takes back all that is done; how many. `completed` may submit. */
  poll(completed: GuestCompletion): number {
    const { queue, region } = this
    const limit = queue.inFlight
    for (let count = 0; count < limit; count++) {
      const head = queue.reap()
      if (head < 0) return count
      const status = region.bytes[this.slotWord * 4 + head * SLOT_BYTES + STATUS_AT] as number
      completed(head, status, queue.usedLength)
    }
    return limit
  }

  private planOptions(): { packed: boolean; tableEntries: number } {
    return { packed: hasFeature(this.features, VIRTIO_F_RING_PACKED), tableEntries: this.tableEntries }
  }

  private emptyQueue(): DriverQueue {
    return createDriverQueue(this.memory, this.plan, {
      packed: hasFeature(this.features, VIRTIO_F_RING_PACKED),
      indirect: hasFeature(this.features, VIRTIO_F_INDIRECT_DESC),
      eventIndex: hasFeature(this.features, VIRTIO_F_EVENT_IDX),
      inOrder: hasFeature(this.features, VIRTIO_F_IN_ORDER),
    })
  }

  private submitSegment(type: number, sector: number, sectors: number, flags: number): number {
    const { queue, region } = this
    const head = queue.begin(3)
    if (head < 0) return -1
    this.writeHeader(head, type, 0)
    const word = this.slotWord + (head * SLOT_BYTES + SEGMENT_AT) / 4
    region.words[word] = le32(lowHalf(sector))
    region.words[word + 1] = le32(highHalf(sector))
    region.words[word + 2] = le32(sectors)
    region.words[word + 3] = le32(flags)
    const slot = this.slots + head * SLOT_BYTES
    queue.append(slot, SEGMENT_AT, false)
    queue.append(slot + SEGMENT_AT, VIRTIO_BLK_SEGMENT_BYTES, false)
    queue.append(slot + STATUS_AT, 1, true)
    queue.end()
    return head
  }

  private writeHeader(head: number, type: number, sector: number): void {
    const { words } = this.region
    const word = this.slotWord + (head * SLOT_BYTES) / 4
    words[word] = le32(type)
    words[word + 1] = 0
    words[word + 2] = le32(lowHalf(sector))
    words[word + 3] = le32(highHalf(sector))
    // A status nobody writes must not look like success.
    this.region.bytes[word * 4 + STATUS_AT] = 0xff
  }
}
