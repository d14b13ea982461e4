// What a transport (PCI, MMIO, a vhost-user socket, a test) calls on a device (virtio 1.2, chapter 2). The other way round
// the device has two callbacks: used buffer and configuration change notifications.

import type { QueueConfig } from '../queue/queue-layout.js'

/** A device as its transport sees it. All calls are synchronous; none throws for what a driver does, but `enableQueue`. */
export interface VirtioTransport {
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
  /** Throws BlockError where the queue cannot run so. */
  enableQueue(index: number, config: QueueConfig): void
  kick(queueIndex: number): void
}
