// A virtio device (virtio 1.2, chapter 2), whatever its kind: what a transport calls, and the life of the device. What its
// requests do is its model's.
//
// A reset detaches the queues at once and is complete, the status reading 0, when nothing is in flight any more: until then
// requests may still write into buffers of the guest (virtio 1.2, 2.4.1).

import { BlockError } from '../../../common/error.js'
import type { Completion } from '../../../io/node-io.js'
import { VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FEATURES_OK } from '../../../protocols/virtio/device-status.js'
import { VIRTIO_F_RING_RESET } from '../../../protocols/virtio/features.js'
import type { GuestMemory } from '../memory/guest-memory.js'
import type { WriteLog } from '../memory/write-log.js'
import { createDeviceQueue } from '../queue/create-queue.js'
import type { QueueState } from '../queue/device-queue.js'
import type { InflightTracker } from '../queue/inflight-tracker.js'
import type { QueueConfig } from '../queue/queue-layout.js'
import type { EarlierList } from '../queue/taken-heads.js'
import { traceControl } from './control-trace.js'
import { DeviceControl } from './device-control.js'
import type { DeviceModel } from './device-model.js'
import { parseDeviceState, type VirtioDeviceState } from './device-state.js'
import { InterruptSource } from './interrupt-source.js'
import type { Lane } from './lane.js'
import type { SuspendedQueue } from './left-chains.js'
import { type GuestNotifier, type HostNotifier, VIRTIO_MSI_NO_VECTOR } from './notifiers.js'
import { QueueService } from './queue-service.js'
import { queueFeatures, type RingOffer, ringFeatures } from './ring-features.js'
import { captureDevice, type DeviceParts, restoreDevice } from './save-device.js'
import { serviceHost } from './service-host.js'
import type { VirtioTransport } from './transport.js'

/** What every device is made of. */
export interface VirtioDeviceOptions extends RingOffer {
  notifier: GuestNotifier
  /** Without it no queue can be enabled; see {@link VirtioDevice.setMemory}. */
  memory?: GuestMemory
}

const NO_CONFIG = new Uint8Array(0)

/** A device. */
export class VirtioDevice implements VirtioTransport {
  readonly deviceId: number
  readonly queueCount: number
  readonly queueSizeMax: number
  /** Kicks for a queue that does not exist or does not run. */
  ignoredKicks = 0

  private readonly model: DeviceModel
  private readonly interrupts: InterruptSource
  private readonly control: DeviceControl
  private readonly service: QueueService
  private memory: GuestMemory | undefined
  private space: Uint8Array
  private generation = 0
  private paused = false
  private resetting: Promise<void> | undefined
  private finishReset: (() => void) | undefined
  private whenAtRest: (() => void)[] = []
  private closing: Promise<void> | undefined

  /** For devices of this library, which bring their model. */
  protected constructor(model: DeviceModel, options: VirtioDeviceOptions) {
    this.model = model
    this.interrupts = new InterruptSource(options.notifier, (error) => model.reportFailure(error))
    this.memory = options.memory
    this.deviceId = model.deviceId
    this.queueCount = model.queueCount
    this.queueSizeMax = model.queueSizeMax
    this.control = new DeviceControl(model.features | ringFeatures(options), traceControl(model))
    const host = serviceHost(model, this.control, this.interrupts, () => this.atRest())
    this.service = new QueueService(model, model.queueCount, model.clock, host)
    model.attach({
      service: this.service,
      agreed: (bit) => this.control.agreed(bit),
      configChanged: (notify) => this.configChanged(notify),
    })
    this.space = model.config?.() ?? NO_CONFIG
  }

  /** 32 bits of what the device offers. */
  readFeatures(select: number): number {
    return this.control.deviceFeatures(select)
  }

  /** 32 bits of what the driver accepts; ignored once FEATURES_OK is set. */
  writeFeatures(select: number, value: number): void {
    if (this.usable) this.control.setDriverFeatures(select, value)
  }

