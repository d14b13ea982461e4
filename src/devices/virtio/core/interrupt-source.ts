// The device's notifications on their way to the driver: the vectors a transport has set, the interrupt status for
// transports that have none (virtio 1.2, 2.3, 4.1.4.5 and 4.2.2), and a notifier that belongs to somebody else.

import type { Lane } from './lane.js'
import { type GuestNotifier, VIRTIO_MSI_NO_VECTOR } from './notifiers.js'

/** Bits of the interrupt status. */
export const VIRTIO_INTERRUPT_USED = 1
export const VIRTIO_INTERRUPT_CONFIG = 2

/** What a device interrupts with. */
export class InterruptSource {
  /** Causes that have not been acknowledged. */
  status = 0
  /** Vector of configuration change notifications. */
  configVector = VIRTIO_MSI_NO_VECTOR

  private readonly notifier: GuestNotifier
  private readonly report: (error: unknown) => void

  constructor(notifier: GuestNotifier, report: (error: unknown) => void) {
    this.notifier = notifier
    this.report = report
  }

  /** The driver wants to know of used buffers. What the notifier throws stays with whose it is: the queue goes on. */
  queue(lane: Lane): void {
    this.status |= VIRTIO_INTERRUPT_USED
    try {
      this.notifier.notifyQueue(lane.index, lane.vector)
    } catch (error) {
      this.report(error)
    }
  }

  /** The configuration space or the device status changed. */
  config(): void {
    this.status |= VIRTIO_INTERRUPT_CONFIG
    try {
      this.notifier.notifyConfig?.(this.configVector)
    } catch (error) {
      this.report(error)
    }
  }

  /** The driver has seen causes. */
  acknowledge(causes: number): void {
    this.status &= ~causes
  }

  /** Back to the beginning, but for the vectors of queues. */
  reset(): void {
    this.status = 0
    this.configVector = VIRTIO_MSI_NO_VECTOR
  }
}
