// What makes a device a SCSI host (virtio 1.2, 5.6): the configuration space, its queues, and the disks that come and go.

import { type Clock, hostClock } from '../../../common/clock.js'
import { BlockError } from '../../../common/error.js'
import type { Trace } from '../../../common/trace.js'
import type { Offset } from '../../../common/units.js'
import { setHoldWhileDrained, wakeDrain } from '../../../io/backend/root.js'
import { SENSE_CAPACITY_CHANGED, SENSE_LUNS_CHANGED, SENSE_RESET } from '../../../protocols/scsi/sense.js'
import { VIRTIO_ID_SCSI } from '../../../protocols/virtio/device-id.js'
import { featureSet } from '../../../protocols/virtio/features.js'
import {
  encodeScsiConfig,
  VIRTIO_SCSI_CDB_SIZE,
  VIRTIO_SCSI_CONFIG_CDB_SIZE,
  VIRTIO_SCSI_CONFIG_SENSE_SIZE,
  VIRTIO_SCSI_EVENT_BYTES,
  VIRTIO_SCSI_EVT_RESET_REMOVED,
  VIRTIO_SCSI_EVT_RESET_RESCAN,
  VIRTIO_SCSI_F_CHANGE,
  VIRTIO_SCSI_F_HOTPLUG,
  VIRTIO_SCSI_S_FAILURE,
  VIRTIO_SCSI_SENSE_SIZE,
  VIRTIO_SCSI_T_PARAM_CHANGE,
  VIRTIO_SCSI_T_TRANSPORT_RESET,
} from '../../../protocols/virtio/scsi.js'
import { checkQueueSize } from '../core/check-queue-size.js'
import type { DeviceModel, ModelHost } from '../core/device-model.js'
import type { ModelState } from '../core/device-state.js'
import type { Lane } from '../core/lane.js'
import type { DescriptorChain } from '../memory/descriptor-chain.js'
import type { DeviceQueue } from '../queue/device-queue.js'
import { ScsiBus } from './scsi-bus.js'
import { ScsiEngine } from './scsi-engine.js'
import { ScsiEvents } from './scsi-events.js'
import type { ScsiSizes } from './scsi-request.js'
import { loadScsi, saveScsi } from './scsi-state.js'
import { ScsiTasks } from './scsi-tasks.js'
import { type ScsiDiskOptions, ScsiUnit } from './scsi-unit.js'

/** Queues in front of the request queues. */
const CONTROL_QUEUE = 0
const EVENT_QUEUE = 1
const FIRST_REQUEST_QUEUE = 2

/** Largest sizes a driver may choose: what a used length and a copy of a command block can bear. */
const MAX_SENSE_SIZE = 252
const MAX_CDB_SIZE = 260

/** How a controller presents itself. */
export interface ScsiModelOptions {
  /** In messages and events. Default: `virtio-scsi`. */
  name?: string
  /** Request queues. Default 1, at most 64. */
  queues?: number
  /** Largest size of a queue in entries, a power of two. Default 256. */
  queueSize?: number
  /** Most data buffers of a command the driver should use. Default: the queue size less two. */
  segMax?: number
  /** Largest transfer the driver should ask for, in sectors of 512 bytes. Default 65535. */
  maxSectors?: number
  clock?: Clock
  trace?: Trace
}

/** A virtio-scsi device without what all devices have. */
export class ScsiModel implements DeviceModel {
  readonly deviceId = VIRTIO_ID_SCSI
  readonly name: string
  readonly clock: Clock
  readonly trace: Trace | undefined
  readonly queueCount: number
  readonly queueSizeMax: number
  readonly features = featureSet(VIRTIO_SCSI_F_HOTPLUG, VIRTIO_SCSI_F_CHANGE)
  readonly bus = new ScsiBus()
  readonly sizes: ScsiSizes = { sense: VIRTIO_SCSI_SENSE_SIZE, cdb: VIRTIO_SCSI_CDB_SIZE }
  /** Set by {@link attach}. */
  engine!: ScsiEngine
  events!: ScsiEvents

