// What the export drives: a virtio device through the calls of a transport, and nothing of its kind. `VirtioDevice` has them.

import type { GuestMemory } from '../../devices/virtio/memory/guest-memory.js'
import type { InflightTracker } from '../../devices/virtio/queue/inflight-tracker.js'
import type { QueueConfig } from '../../devices/virtio/queue/queue-layout.js'
import type { QueueState } from '../../devices/virtio/queue/queue-state.js'
import type { EarlierList } from '../../devices/virtio/queue/taken-heads.js'
import type { Completion } from '../../io/node-io.js'

/** Who keeps a record of a queue's requests, and what an earlier life has left of them. */
export interface QueueRecord {
  readonly tracker: InflightTracker
  /** Taken in an earlier life and never returned, in the order in which they were taken. */
  readonly heads: readonly number[]
  /** Of a packed queue: the descriptors of each head. */
  readonly lists: readonly EarlierList[]
}

/** The device behind a socket. */
export interface BackendDevice {
  readonly queueCount: number
  readonly queueSizeMax: number
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
  /** Throws a BlockError where the queue cannot run so. What `record` has left is fetched before anything new. */
  enableQueue(index: number, config: QueueConfig, state?: QueueState, record?: QueueRecord): void
  /** Stops a queue when its requests have ended; where it stood. */
  stopQueue(index: number): Promise<QueueState>
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
