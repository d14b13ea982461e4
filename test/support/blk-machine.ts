// A guest with a virtio-blk device: memory, device over a flat buffer, driver, and raw access to the ring for what no
// driver of good faith would write.

import { VirtioBlkDevice, type VirtioBlkOptions } from '../../src/devices/virtio/blk/virtio-blk.js'
import type { GuestNotifier } from '../../src/devices/virtio/core/notifiers.js'
import { GuestMemory, type GuestRegionOptions } from '../../src/devices/virtio/memory/guest-memory.js'
import { encodeBlkHeader } from '../../src/protocols/virtio/blk.js'
import { featureSet, VIRTIO_F_IN_ORDER, VIRTIO_F_RING_PACKED } from '../../src/protocols/virtio/features.js'
import { encodeDescriptor, VIRTQ_DESC_F_NEXT, VIRTQ_DESC_F_WRITE } from '../../src/protocols/virtio/split-ring.js'
import { GuestBlkDriver } from '../../src/testing/virtio/guest-blk-driver.js'
import { settleMicrotasks, VirtualClock } from '../../src/testing/virtual-clock.js'
import { FlatDisk, type FlatDiskOptions } from './flat-disk.js'

export const RAM_BYTES = 1 << 20
const SPLIT_ANY_ORDER = ~featureSet(VIRTIO_F_RING_PACKED, VIRTIO_F_IN_ORDER)
/** Guest addresses free for tests. */
export const HEADER = 0x20000
export const STATUS = 0x20100
export const DATA = 0x30000

export interface MachineOptions extends Partial<VirtioBlkOptions>, Partial<GuestNotifier> {
  diskBytes?: number
  disk?: FlatDiskOptions
  driverQueueSize?: number
  features?: bigint
  /** Packed rings and use in order may be agreed too. Raw access is for split rings in any order. */
  anyRing?: boolean
  /** Descriptors in the indirect tables of the driver; none by default. */
  tableEntries?: number
  regions?: GuestRegionOptions[]
  buffer?: ArrayBuffer | SharedArrayBuffer
}

/** A buffer of a raw chain. */
export interface RawBuffer {
  address: number | { high: number; low: number }
  length: number
  writable?: boolean
  flags?: number
  next?: number
}

export interface Completed {
  head: number
  status: number
  used: number
}

export class BlkMachine {
  readonly clock = new VirtualClock()
  readonly disk: FlatDisk
  readonly ram: Uint8Array
  readonly memory: GuestMemory
  readonly device: VirtioBlkDevice
  readonly driver: GuestBlkDriver
  notifications: number[] = []
  configNotifications = 0

  constructor(options: MachineOptions = {}) {
    const buffer = options.buffer ?? new ArrayBuffer(RAM_BYTES)
    this.ram = new Uint8Array(buffer)
    this.disk = new FlatDisk(options.diskBytes ?? 1 << 18, this.clock, options.disk)
    this.memory = new GuestMemory(options.regions ?? [{ address: 0, memory: buffer }])
    this.device = new VirtioBlkDevice({
      queueSize: 64,
      ...options,
      root: this.disk.root,
      memory: this.memory,
      clock: options.clock ?? this.clock,
      notifier: {
        notifyQueue: options.notifyQueue ?? ((index) => this.notifications.push(index)),
        notifyConfig: options.notifyConfig ?? (() => this.configNotifications++),
      },
    })
    this.driver = new GuestBlkDriver({
      device: this.device,
      memory: this.memory,
      address: 0x1000,
      queueSize: options.driverQueueSize ?? 16,
      tableEntries: options.tableEntries ?? 0,
      features: (options.features ?? -1n) & (options.anyRing === true ? -1n : SPLIT_ANY_ORDER),
    })
    this.driver.initialise()
  }

  get view(): DataView {
    return new DataView(this.ram.buffer)
  }

  /** Kicks, lets everything happen that needs no time, and takes back what is done. */
  async run(): Promise<Completed[]> {
    this.driver.kick()
    await this.settle()
    return this.reap()
  }

