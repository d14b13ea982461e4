// What makes a device a disk: the configuration space, the write cache and the backend's client. Requests are the engine's.

import type { Clock } from '../../../common/clock.js'
import { BlockError } from '../../../common/error.js'
import { MAX_LENGTH } from '../../../common/limits.js'
import { BDRV_REQ_FUA } from '../../../common/request.js'
import type { Trace } from '../../../common/trace.js'
import type { Offset } from '../../../common/units.js'
import { type BackendRoot, type RootClient, setHoldWhileDrained, wakeDrain } from '../../../io/backend/root.js'
import { reportFailure } from '../../../io/background.js'
import { encodeBlkConfig, VIRTIO_BLK_CONFIG_WRITEBACK } from '../../../protocols/virtio/blk-config.js'
import { VIRTIO_ID_BLOCK } from '../../../protocols/virtio/device-id.js'
import {
  type FeatureSet,
  VIRTIO_BLK_F_CONFIG_WCE,
  VIRTIO_BLK_F_DISCARD,
  VIRTIO_BLK_F_FLUSH,
  VIRTIO_BLK_F_LIFETIME,
  VIRTIO_BLK_F_SECURE_ERASE,
  VIRTIO_BLK_F_WRITE_ZEROES,
} from '../../../protocols/virtio/features.js'
import type { DeviceModel, ModelHost } from '../core/device-model.js'
import { type ModelState, stateFlag, stateNumber } from '../core/device-state.js'
import type { Lane } from '../core/lane.js'
import type { DescriptorChain } from '../memory/descriptor-chain.js'
import type { DeviceQueue } from '../queue/device-queue.js'
import { BlkEngine } from './blk-engine.js'
import { configOf, offeredFeatures } from './blk-offer.js'
import {
  type BlkPresentation,
  type CheckedPresentation,
  checkPresentation,
  createUnit,
  wholeBlocks,
} from './blk-setup.js'
import type { BlkUnit } from './blk-unit.js'

/** The disk behind a device. */
export interface BlkModelOptions extends BlkPresentation {
  /** Of the backend. The device is its client until it is closed, and does its own holding while drained. */
  root: BackendRoot
  /** That of the root's graph by default. */
  clock?: Clock
}

/** A virtio-blk device without what all devices have. */
export class BlkModel implements DeviceModel {
  readonly deviceId = VIRTIO_ID_BLOCK
  readonly name: string
  readonly clock: Clock
  readonly trace: Trace
  readonly queueCount: number
  readonly queueSizeMax: number
  readonly features: FeatureSet
  /** Set by {@link attach}. */
  engine!: BlkEngine

  private readonly root: BackendRoot
  private readonly shown: CheckedPresentation
  private readonly unit: BlkUnit
  private readonly heldBefore: boolean
  private host!: ModelHost
  private client: RootClient | undefined
  private writeback: boolean

  /** Throws EINVAL for options that make no device, EBUSY where the backend has a client already. */
  constructor(options: BlkModelOptions) {
    const { root } = options
    this.root = root
    this.name = root.name
    this.clock = options.clock ?? root.environment.clock
    this.trace = root.environment.trace
    this.shown = checkPresentation(options)
    if (root.client !== undefined)
      throw new BlockError('EBUSY', 'the backend is in use by another device', { node: root.name })
    this.unit = createUnit(root, this.shown)
    this.features = offeredFeatures(this.shown, this.unit.writable)
    this.queueCount = this.shown.queues
    this.queueSizeMax = this.shown.queueSize
    this.writeback = root.writeCache
    this.heldBefore = root.holdWhileDrained
  }

  /** Takes the backend. */
  attach(host: ModelHost): void {
    const { root } = this
    const { service } = host
    this.host = host
    this.engine = new BlkEngine(this.unit, service, this.clock)
    this.client = {
      drainedBegin: () => service.hold(),
      drainedEnd: () => service.release(),
      busy: () => service.busy,
      resized: (length) => this.resized(length),
    }
    setHoldWhileDrained(root, false)
    root.client = this.client
  }

