// A virtio block device (virtio 1.2, 5.2) over a backend: what a transport calls, and the life of the device. The data
// path is the engine's.
//
// A reset detaches the queues at once and is complete, the status reading 0, when nothing is in flight any more: until then
// the backend may still write into buffers of the guest (virtio 1.2, 2.4.1).

import type { Clock } from '../../../common/clock.js'
import { BlockError } from '../../../common/error.js'
import { BDRV_REQ_FUA } from '../../../common/request.js'
import type { Offset } from '../../../common/units.js'
import { type BackendRoot, type RootClient, setHoldWhileDrained, wakeDrain } from '../../../io/backend/root.js'
import { reportFailure } from '../../../io/background.js'
import type { Completion } from '../../../io/node-io.js'
import { encodeBlkConfig, VIRTIO_BLK_CONFIG_WRITEBACK } from '../../../protocols/virtio/blk-config.js'
import { VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FEATURES_OK } from '../../../protocols/virtio/device-status.js'
import {
  VIRTIO_BLK_F_CONFIG_WCE,
  VIRTIO_BLK_F_DISCARD,
  VIRTIO_BLK_F_FLUSH,
  VIRTIO_BLK_F_WRITE_ZEROES,
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_IN_ORDER,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_RING_PACKED,
} from '../../../protocols/virtio/features.js'
import { DeviceControl } from '../core/device-control.js'
import type { VirtioTransport } from '../core/transport.js'
import type { GuestMemory } from '../memory/guest-memory.js'
import { createDeviceQueue } from '../queue/create-queue.js'
import type { QueueConfig } from '../queue/queue-layout.js'
import { BlkEngine, type BlkEngineHost } from './blk-engine.js'
import type { BlkUnit } from './blk-execute.js'
import {
  type BlkPresentation,
  type CheckedPresentation,
  checkPresentation,
  configOf,
  createUnit,
  offeredFeatures,
  wholeBlocks,
} from './blk-setup.js'

/** What a device is made of. */
export interface VirtioBlkOptions extends BlkPresentation {
  /** Of the backend. The device is its client until it is closed, and does its own holding while drained. */
  root: BackendRoot
  memory: GuestMemory
  /** That of the root's graph by default. */
  clock?: Clock
  /** The driver wants to know of used buffers. May submit and kick again. What it throws is a `background-error` event. */
  notifyGuest(queueIndex: number): void
  /** The configuration space or the device status changed. What it throws is a `background-error` event. */
  notifyConfig?(): void
}

/** A virtio-blk device. */
export class VirtioBlkDevice implements VirtioTransport {
  readonly queueCount: number
  readonly queueSizeMax: number
  /** Kicks for a queue that does not exist or does not run. */
  ignoredKicks = 0

  private readonly options: VirtioBlkOptions
  private readonly shown: CheckedPresentation
  private readonly control: DeviceControl
  private readonly unit: BlkUnit
  private readonly engine: BlkEngine
  private readonly client: RootClient
  private readonly heldBefore: boolean
  private writeback: boolean
  private config: Uint8Array
  private generation = 0
  private resetting: Promise<void> | undefined
  private finishReset: (() => void) | undefined

  /** Throws EINVAL for options that make no device, EBUSY where the backend has a client already. */
  constructor(options: VirtioBlkOptions) {
    const { root } = options
    this.options = options
    this.shown = checkPresentation(options)
    if (root.client !== undefined)
      throw new BlockError('EBUSY', 'the backend is in use by another device', { node: root.name })
    this.unit = createUnit(root, this.shown)
    this.control = new DeviceControl(offeredFeatures(this.shown, this.unit.writable))
    this.queueCount = this.shown.queues
    this.queueSizeMax = this.shown.queueSize
    this.engine = new BlkEngine(this.unit, this.queueCount, options.clock ?? root.environment.clock, this.engineHost())
    this.client = {
      drainedBegin: () => this.engine.drainedBegin(),
      drainedEnd: () => this.engine.drainedEnd(),
      busy: () => this.engine.busy,
      resized: (length) => this.resized(length),
    }
    this.writeback = root.writeCache
    this.config = this.encodeConfig()
    this.heldBefore = root.holdWhileDrained
    setHoldWhileDrained(root, false)
    root.client = this.client
  }

  /** 32 bits of what the device offers. */
  readFeatures(select: number): number {
    return this.control.deviceFeatures(select)
  }

  /** 32 bits of what the driver accepts; ignored once FEATURES_OK is set. */
  writeFeatures(select: number, value: number): void {
    if (this.resetting === undefined) this.control.setDriverFeatures(select, value)
  }

  /** The device status field. */
  readStatus(): number {
    return this.control.status
  }

  /** Sets bits of the status; 0 begins a reset, which is complete when the status reads 0. */
  writeStatus(value: number): void {
    if (value === 0) {
      this.beginReset()
      return
    }
    if (this.resetting !== undefined) return
    const added = this.control.setStatus(value)
    if ((added & VIRTIO_CONFIG_S_FEATURES_OK) !== 0) this.negotiated()
  }

  /** Why DEVICE_NEEDS_RESET is set. */
  get resetReason(): string | undefined {
    return this.control.resetReason
  }

  /** Changes whenever the configuration space has (virtio 1.2, 2.5). */
  get configGeneration(): number {
    return this.generation
  }

  /** Fills `into` from `offset` of the configuration space; what lies behind it reads 0. */
  readConfig(offset: number, into: Uint8Array): void {
    for (let i = 0; i < into.length; i++) into[i] = this.config[offset + i] ?? 0
  }

