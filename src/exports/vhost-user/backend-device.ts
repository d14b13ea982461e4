// What the export drives: a virtio device through the calls of a transport, and nothing of its kind. `VirtioDevice` has them.

import type { SuspendedQueue } from '../../devices/virtio/core/left-chains.js'
import type { GuestMemory } from '../../devices/virtio/memory/guest-memory.js'
import type { WriteLog } from '../../devices/virtio/memory/write-log.js'
import type { QueueState } from '../../devices/virtio/queue/device-queue.js'
import type { InflightTracker } from '../../devices/virtio/queue/inflight-tracker.js'
import type { QueueConfig } from '../../devices/virtio/queue/queue-layout.js'
import type { EarlierList } from '../../devices/virtio/queue/taken-heads.js'
import type { Completion } from '../../io/node-io.js'

/** The device behind a socket. */
export interface BackendDevice {
  readonly queueCount: number
  readonly queueSizeMax: number
  /** Requests begun and not ended, of all queues. */
  readonly requestsInFlight: number
  /** Why the device asks for a reset. */
  readonly resetReason: string | undefined
  readFeatures(select: number): number
  writeFeatures(select: number, value: number): void
  readStatus(): number
  writeStatus(value: number): void
  readConfig(offset: number, into: Uint8Array): void
  writeConfig(offset: number, data: Uint8Array): void
  /** Only while no queue runs. */
  setMemory(memory: GuestMemory): void
  /** Whom to tell of what is written into guest memory, from now on. */
  setWriteLog(log: WriteLog | undefined): void
  /** Throws a BlockError where the queue cannot run so. */
  enableQueue(index: number, config: QueueConfig, state?: QueueState, tracker?: InflightTracker): void
  /** Chains that were taken in an earlier life of a queue and never returned: they are served before anything new. */
  refetch(index: number, heads: readonly number[], lists?: readonly EarlierList[]): number
  /** Stops a queue when its requests have ended, those set aside with their error; where it stood. */
  stopQueue(index: number): Promise<QueueState>
  /** Stops a queue when nothing is under way; where it stood, and what was set aside, for {@link refetch}. */
  suspendQueue(index: number): Promise<SuspendedQueue>
  /** Serves what is there, without asking for notifications; whether there was anything. */
  poll(): boolean
  /** Asks for notifications. True where something has come meanwhile. */
  armNotifications(): boolean
  reset(): Completion
}

/** The other way round: what the device tells whoever is connected. */
export interface DeviceListener {
  /** The driver wants to know of used buffers. */
  notifyQueue(index: number): void
  /** The configuration space or the device status changed. */
  notifyConfig(): void
}