  /** The features in use: none before FEATURES_OK, and never one that is not offered. */
  get activeFeatures(): bigint {
    return this.control.active
  }

  /** The device status field. */
  readStatus(): number {
    return this.control.status
  }

  /** Sets bits of the status; 0 begins a reset, which is complete when the status reads 0. */
  writeStatus(value: number): void {
    if (value === 0) this.beginReset()
    if (value === 0 || !this.usable) return
    const added = this.control.setStatus(value)
    if ((added & VIRTIO_CONFIG_S_FEATURES_OK) !== 0) this.model.negotiated?.()
    if ((added & VIRTIO_CONFIG_S_DRIVER_OK) === 0) return
    for (const lane of this.service.lanes) this.service.started(lane)
  }

  /** Why DEVICE_NEEDS_RESET is set. */
  get resetReason(): string | undefined {
    return this.control.resetReason
  }

  /** Writes of the driver that came out of order and had no effect. */
  get ignoredWrites(): number {
    return this.control.ignoredWrites
  }

  /** Changes whenever the configuration space has (virtio 1.2, 2.5). */
  get configGeneration(): number {
    return this.generation
  }

  /** Fills `into` from `offset` of the configuration space; what lies behind it reads 0. */
  readConfig(offset: number, into: Uint8Array): void {
    for (let i = 0; i < into.length; i++) into[i] = this.space[offset + i] ?? 0
  }

  /** What a driver may write depends on the device and on what was agreed; the rest is ignored. */
  writeConfig(offset: number, data: Uint8Array): void {
    if (this.usable) this.model.writeConfig?.(offset, data)
  }

  /** Replaces guest memory. Throws EBUSY while a queue runs or requests of an earlier life are in flight. */
  setMemory(memory: GuestMemory): void {
    const running = this.service.lanes.some((lane) => lane.queue !== undefined)
    if (running || this.service.inFlight > 0) throw this.refuse('EBUSY', 'guest memory is in use', 'set-memory')
    this.memory = memory
  }

  /** Whom to tell of everything that is written into guest memory, from now on; undefined: nobody any more. */
  setWriteLog(log: WriteLog | undefined): void {
    for (const lane of this.service.lanes) lane.log = log
  }

  /**
   * Starts a queue, at its beginning or where another one stood. Throws EINVAL where it does not exist, negotiation is not
   * complete or the layout is no good, EBUSY where it runs already: the running queue keeps what it has.
   */
  enableQueue(index: number, config: QueueConfig, state?: QueueState, tracker?: InflightTracker): void {
    const lane = this.service.lanes[index]
    if (lane === undefined) throw this.refuse('EINVAL', `no queue ${String(index)}`, 'enable-queue')
    if (lane.queue !== undefined) throw this.refuse('EBUSY', `queue ${index} is running`, 'enable-queue')
    if (!this.usable || !this.control.negotiated) {
      throw this.refuse('EINVAL', 'features have not been agreed', 'enable-queue')
    }
    if (this.memory === undefined) throw this.refuse('EINVAL', 'there is no guest memory', 'enable-queue')
    const features = queueFeatures(this.control.active)
    const options = { id: index, ...(tracker === undefined ? {} : { tracker }) }
    lane.queue = createDeviceQueue(this.memory, config, this.queueSizeMax, features, state, options)
    lane.config = config
    lane.notifier?.start(() => this.kick(index))
    this.service.started(lane)
  }

  /**
   * Gives a running queue chains that were taken in an earlier life of it and never returned: they are served before
   * anything new. See {@link DeviceQueue.refetch}; how many were taken over.
   */
  refetch(index: number, heads: readonly number[], lists?: readonly EarlierList[]): number {
    const lane = this.runningLane(index, 'refetch')
    const taken = lane.queue?.refetch(heads, lists) ?? 0
    this.service.started(lane)
    return taken
  }

