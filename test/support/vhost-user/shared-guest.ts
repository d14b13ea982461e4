// A guest behind a vhost-user socket: memory in a memfd, rings in it, and the driver of `blockgraph/testing`, whose device
// is the other end of the connection. The dialogue is that of QEMU; what the front-end keeps when a back-end dies (memory,
// rings, the record of requests in flight) is kept, so that another back-end can go on.

import type { HostIpc, SharedMapping, Watch } from '../../../src/common/host-ipc.js'
import type { VirtioTransport } from '../../../src/devices/virtio/core/transport.js'
import { GuestMemory } from '../../../src/devices/virtio/memory/guest-memory.js'
import type { QueueConfig } from '../../../src/devices/virtio/queue/queue-layout.js'
import { decodeConfig, encodeConfig } from '../../../src/protocols/vhost-user/config.js'
import { encodeMemoryRegion } from '../../../src/protocols/vhost-user/memory-regions.js'
import * as m from '../../../src/protocols/vhost-user/messages.js'
import {
  decodeVringState,
  encodeU64,
  encodeVringDescriptor,
  encodeVringState,
} from '../../../src/protocols/vhost-user/payloads.js'
import { decodeInflight, encodeInflight } from '../../../src/protocols/vhost-user/shared-area.js'
import { featureSet, featureWindow, hasFeature, VIRTIO_F_RING_PACKED } from '../../../src/protocols/virtio/features.js'
import { GuestBlkDriver } from '../../../src/testing/virtio/guest-blk-driver.js'
import { GuestDisk } from '../../../src/testing/virtio/guest-disk.js'
import { BackendMessages } from './backend-messages.js'
import { FrontEnd } from './front-end.js'
import { guestAddress, ringAddress } from './guest-addresses.js'
import { GUEST_BASE, regionsOf, tableOf } from './guest-regions.js'

const CONFIG_BYTES = 60
/** Bits that are agreed on between front-end and back-end alone. */
const NOT_OF_DRIVERS = featureSet(m.VHOST_USER_F_PROTOCOL_FEATURES, m.VHOST_F_LOG_ALL)

/** What the guest is like. */
export interface SharedGuestOptions {
  memoryBytes?: number
  queues?: number
  queueSize?: number
  packed?: boolean
  /** Regions are added one by one, not as a table. */
  slots?: boolean
  /** Use a record of requests in flight. */
  inflight?: boolean
  /** Kicks and calls are messages. */
  inband?: boolean
  /** Share the first pages, where the rings are, as regions of their own. */
  cut?: boolean
  /** Pad a table of one region to the length that two would have. */
  longTable?: boolean
  /** Where rings begin; by default where the virtio specification says. */
  base?: number
  /** Features of the protocol to accept; 0 for a front-end that knows none. */
  protocol?: bigint
  /** A file of that length, which is the guest's from then on; a memfd by default. */
  memoryFd?: number
}

/** The guest. */
export class SharedGuest {
  readonly ipc: HostIpc
  readonly options: SharedGuestOptions & Required<Omit<SharedGuestOptions, 'memoryFd' | 'base'>>
  readonly memoryFd: number
  readonly memory: GuestMemory
  front!: FrontEnd
  disks: GuestDisk[] = []
  drivers: GuestBlkDriver[] = []
  /** How often the back-end has told of used buffers. */
  calls = 0
  /** What it says of logging when it is asked to say it: by {@link logWrites}, and when rings start. */
  logging = false
  config = new Uint8Array(CONFIG_BYTES)

  private readonly mapping: SharedMapping
  private readonly kicks: number[] = []
  private readonly callFds: number[] = []
  private readonly watches: Watch[] = []
  readonly configs: QueueConfig[] = []
  private offered = 0n
  private accepted = 0n
  private status = 0
  private readonly channels: BackendMessages[] = []
  private inflight: { fd: number; payload: Uint8Array } | undefined

  constructor(ipc: HostIpc, options: SharedGuestOptions = {}) {
    this.ipc = ipc
    this.options = {
      memoryBytes: 4 << 20,
      queues: 1,
      queueSize: 64,
      packed: false,
      slots: true,
      inflight: true,
      inband: false,
      cut: false,
      longTable: false,
      protocol: ~0n,
      ...options,
    }
    this.memoryFd = options.memoryFd ?? ipc.createMemory('guest', this.options.memoryBytes)
    this.mapping = ipc.map(this.memoryFd, 0, this.options.memoryBytes)
    this.memory = new GuestMemory([{ address: GUEST_BASE, memory: this.mapping.view(0, this.options.memoryBytes) }])
    for (let i = 0; i < this.options.queues; i++) {
      this.kicks.push(ipc.createEvent())
      this.callFds.push(ipc.createEvent())
    }
  }

