// What makes a device the device it is: its features, its configuration space and what its requests do. The core does all
// that devices have in common and calls this.

import type { Clock } from '../../../common/clock.js'
import type { Trace } from '../../../common/trace.js'
import type { FeatureSet } from '../../../protocols/virtio/features.js'
import type { ModelState } from './device-state.js'
import type { Lane } from './lane.js'
import type { ChainServer, QueueService } from './queue-service.js'

/** What a model calls back. */
export interface ModelHost {
  readonly service: QueueService
  /** The driver accepted the feature, and negotiation is complete. */
  agreed(bit: number): boolean
  /** The configuration space is another. `notify`: the driver does not know, and is to be told once it is ready. */
  configChanged(notify: boolean): void
}

/** A kind of device. All calls are synchronous; what a kind has no use for it leaves out. */
export interface DeviceModel extends ChainServer {
  /** Virtio device ID (virtio 1.2, 5). */
  readonly deviceId: number
  /** In messages and events. */
  readonly name: string
  readonly clock: Clock
  readonly trace: Trace | undefined
  readonly queueCount: number
  /** In entries. */
  readonly queueSizeMax: number
  /** Feature bits of its own kind. */
  readonly features: FeatureSet

  /** Called once, before any other call. */
  attach(host: ModelHost): void

  /** The configuration space as it is now. */
  config?(): Uint8Array
  /** A driver writes to it, at any offset. */
  writeConfig?(offset: number, data: Uint8Array): void

  /** FEATURES_OK has been set. */
  negotiated?(): void
  /** Back to the beginning. Nothing is in flight. */
  reset?(): void

  /** A queue is being stopped: what was set aside of it is answered with the error that it met. */
  giveUp?(lane: Lane): void

  /** What {@link load} needs of its own, as plain data. Nothing is in flight. */
  save?(): ModelState
  /** Called behind {@link negotiated}. Throws EINVAL for what this device cannot have saved. */
  load?(state: ModelState): void

  /** Nothing is in flight and all has been delivered. */
  atRest?(): void
  /** Requests may begin again. */
  released?(): void
  /** Lets go of everything. Nothing is in flight and no call follows. */
  close?(): void
  /** A callback of the device's user failed. */
  reportFailure(error: unknown): void
}