  /** Only `writeback` can be written, and only where CONFIG_WCE was agreed (virtio 1.2, 5.2.5); the rest is ignored. */
  writeConfig(offset: number, data: Uint8Array): void {
    const value = data[VIRTIO_BLK_CONFIG_WRITEBACK - offset]
    if (value === undefined || !this.control.agreed(VIRTIO_BLK_F_CONFIG_WCE)) return
    this.setWriteback(value !== 0)
  }

  /**
   * Starts a queue. Throws EINVAL where it does not exist, negotiation is not complete or the layout is no good, EBUSY
   * where it runs already: the running queue keeps what it has.
   */
  enableQueue(index: number, config: QueueConfig): void {
    const lane = this.engine.lanes[index]
    if (lane === undefined) throw new BlockError('EINVAL', `no queue ${String(index)}`, { op: 'enable-queue' })
    if (lane.queue !== undefined) throw new BlockError('EBUSY', `queue ${index} is running`, { op: 'enable-queue' })
    if (!this.control.negotiated || this.resetting !== undefined) {
      throw new BlockError('EINVAL', 'features have not been agreed', { op: 'enable-queue' })
    }
    const features = {
      packed: this.control.agreed(VIRTIO_F_RING_PACKED),
      indirect: this.control.agreed(VIRTIO_F_INDIRECT_DESC),
      eventIndex: this.control.agreed(VIRTIO_F_EVENT_IDX),
      inOrder: this.control.agreed(VIRTIO_F_IN_ORDER),
    }
    lane.queue = createDeviceQueue(this.options.memory, config, this.queueSizeMax, features, undefined, { id: index })
  }

  /** The driver has made buffers available. Anything else than the index of a running queue is counted and ignored. */
  kick(queueIndex: number): void {
    const lane = this.engine.lanes[queueIndex]
    if (lane?.queue === undefined || !this.control.running) this.ignoredKicks++
    else this.engine.kick(lane)
  }

  /** Resets the device: done when nothing of its old life is in flight. */
  reset(): Completion {
    this.beginReset()
    return this.resetting
  }

  /** Resets the device and lets go of its backend; the device is of no use after that. */
  async close(): Promise<void> {
    await this.reset()
    const { root } = this.options
    if (root.client !== this.client) return
    root.client = undefined
    setHoldWhileDrained(root, this.heldBefore)
  }

  /** Requests that wait for {@link resume} by the `stop` policy. */
  get parkedRequests(): number {
    return this.engine.parked.length
  }

  /** Runs what the `stop` policy has parked again. */
  resume(): void {
    this.engine.resume()
  }

  /** The capacity changes with a configuration change notification (virtio 1.2, 5.2.6.2). */
  private resized(length: Offset): void {
    const capacity = wholeBlocks(length, this.shown)
    if (capacity === this.unit.capacity) return
    this.unit.capacity = capacity
    this.configChanged()
    if ((this.control.status & VIRTIO_CONFIG_S_DRIVER_OK) !== 0) this.notifyConfig()
  }

  private beginReset(): void {
    if (this.resetting !== undefined) return
    this.engine.detach()
    if (this.engine.inFlight === 0) {
      this.initialise()
      return
    }
    this.resetting = new Promise((resolve) => {
      this.finishReset = resolve
    })
  }

  private atRest(): void {
    if (this.resetting !== undefined && this.engine.inFlight === 0) {
      const finish = this.finishReset
      this.resetting = undefined
      this.finishReset = undefined
      this.initialise()
      finish?.()
    }
    wakeDrain(this.options.root)
  }

  private engineHost(): BlkEngineHost {
    const { control, options } = this
    return {
      get running() {
        return control.running
      },
      notifyGuest: (queueIndex) => {
        // A queue left half way would ask for no more kicks and keep a drain waiting: the fault stays with whose it is.
        try {
          options.notifyGuest(queueIndex)
        } catch (error) {
          reportFailure(options.root.environment, options.root.name, error)
        }
      },
      broken: (reason) => {
        // Virtio 1.2, 2.1.2: a driver that is up has to be told.
        if (control.needReset(reason)) this.notifyConfig()
      },
      atRest: () => this.atRest(),
    }
  }

  private notifyConfig(): void {
    const { root } = this.options
    try {
      this.options.notifyConfig?.()
    } catch (error) {
      reportFailure(root.environment, root.name, error)
    }
  }

  private initialise(): void {
    this.control.reset()
    this.unit.discard = false
    this.unit.writeZeroes = false
    this.unit.writeFlags = 0
    this.setWriteback(this.options.root.writeCache)
  }

  private negotiated(): void {
    const { control, unit } = this
    unit.discard = control.agreed(VIRTIO_BLK_F_DISCARD)
    unit.writeZeroes = control.agreed(VIRTIO_BLK_F_WRITE_ZEROES)
    // Virtio 1.2, 5.2.5.2: a driver that toggles the cache but cannot flush begins with a writethrough cache.
    const flush = control.agreed(VIRTIO_BLK_F_FLUSH)
    this.setWriteback(control.agreed(VIRTIO_BLK_F_CONFIG_WCE) ? flush && this.writeback : this.writeback)
  }

  private setWriteback(writeback: boolean): void {
    const { control, unit } = this
    // Virtio 1.2, 5.2.6.2: who agreed neither to toggle the cache nor to flush relies on completed writes being stable.
    const volatile = control.agreed(VIRTIO_BLK_F_CONFIG_WCE) ? writeback : control.agreed(VIRTIO_BLK_F_FLUSH)
    unit.writeFlags = volatile ? 0 : BDRV_REQ_FUA
    if (writeback === this.writeback) return
    this.writeback = writeback
    this.configChanged()
  }

  private configChanged(): void {
    this.config = this.encodeConfig()
    this.generation = (this.generation + 1) >>> 0
  }

  private encodeConfig(): Uint8Array {
    return encodeBlkConfig(configOf(this.shown, this.unit, this.writeback))
  }
}