  private readonly segMax: number
  private readonly maxSectors: number
  private host!: ModelHost
  private tasks!: ScsiTasks
  private readonly restore = new Map<ScsiUnit, () => void>()

  constructor(options: ScsiModelOptions) {
    this.name = options.name ?? 'virtio-scsi'
    this.clock = options.clock ?? hostClock
    this.trace = options.trace
    this.queueSizeMax = checkQueueSize(options.queueSize ?? 256, this.name)
    const queues = options.queues ?? 1
    this.segMax = options.segMax ?? this.queueSizeMax - 2
    this.maxSectors = options.maxSectors ?? 0xffff
    if (!Number.isSafeInteger(queues) || queues < 1 || queues > 64) {
      throw new BlockError('EINVAL', 'virtio-scsi: queues must be 1..64')
    }
    this.queueCount = FIRST_REQUEST_QUEUE + queues
  }

  attach(host: ModelHost): void {
    const { service } = host
    this.host = host
    this.engine = new ScsiEngine(this.bus, service, this.clock, this.sizes)
    this.tasks = new ScsiTasks(this.bus, this.engine, service, service.lanes.slice(FIRST_REQUEST_QUEUE))
    this.events = new ScsiEvents(service, service.lanes[EVENT_QUEUE] as Lane)
  }

  /** Puts a disk behind the controller. Throws EINVAL, EEXIST for a place that is taken, EBUSY for a backend in use. */
  attachDisk(options: ScsiDiskOptions): void {
    const { root } = options
    if (root.client !== undefined)
      throw new BlockError('EBUSY', 'the backend is in use by another device', { node: root.name })
    const unit = new ScsiUnit(options)
    this.bus.add(unit)
    const { service } = this.host
    const heldBefore = root.holdWhileDrained
    const client = {
      drainedBegin: () => service.hold(),
      drainedEnd: () => service.release(),
      busy: () => service.busy,
      resized: (length: Offset) => this.resized(unit, length),
    }
    setHoldWhileDrained(root, false)
    root.client = client
    this.restore.set(unit, () => {
      if (root.client !== client) return
      root.client = undefined
      setHoldWhileDrained(root, heldBefore)
    })
    this.changed(unit, VIRTIO_SCSI_EVT_RESET_RESCAN)
  }

  /** Takes a disk away when its commands have ended: new ones find nothing there from now on. */
  async detachDisk(target: number, lun: number): Promise<void> {
    const unit = this.bus.find(target, lun)
    if (unit === undefined) throw new BlockError('ENOENT', `there is no unit at target ${target}, lun ${lun}`)
    this.bus.remove(unit)
    this.changed(unit, VIRTIO_SCSI_EVT_RESET_REMOVED)
    // Virtio 1.2, 5.6.6.1.1: what will not be done any more is a failure.
    for (const request of this.engine.setAsideOf(unit)) this.engine.endTask(request, VIRTIO_SCSI_S_FAILURE)
    while (unit.active.size > 0) {
      const [request] = unit.active
      await new Promise<void>((resolve) => request?.whenEnded.push(resolve))
    }
    this.letGo(unit)
  }

  config(): Uint8Array {
    return encodeScsiConfig({
      numQueues: this.queueCount - FIRST_REQUEST_QUEUE,
      segMax: this.segMax,
      maxSectors: this.maxSectors,
      cmdPerLun: Math.min(this.queueSizeMax, 128),
      eventInfoSize: VIRTIO_SCSI_EVENT_BYTES,
      senseSize: this.sizes.sense,
      cdbSize: this.sizes.cdb,
      maxChannel: 0,
      maxTarget: 255,
      maxLun: 16383,
    })
  }

