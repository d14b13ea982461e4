// The driver's end of a ring between two threads: a driver queue that rings and sleeps by itself.

import { createDriverQueue } from '../driver-queue/create-driver-queue.js'
import type { DriverQueue } from '../driver-queue/driver-queue.js'
import { RingEnd } from './ring-end.js'
import { DEVICE_BELL, DRIVER_BELL, type SharedRing } from './shared-ring.js'

/** One end, over an empty ring. */
export class SharedRingDriver extends RingEnd {
  /** Chains are built, ended and reaped here. */
  readonly queue: DriverQueue

  constructor(ring: SharedRing) {
    super(ring, DRIVER_BELL, DEVICE_BELL)
    this.queue = createDriverQueue(this.memory, ring.plan, ring.features)
    this.queue.disableNotifications()
  }

  /** Shows the device all chains that have ended, and wakes it where it asks for that. */
  publish(): void {
    if (this.queue.publish()) this.ringPeer()
  }

  /**
   * Blocks until `after` more chains have come back, or about so many; without an event index, until one has. Where the
   * other end has closed, or the time is over: whether any has.
   */
  wait(after = 1, timeoutMs = Number.POSITIVE_INFINITY): boolean {
    return this.sleep(after, timeoutMs)
  }

  /** As {@link wait}, for a thread whose event loop goes on meanwhile. */
  waitAsync(after = 1, timeoutMs = Number.POSITIVE_INFINITY): Promise<boolean> {
    return this.sleepAsync(after, timeoutMs)
  }

  protected look(after: number): boolean {
    if (!this.queue.enableNotifications(after)) return false
    this.queue.disableNotifications()
    return true
  }

  protected atEnd(): boolean {
    return this.queue.pending() > 0
  }

  protected get over(): boolean {
    return false
  }
}