  config(): Uint8Array {
    return encodeBlkConfig(configOf(this.shown, this.unit, this.writeback))
  }

  /** Only `writeback` can be written, and only where CONFIG_WCE was agreed (virtio 1.2, 5.2.5); the rest is ignored. */
  writeConfig(offset: number, data: Uint8Array): void {
    const value = data[VIRTIO_BLK_CONFIG_WRITEBACK - offset]
    if (value === undefined || !this.host.agreed(VIRTIO_BLK_F_CONFIG_WCE)) return
    this.setWriteback(value !== 0)
  }

  negotiated(): void {
    const { host } = this
    this.agreeOnRequests()
    // Virtio 1.2, 5.2.5.2: a driver that toggles the cache but cannot flush begins with a writethrough cache.
    const flush = host.agreed(VIRTIO_BLK_F_FLUSH)
    this.setWriteback(host.agreed(VIRTIO_BLK_F_CONFIG_WCE) ? flush && this.writeback : this.writeback)
  }

  reset(): void {
    this.agreeOnRequests()
    this.setWriteback(this.root.writeCache)
    this.unit.writeFlags = 0
  }

  take(lane: Lane, queue: DeviceQueue): boolean {
    return this.engine.take(lane, queue)
  }

  issue(lane: Lane): void {
    this.engine.issue(lane)
  }

  drop(lane?: Lane): void {
    this.engine.drop(lane)
  }

  giveUp(lane: Lane): void {
    this.engine.giveUp(lane)
  }

  setAside(lane: Lane): readonly DescriptorChain[] {
    return this.engine.setAside(lane)
  }

  save(): ModelState {
    return { writeback: this.writeback, capacity: this.unit.capacity }
  }

  /** A disk that has another length here is told of as a resize. */
  load(state: ModelState): void {
    const capacity = stateNumber(state, 'capacity', MAX_LENGTH)
    const writeback = stateFlag(state, 'writeback')
    // Where the driver cannot toggle it the cache is that of the backend, and the backend may be another one here.
    if (this.host.agreed(VIRTIO_BLK_F_CONFIG_WCE)) this.setWriteback(writeback)
    if (capacity !== this.unit.capacity) this.host.configChanged(true)
  }

  atRest(): void {
    wakeDrain(this.root)
  }

  released(): void {
    this.engine.released()
  }

  /** Gives the backend back as it was. */
  close(): void {
    const { root } = this
    if (root.client !== this.client) return
    root.client = undefined
    setHoldWhileDrained(root, this.heldBefore)
  }

  reportFailure(error: unknown): void {
    reportFailure(this.root.environment, this.name, error)
  }

  /** Requests that a driver may send where it has accepted their feature. */
  private agreeOnRequests(): void {
    const { host, unit, shown } = this
    unit.discard.agreed = host.agreed(VIRTIO_BLK_F_DISCARD)
    unit.writeZeroes.agreed = host.agreed(VIRTIO_BLK_F_WRITE_ZEROES)
    unit.secureErase.agreed = host.agreed(VIRTIO_BLK_F_SECURE_ERASE)
    unit.lifetime = host.agreed(VIRTIO_BLK_F_LIFETIME) ? shown.lifetime : undefined
  }

  /** The capacity changes with a configuration change notification (virtio 1.2, 5.2.6.2). */
  private resized(length: Offset): void {
    const capacity = wholeBlocks(length, this.shown)
    if (capacity === this.unit.capacity) return
    this.unit.capacity = capacity
    this.host.configChanged(true)
  }

  private setWriteback(writeback: boolean): void {
    const { host, unit } = this
    // Virtio 1.2, 5.2.6.2: who agreed neither to toggle the cache nor to flush relies on completed writes being stable.
    const volatile = host.agreed(VIRTIO_BLK_F_CONFIG_WCE) ? writeback : host.agreed(VIRTIO_BLK_F_FLUSH)
    unit.writeFlags = volatile ? 0 : BDRV_REQ_FUA
    if (writeback === this.writeback) return
    this.writeback = writeback
    host.configChanged(false)
  }
}