  /** Connects and starts all rings as QEMU does. */
  async start(path: string): Promise<void> {
    await this.connect(path)
    this.drive()
    await this.startRings()
  }

  /** Connects anew with everything as the last back-end has left it. */
  async reconnect(path: string, base?: number): Promise<void> {
    await this.connect(path)
    await this.startRings(base)
  }

  /** What a front-end says before there is a driver. */
  async connect(path: string): Promise<void> {
    const front = FrontEnd.connect(this.ipc, path)
    this.front = front
    this.offered = await front.askNumber(m.VHOST_USER_GET_FEATURES)
    const protocol = await front.askNumber(m.VHOST_USER_GET_PROTOCOL_FEATURES)
    const inband = featureSet(m.VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS)
    const known = protocol & ~featureSet(m.VHOST_USER_PROTOCOL_F_XEN_MMAP)
    const wanted = (this.options.inband ? known : known & ~inband) & this.options.protocol
    front.acknowledges = hasFeature(wanted, m.VHOST_USER_PROTOCOL_F_REPLY_ACK)
    if (this.options.protocol !== 0n) {
      front.say(m.VHOST_USER_SET_PROTOCOL_FEATURES, { payload: encodeU64(wanted) })
    }
    await front.askNumber(m.VHOST_USER_GET_QUEUE_NUM)
    await front.askNumber(m.VHOST_USER_GET_MAX_MEM_SLOTS)
    front.say(m.VHOST_USER_SET_OWNER)
    await this.readConfig()
    if (this.options.inband) await this.takeCalls(await this.openChannel())
  }

  /** Gives the back-end a channel for messages of its own. */
  async openChannel(): Promise<BackendMessages> {
    const [ours, theirs] = this.ipc.socketPair()
    const channel = new BackendMessages(this.ipc, ours)
    this.channels.push(channel)
    const told = await this.front.tell(m.VHOST_USER_SET_BACKEND_REQ_FD, { fds: [theirs] })
    this.ipc.close(theirs)
    expectTrue(told, 'SET_BACKEND_REQ_FD')
    return channel
  }

  async readConfig(): Promise<void> {
    const payload = encodeConfig({ offset: 0, size: CONFIG_BYTES, flags: 0, data: new Uint8Array(CONFIG_BYTES) })
    const answer = await this.front.ask(m.VHOST_USER_GET_CONFIG, { payload })
    this.config = new Uint8Array(decodeConfig(answer.payload).data)
  }

  /** Lays out the rings; nothing is sent. */
  drive(): void {
    const { queues, queueSize, packed } = this.options
    const notThese = packed ? featureSet() : featureSet(VIRTIO_F_RING_PACKED)
    let address = GUEST_BASE
    for (let index = 0; index < queues; index++) {
      const driver = new GuestBlkDriver({
        device: this.transport(),
        memory: this.memory,
        address,
        queueSize,
        queueIndex: index,
        features: ~notThese,
      })
      this.status = 0
      driver.initialise()
      const at = Math.ceil(driver.end / 4096) * 4096
      this.drivers.push(driver)
      this.disks.push(new GuestDisk({ driver, memory: this.memory, address: at, bufferBytes: 16384, buffers: 32 }))
      address = at + 32 * 16384
    }
    this.watchCalls()
  }

  /** Instead of {@link drive}: rings of a driver of the test's own, for any kind of device. */
  useRings(configs: readonly QueueConfig[], features: bigint): void {
    this.configs.splice(0, this.configs.length, ...configs)
    this.accepted = features
  }

  /** The driver begins anew, with empty rings at the same places. */
  redrive(): void {
    for (const watch of this.watches.splice(0)) watch.close()
    this.disks = []
    this.drivers = []
    this.drive()
  }

  /** Makes the first ring's driver break the rules: an index, or descriptors, that cannot be. */
  breakRing(): void {
    const config = this.configs[0] as QueueConfig
    const address = config.availRing.low - GUEST_BASE
    new Uint16Array(this.mapping.view(address, 4))[1] = 0x7000
  }