  /** Whether a queue was enabled and has not been stopped or reset since. */
  isQueueRunning(index: number): boolean {
    return this.service.lanes[index]?.queue !== undefined
  }

  /**
   * Stops a queue when its requests have ended; where it stood. What the `stop` policy has set aside of it is answered with
   * its error. A reset of the device ends the wait. Rejects with EINVAL where the queue does not run, EBUSY while it stops.
   */
  async stopQueue(index: number): Promise<QueueState> {
    const lane = this.runningLane(index, 'stop-queue')
    this.model.giveUp?.(lane)
    return (await this.service.stop(lane, 'answer')).state
  }

  /**
   * Stops a queue when nothing of it is under way; what the `stop` policy has set aside of it, then or while it waits, is not
   * answered but goes along with where the queue stood, to be given to its next life by {@link refetch}: nothing is lost, and
   * the driver sees no error. Ends and rejects as {@link stopQueue}.
   */
  async suspendQueue(index: number): Promise<SuspendedQueue> {
    return this.service.stop(this.runningLane(index, 'suspend-queue'), 'keep')
  }

  /**
   * Resets one queue (virtio 1.2, 2.6.1): done when the device does not use it any more, and it can be enabled anew. As
   * {@link stopQueue}, and rejects with EINVAL where VIRTIO_F_RING_RESET was not agreed.
   */
  async resetQueue(index: number): Promise<void> {
    if (!this.control.agreed(VIRTIO_F_RING_RESET)) {
      throw this.refuse('EINVAL', 'resetting single queues was not agreed', 'reset-queue')
    }
    await this.stopQueue(index)
  }

  /** The driver has made buffers available. Anything else than the index of a running queue is counted and ignored. */
  kick(queueIndex: number): void {
    const lane = this.service.lanes[queueIndex]
    if (lane?.queue === undefined || !this.control.running) this.ignoredKicks++
    else this.service.kick(lane)
  }

  /**
   * Looks at every running queue once without a kick and serves what is there; whether anything was. Drivers are not asked
   * for notifications from the first call to {@link armNotifications}.
   */
  poll(): boolean {
    return this.service.poll()
  }

  /** Requests begun and not ended, of all queues. */
  get requestsInFlight(): number {
    return this.service.inFlight
  }

  /** Asks for notifications again. True where something has come meanwhile: poll, or kick. */
  armNotifications(): boolean {
    return this.service.arm()
  }

  /** Sets the interrupt vector of a queue that exists. It goes back to none with the next reset. */
  setQueueVector(index: number, vector: number): void {
    const lane = this.service.lanes[index]
    if (lane !== undefined) lane.vector = vector
  }

  /** Sets the interrupt vector of configuration change notifications. It goes back to none with the next reset. */
  setConfigVector(vector: number): void {
    this.interrupts.configVector = vector
  }

  /** Causes of interrupts, for transports without vectors, until {@link acknowledgeInterrupts}. */
  get interruptStatus(): number {
    return this.interrupts.status
  }

  /** The driver has seen causes of interrupts. */
  acknowledgeInterrupts(causes: number): void {
    this.interrupts.acknowledge(causes)
  }

  /** Connects a queue that exists to a wire its driver's notifications come by, or takes it off. */
  setHostNotifier(index: number, notifier: HostNotifier | undefined): void {
    const lane = this.service.lanes[index]
    if (lane === undefined) throw this.refuse('EINVAL', `no queue ${String(index)}`, 'set-host-notifier')
    if (lane.queue !== undefined) lane.notifier?.stop()
    lane.notifier = notifier
    if (lane.queue === undefined || notifier === undefined) return
    notifier.start(() => this.kick(index))
    // What came between the two wires was heard by nobody.
    this.service.started(lane)
  }

