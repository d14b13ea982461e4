// The device's end of a ring between two threads: a device queue that rings and sleeps by itself.

import type { GuestMemory } from '../memory/guest-memory.js'
import { createDeviceQueue } from '../queue/create-queue.js'
import type { DeviceQueue } from '../queue/device-queue.js'
import { Doorbell } from './doorbell.js'
import { DEVICE_BELL, DRIVER_BELL, memoryOf, type SharedRing } from './shared-ring.js'

/** One end. */
export class SharedRingDevice {
  readonly memory: GuestMemory
  /** Chains are fetched and pushed here. */
  readonly queue: DeviceQueue

  private readonly bell: Doorbell
  private readonly peer: Doorbell

  constructor(ring: SharedRing) {
    this.memory = memoryOf(ring)
    this.queue = createDeviceQueue(this.memory, ring.plan.config, ring.plan.size, ring.features)
    this.bell = new Doorbell(ring.buffer, DEVICE_BELL)
    this.peer = new Doorbell(ring.buffer, DRIVER_BELL)
    this.queue.suppressNotifications()
  }

  /** How often this end has notified the other. */
  get notified(): number {
    return this.peer.rung
  }

  /** How often it was notified. */
  get pinged(): number {
    return this.bell.answered
  }

  /** Shows the driver all that was pushed, and wakes it where it asks for that. */
  publish(): void {
    if (this.queue.publish()) this.peer.ring()
  }

  /** Blocks until a chain is available. False where the other end has closed, or the time is over, and none is. */
  wait(timeoutMs = Number.POSITIVE_INFINITY): boolean {
    const { queue, bell } = this
    for (;;) {
      const seen = bell.read()
      if (this.look()) return true
      if (queue.fault !== undefined || bell.wait(seen, timeoutMs) !== 'rung') return false
    }
  }

  /** As {@link wait}, for a thread whose event loop goes on meanwhile. */
  async waitAsync(timeoutMs = Number.POSITIVE_INFINITY): Promise<boolean> {
    const { queue, bell } = this
    for (;;) {
      const seen = bell.read()
      if (this.look()) return true
      if (queue.fault !== undefined || (await bell.waitAsync(seen, timeoutMs)) !== 'rung') return false
    }
  }

  /** Tells the other end that nothing comes back any more. */
  close(): void {
    this.peer.close()
  }

  /** Asks for notifications, unless a chain is there. */
  private look(): boolean {
    if (!this.queue.allowNotifications()) return false
    this.queue.suppressNotifications()
    return true
  }
}