  kickOf(index: number): number {
    return this.kicks[index] as number
  }

  /** Another kick event; it has to be told of. */
  newKick(index: number): void {
    this.ipc.close(this.kicks[index] as number)
    this.kicks[index] = this.ipc.createEvent()
  }

  /** What is said when the driver is ready. `base` overrides where rings begin. */
  async startRings(base?: number): Promise<void> {
    const { front, options } = this
    const knowsProtocol = options.protocol !== 0n
    await this.sayFeatures()
    if (options.inflight) await this.setInflight()
    await this.shareMemory()
    for (let index = 0; index < options.queues; index++) await this.startRing(index, base)
    for (let index = 0; index < options.queues && knowsProtocol; index++) {
      const payload = encodeVringState({ index, num: 1 })
      expectTrue(await front.tell(m.VHOST_USER_SET_VRING_ENABLE, { payload }), 'SET_VRING_ENABLE')
    }
  }

  /** Turns the logging of all writes on or off while rings run, as QEMU does. */
  async logWrites(on: boolean): Promise<void> {
    this.logging = on
    await this.sayFeatures()
    for (const index of this.configs.keys()) await this.sayAddress(index)
  }

  async shareMemory(): Promise<void> {
    const regions = regionsOf(this.options.memoryBytes, this.options.cut)
    if (this.options.slots) {
      for (const region of regions) {
        const payload = encodeMemoryRegion(region)
        expectTrue(await this.front.tell(m.VHOST_USER_ADD_MEM_REG, { payload, fds: [this.memoryFd] }), 'memory')
      }
      return
    }
    const payload = tableOf(regions, this.options.longTable)
    const fds = regions.map(() => this.memoryFd)
    expectTrue(await this.front.tell(m.VHOST_USER_SET_MEM_TABLE, { payload, fds }), 'memory')
  }

  async startRing(index: number, base?: number): Promise<void> {
    const { front } = this
    const config = this.configs[index] as QueueConfig
    const start = base ?? this.options.base ?? (hasFeature(this.accepted, VIRTIO_F_RING_PACKED) ? 0x8000_8000 : 0)
    const event = encodeVringDescriptor({ index, hasDescriptor: true })
    const call = this.callFds[index] as number
    const kick = this.kicks[index] as number
    if (!this.options.inband) {
      expectTrue(await front.tell(m.VHOST_USER_SET_VRING_CALL, { payload: event, fds: [call] }), 'SET_VRING_CALL')
    }
    const size = encodeVringState({ index, num: config.size })
    expectTrue(await front.tell(m.VHOST_USER_SET_VRING_NUM, { payload: size }), 'SET_VRING_NUM')
    const state = encodeVringState({ index, num: start })
    expectTrue(await front.tell(m.VHOST_USER_SET_VRING_BASE, { payload: state }), 'SET_VRING_BASE')
    await this.sayAddress(index)
    if (this.options.inband) this.kick(index)
    else expectTrue(await front.tell(m.VHOST_USER_SET_VRING_KICK, { payload: event, fds: [kick] }), 'SET_VRING_KICK')
  }

  /** Stops all rings as QEMU does; where the first one stood. */
  async stopRings(): Promise<number> {
    const bases: number[] = []
    for (let index = 0; index < this.options.queues; index++) {
      const payload = encodeVringState({ index, num: 0 })
      expectTrue(await this.front.tell(m.VHOST_USER_SET_VRING_ENABLE, { payload }), 'SET_VRING_ENABLE')
      const answer = await this.front.ask(m.VHOST_USER_GET_VRING_BASE, { payload })
      bases.push(decodeVringState(answer.payload).num)
    }
    return bases[0] as number
  }

  /** How many requests the record says are in flight. */
  recorded(): number {
    if (this.inflight === undefined) return 0
    const { queues, queueSize, packed } = this.options
    const bytes = packed ? 32 : 16
    const part = Math.ceil((bytes + bytes * queueSize) / 64) * 64
    const record = this.ipc.map(this.inflight.fd, 0, queues * part)
    const flags = new Uint8Array(record.view(0, queues * part))
    let count = 0
    for (let queue = 0; queue < queues; queue++) {
      for (let entry = 0; entry < queueSize; entry++) if (flags[queue * part + bytes * (1 + entry)] !== 0) count++
    }
    record.unmap()
    return count
  }

