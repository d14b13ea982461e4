// The device's end of a ring between two threads: a device queue that rings and sleeps by itself.

import { createDeviceQueue } from '../queue/create-queue.js'
import type { DeviceQueue } from '../queue/device-queue.js'
import { RingEnd } from './ring-end.js'
import { DEVICE_BELL, DRIVER_BELL, type SharedRing } from './shared-ring.js'

/** One end. */
export class SharedRingDevice extends RingEnd {
  /** Chains are fetched and pushed here. */
  readonly queue: DeviceQueue

  constructor(ring: SharedRing) {
    super(ring, DEVICE_BELL, DRIVER_BELL)
    this.queue = createDeviceQueue(this.memory, ring.plan.config, ring.plan.size, ring.features)
    this.queue.suppressNotifications()
  }

  /** Shows the driver all that was pushed, and wakes it where it asks for that. */
  publish(): void {
    if (this.queue.publish()) this.ringPeer()
  }

  /** Blocks until a chain is available. False where the other end has closed, or the time is over, and none is. */
  wait(timeoutMs = Number.POSITIVE_INFINITY): boolean {
    return this.sleep(1, timeoutMs)
  }

  /** As {@link wait}, for a thread whose event loop goes on meanwhile. */
  waitAsync(timeoutMs = Number.POSITIVE_INFINITY): Promise<boolean> {
    return this.sleepAsync(1, timeoutMs)
  }

  protected look(): boolean {
    if (!this.queue.allowNotifications()) return false
    this.queue.suppressNotifications()
    return true
  }

  protected atEnd(): boolean {
    return false
  }

  protected get over(): boolean {
    return this.queue.fault !== undefined
  }
}
