// What a transport (PCI, MMIO, a vhost-user socket, a test) calls on a device (virtio 1.2, chapter 2). The other way round
// the device has a GuestNotifier.

import type { QueueState } from '../queue/device-queue.js'
import type { InflightTracker } from '../queue/inflight-tracker.js'
import type { QueueConfig } from '../queue/queue-layout.js'
import type { EarlierList } from '../queue/taken-heads.js'

/** A device as its transport sees it. Unless it says otherwise a call is synchronous and throws for nothing a driver does. */
export interface VirtioTransport {
  /** Virtio device ID (virtio 1.2, 5). */
  readonly deviceId: number
  readonly queueCount: number
  /** In entries. */
  readonly queueSizeMax: number
  readonly configGeneration: number
  readFeatures(select: number): number
  writeFeatures(select: number, value: number): void
  readStatus(): number
  /** Sets bits; 0 begins a reset, which is complete when the status reads 0. */
  writeStatus(value: number): void
  readConfig(offset: number, into: Uint8Array): void
  writeConfig(offset: number, data: Uint8Array): void
  /** Starts a queue, at its beginning or where another one stood. Throws BlockError where the queue cannot run so. */
  enableQueue(index: number, config: QueueConfig, state?: QueueState, tracker?: InflightTracker): void
  /** Chains taken in an earlier life of a running queue and never returned: served before anything new. How many. */
  refetch(index: number, heads: readonly number[], lists?: readonly EarlierList[]): number
  isQueueRunning(index: number): boolean
  /** Stops a queue when its requests have ended; where it stood. Throws EINVAL where it does not run, EBUSY while it stops. */
  stopQueue(index: number): Promise<QueueState>
  kick(queueIndex: number): void
}