  /** Unlike the guest's own end this leaves memory and rings as they are. */
  disconnect(): void {
    this.front.close()
  }

  close(): void {
    this.front?.close()
    for (const channel of this.channels) channel.close()
    for (const watch of this.watches) watch.close()
    for (const fd of [...this.kicks, ...this.callFds, this.memoryFd]) this.ipc.close(fd)
    if (this.inflight !== undefined) this.ipc.close(this.inflight.fd)
    this.mapping.unmap()
  }

  /** Kicks a ring whether or not the back-end has asked for it. */
  kick(index: number): void {
    if (this.options.inband) this.front.say(m.VHOST_USER_VRING_KICK, { payload: encodeVringState({ index, num: 0 }) })
    else this.ipc.signal(this.kicks[index] as number)
  }

  private async sayFeatures(): Promise<void> {
    const { accepted, logging, options } = this
    const bits = options.protocol === 0n ? [] : [m.VHOST_USER_F_PROTOCOL_FEATURES]
    if (logging) bits.push(m.VHOST_F_LOG_ALL)
    const told = await this.front.tellNumber(m.VHOST_USER_SET_FEATURES, accepted | featureSet(...bits))
    expectTrue(told, 'SET_FEATURES')
  }

  private async sayAddress(index: number): Promise<void> {
    const config = this.configs[index] as QueueConfig
    const payload = ringAddress(index, config, this.logging ? guestAddress(config.usedRing) : undefined)
    expectTrue(await this.front.tell(m.VHOST_USER_SET_VRING_ADDR, { payload }), 'SET_VRING_ADDR')
  }

  private async takeCalls(channel: BackendMessages): Promise<void> {
    const take = async (): Promise<void> => {
      for (let said = await channel.next(); said !== undefined; said = await channel.next()) {
        const index = Number(/^VRING_CALL (\d+)$/.exec(said)?.[1] ?? Number.NaN)
        this.calls++
        this.disks[index]?.notified()
      }
    }
    take().catch((error: unknown) => {
      throw error
    })
  }

  private async setInflight(): Promise<void> {
    const { queues, queueSize } = this.options
    if (this.inflight === undefined) {
      const wish = encodeInflight({ mmapSize: 0n, mmapOffset: 0n, queues, queueSize })
      const { payload, fds } = await this.front.ask(m.VHOST_USER_GET_INFLIGHT_FD, { payload: wish })
      expectTrue(fds.length === 1 && decodeInflight(payload).mmapSize > 0n, 'GET_INFLIGHT_FD')
      this.inflight = { fd: this.front.disown(fds[0] as number), payload }
    }
    const { fd, payload } = this.inflight
    expectTrue(await this.front.tell(m.VHOST_USER_SET_INFLIGHT_FD, { payload, fds: [fd] }), 'SET_INFLIGHT_FD')
  }

  private watchCalls(): void {
    this.callFds.forEach((fd, index) => {
      const watch = this.ipc.watch(fd, 'readable', () => {
        if (!this.ipc.takeSignals(fd)) return
        this.calls++
        this.disks[index]?.notified()
      })
      this.watches.push(watch)
    })
  }

  /** The device as the driver sees it: registers are kept here until the rings are started. */
  private transport(): VirtioTransport {
    const guest = this
    return {
      deviceId: 2,
      queueCount: this.options.queues,
      queueSizeMax: this.options.queueSize,
      configGeneration: 0,
      readFeatures: (select) => featureWindow(guest.offered & ~NOT_OF_DRIVERS, select),
      writeFeatures(select, value) {
        const shift = BigInt(32 * select)
        guest.accepted = (guest.accepted & ~(0xffff_ffffn << shift)) | (BigInt(value >>> 0) << shift)
      },
      readStatus: () => guest.status,
      writeStatus(value) {
        guest.status = value
      },
      readConfig: (offset, into) => into.set(guest.config.subarray(offset, offset + into.length)),
      writeConfig: () => {},
      enableQueue(index, config) {
        guest.configs[index] = config
      },
      isQueueRunning: () => true,
      stopQueue: () => Promise.reject(new Error('rings are stopped by messages')),
      refetch: () => 0,
      kick: (index) => guest.kick(index),
    }
  }
}

function expectTrue(good: boolean, what: string): void {
  if (!good) throw new Error(`the back-end refused ${what}`)
}