  /** Stops fetching; done when nothing is in flight and all has been delivered. Undone by {@link unpause}. */
  async pause(): Promise<void> {
    if (!this.paused) this.service.hold()
    this.paused = true
    if (this.service.busy) await new Promise<void>((resolve) => this.whenAtRest.push(resolve))
  }

  /** Fetches again. */
  unpause(): void {
    if (!this.paused) return
    this.paused = false
    this.service.release()
  }

  /**
   * Pauses the device and says where it stands, as plain data: nothing is in flight, and what the `stop` policy has set aside
   * goes along; in order, with what was done behind it and is held for its turn. The device stays paused: another one goes on
   * from there, or {@link unpause} takes it back.
   */
  async save(): Promise<VirtioDeviceState> {
    await this.pause()
    return captureDevice(this.parts())
  }

  /**
   * Goes on where another device stood, in the same guest memory. For a device that has not been started. It stays paused
   * until {@link unpause}; what had been set aside is served first then. Throws EINVAL for what no device like this can have
   * saved, features that it cannot offer among it, and is in its beginning after that.
   */
  load(state: VirtioDeviceState): void {
    const { control, service } = this
    if (control.status !== 0 || !this.usable) throw this.refuse('EBUSY', 'the device has been started', 'load')
    const wasPaused = this.paused
    if (!wasPaused) service.hold()
    this.paused = true
    try {
      restoreDevice(this.parts(), parseDeviceState(state, this.queueCount), this)
    } catch (error) {
      this.beginReset()
      if (!wasPaused) this.unpause()
      throw error
    }
  }

  /** Resets the device: done when nothing of its old life is in flight. */
  reset(): Completion {
    this.beginReset()
    return this.resetting
  }

  /** Unplugs the device: resets it and lets go of all it holds. It answers as one that is not there after that. */
  close(): Promise<void> {
    this.closing ??= this.unplug()
    return this.closing
  }

  private async unplug(): Promise<void> {
    await this.reset()
    for (const lane of this.service.lanes) lane.notifier = undefined
    this.memory = undefined
    this.model.close?.()
  }

  private parts(): DeviceParts {
    const { model, control, service, interrupts } = this
    return { model, control, service, interrupts }
  }

  private get usable(): boolean {
    return this.resetting === undefined && this.closing === undefined
  }

  private runningLane(index: number, op: string): Lane {
    const lane = this.service.lanes[index]
    if (lane?.queue === undefined) throw this.refuse('EINVAL', `queue ${String(index)} is not running`, op)
    if (lane.halt !== undefined) throw this.refuse('EBUSY', `queue ${index} is being stopped`, op)
    return lane
  }

  private beginReset(): void {
    if (this.resetting !== undefined) return
    this.service.detach()
    this.model.drop?.()
    if (this.service.inFlight === 0) {
      this.initialise()
      return
    }
    this.resetting = new Promise((resolve) => {
      this.finishReset = resolve
    })
  }

  private initialise(): void {
    this.interrupts.reset()
    for (const lane of this.service.lanes) lane.vector = VIRTIO_MSI_NO_VECTOR
    this.control.reset()
    this.model.reset?.()
  }

  private atRest(): void {
    if (this.resetting !== undefined && this.service.inFlight === 0) {
      const finish = this.finishReset
      this.resetting = undefined
      this.finishReset = undefined
      this.initialise()
      finish?.()
    }
    for (const wake of this.whenAtRest.splice(0)) wake()
    this.model.atRest?.()
  }

  private configChanged(notify: boolean): void {
    this.space = this.model.config?.() ?? NO_CONFIG
    this.generation = (this.generation + 1) >>> 0
    if (notify && (this.control.status & VIRTIO_CONFIG_S_DRIVER_OK) !== 0) this.interrupts.config()
  }

  private refuse(code: 'EINVAL' | 'EBUSY', message: string, op: string): BlockError {
    return new BlockError(code, message, { node: this.model.name, op })
  }
}