  /** A driver may choose the sizes of sense data and command blocks (virtio 1.2, 5.6.4). */
  writeConfig(offset: number, data: Uint8Array): void {
    const space = this.config()
    for (let i = 0; i < data.length; i++) {
      const at = offset + i
      const chosen = at >= VIRTIO_SCSI_CONFIG_SENSE_SIZE && at < VIRTIO_SCSI_CONFIG_CDB_SIZE + 4
      if (chosen) space[at] = data[i] as number
    }
    const view = new DataView(space.buffer)
    const sense = view.getUint32(VIRTIO_SCSI_CONFIG_SENSE_SIZE, true)
    const cdb = view.getUint32(VIRTIO_SCSI_CONFIG_CDB_SIZE, true)
    if (this.setSizes(sense, cdb)) this.host.configChanged(false)
  }

  /** Chooses sizes; false where they are what they were, or cannot be. */
  setSizes(sense: number, cdb: number): boolean {
    if (sense > MAX_SENSE_SIZE || cdb < 1 || cdb > MAX_CDB_SIZE) return false
    if (sense === this.sizes.sense && cdb === this.sizes.cdb) return false
    this.sizes.sense = sense
    this.sizes.cdb = cdb
    return true
  }

  reset(): void {
    this.events.reset()
    for (const unit of this.bus.units()) unit.attentions = [SENSE_RESET]
    if (this.setSizes(VIRTIO_SCSI_SENSE_SIZE, VIRTIO_SCSI_CDB_SIZE)) this.host.configChanged(false)
  }

  take(lane: Lane, queue: DeviceQueue): boolean {
    if (lane.index >= FIRST_REQUEST_QUEUE) return this.engine.take(lane, queue)
    return lane.index === CONTROL_QUEUE ? this.tasks.take(lane, queue) : this.events.take(lane, queue)
  }

  drop(lane?: Lane): void {
    this.engine.drop(lane)
  }

  giveUp(lane: Lane): void {
    this.engine.giveUp(lane)
  }

  setAside(lane: Lane): readonly DescriptorChain[] {
    return this.engine.chains(lane)
  }

  save(): ModelState {
    return saveScsi(this)
  }

  load(state: ModelState): void {
    loadScsi(this, state)
    this.host.configChanged(false)
  }

  atRest(): void {
    for (const unit of this.restore.keys()) wakeDrain(unit.root)
  }

  released(): void {
    this.engine.released()
  }

  /** Gives the backends back as they were. */
  close(): void {
    for (const unit of [...this.restore.keys()]) {
      this.bus.remove(unit)
      this.letGo(unit)
    }
  }

  reportFailure(error: unknown): void {
    const message = error instanceof Error ? error.message : String(error)
    this.trace?.emit('background-error', { node: this.name, message, error })
  }

  private letGo(unit: ScsiUnit): void {
    this.restore.get(unit)?.()
    this.restore.delete(unit)
  }

  /** A unit has come or gone: its neighbours tell of it, and so does an event (virtio 1.2, 5.6.6.3). */
  private changed(unit: ScsiUnit, reason: number): void {
    const { target, lun } = unit
    for (const other of this.bus.units(target)) if (other !== unit) other.attend(SENSE_LUNS_CHANGED)
    if (!this.host.agreed(VIRTIO_SCSI_F_HOTPLUG)) return
    this.events.tell({ event: VIRTIO_SCSI_T_TRANSPORT_RESET, target, lun, reason })
  }

  private resized(unit: ScsiUnit, length: Offset): void {
    const blocks = unit.blocksOf(length)
    if (blocks === unit.blocks) return
    unit.blocks = blocks
    unit.attend(SENSE_CAPACITY_CHANGED)
    if (!this.host.agreed(VIRTIO_SCSI_F_CHANGE)) return
    const { asc, ascq } = SENSE_CAPACITY_CHANGED
    const { target, lun } = unit
    this.events.tell({ event: VIRTIO_SCSI_T_PARAM_CHANGE, target, lun, reason: asc | (ascq << 8) })
  }
}