  async settle(): Promise<void> {
    for (let i = 0; i < 4; i++) await settleMicrotasks()
  }

  /** Waits for something for as long as anything happens. */
  async during<T>(pending: Promise<T>): Promise<T> {
    let done = false
    const watched = pending.finally(() => {
      done = true
    })
    for (let turn = 0; turn < 20 && !done; turn++) await this.settle()
    if (!done) throw new Error('it never ends')
    return watched
  }

  reap(): Completed[] {
    const done: Completed[] = []
    this.driver.poll((head, status, used) => done.push({ head, status, used }))
    return done
  }

  /** Writes a header at HEADER. */
  header(type: number, sector: number | { high: number; low: number }, address = HEADER): void {
    const { high, low } =
      typeof sector === 'number' ? { high: Math.floor(sector / 2 ** 32), low: sector >>> 0 } : sector
    encodeBlkHeader(this.view, address, { type, sectorHigh: high, sectorLow: low })
  }

  /** Writes descriptors from `first` on, chained one to the next unless a buffer says otherwise; returns the head. */
  chain(buffers: RawBuffer[], first = 0): number {
    buffers.forEach((buffer, i) => {
      const address = typeof buffer.address === 'number' ? { high: 0, low: buffer.address } : buffer.address
      const last = i === buffers.length - 1
      const usual = (last ? 0 : VIRTQ_DESC_F_NEXT) | (buffer.writable === true ? VIRTQ_DESC_F_WRITE : 0)
      encodeDescriptor(this.view, this.driver.plan.table + 16 * (first + i), {
        addressHigh: address.high,
        addressLow: address.low,
        length: buffer.length,
        flags: buffer.flags ?? usual,
        next: buffer.next ?? first + i + 1,
      })
    })
    return first
  }

  get availIndex(): number {
    return this.view.getUint16(this.driver.plan.avail + 2, true)
  }

  set availIndex(value: number) {
    this.view.setUint16(this.driver.plan.avail + 2, value, true)
  }

  get usedIndex(): number {
    return this.view.getUint16(this.driver.plan.used + 2, true)
  }

  /** Puts a head into the available ring and moves the index. */
  offer(head: number): void {
    const index = this.availIndex
    this.view.setUint16(this.driver.plan.avail + 4 + 2 * (index % this.driver.plan.size), head, true)
    this.availIndex = (index + 1) & 0xffff
  }

  /** An element of the used ring. */
  usedElement(index: number): { id: number; length: number } {
    const at = this.driver.plan.used + 4 + 8 * (index % this.driver.plan.size)
    return { id: this.view.getUint32(at, true), length: this.view.getUint32(at + 4, true) }
  }

  /** Offers a raw chain and kicks, whatever the device asked for. */
  async send(buffers: RawBuffer[]): Promise<void> {
    this.offer(this.chain(buffers))
    this.device.kick(0)
    await this.settle()
  }

  /** Resets and starts the device again. */
  async restart(): Promise<void> {
    this.driver.reset()
    await this.settle()
    this.driver.initialise()
  }

  /** A write and a read back through a good driver; true where the data came through. */
  async works(): Promise<boolean> {
    const { driver, ram } = this
    for (let i = 0; i < 512; i++) ram[DATA + i] = (i * 7 + 3) & 0xff
    ram.fill(0, DATA + 4096, DATA + 4096 + 512)
    if (driver.submitWrite(5, DATA, 512) < 0) return false
    const wrote = await this.run()
    if (wrote.length !== 1 || wrote[0]?.status !== 0) return false
    if (driver.submitRead(5, DATA + 4096, 512) < 0) return false
    const got = await this.run()
    if (got.length !== 1 || got[0]?.status !== 0 || got[0].used !== 513) return false
    for (let i = 0; i < 512; i++) if (ram[DATA + 4096 + i] !== ((i * 7 + 3) & 0xff)) return false
    return true
  }
}
