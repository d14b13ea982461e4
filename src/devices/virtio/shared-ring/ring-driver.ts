// The driver's end of a ring between two threads: a driver queue that rings and sleeps by itself.

import { createDriverQueue } from '../driver-queue/create-driver-queue.js'
import type { DriverQueue } from '../driver-queue/driver-queue.js'
import type { GuestMemory } from '../memory/guest-memory.js'
import { Doorbell } from './doorbell.js'
import { DEVICE_BELL, DRIVER_BELL, memoryOf, type SharedRing } from './shared-ring.js'

/** One end, over an empty ring. */
export class SharedRingDriver {
  readonly memory: GuestMemory
  /** Chains are built, ended and reaped here. */
  readonly queue: DriverQueue

  private readonly bell: Doorbell
  private readonly peer: Doorbell

  constructor(ring: SharedRing) {
    this.memory = memoryOf(ring)
    this.queue = createDriverQueue(this.memory, ring.plan, ring.features)
    this.bell = new Doorbell(ring.buffer, DRIVER_BELL)
    this.peer = new Doorbell(ring.buffer, DEVICE_BELL)
    this.queue.disableNotifications()
  }

  /** How often this end has notified the other. */
  get notified(): number {
    return this.peer.rung
  }

  /** How often it was notified. */
  get pinged(): number {
    return this.bell.answered
  }

  /** Shows the device all chains that have ended, and wakes it where it asks for that. */
  publish(): void {
    if (this.queue.publish()) this.peer.ring()
  }

  /**
   * Blocks until `after` more chains have come back, or about so many; without an event index, until one has. Where the
   * other end has closed, or the time is over: whether any has.
   */
  wait(after = 1, timeoutMs = Number.POSITIVE_INFINITY): boolean {
    const { queue, bell } = this
    for (;;) {
      const seen = bell.read()
      if (this.look(after)) return true
      if (bell.wait(seen, timeoutMs) !== 'rung') return queue.pending() > 0
    }
  }

  /** As {@link wait}, for a thread whose event loop goes on meanwhile. */
  async waitAsync(after = 1, timeoutMs = Number.POSITIVE_INFINITY): Promise<boolean> {
    const { queue, bell } = this
    for (;;) {
      const seen = bell.read()
      if (this.look(after)) return true
      if ((await bell.waitAsync(seen, timeoutMs)) !== 'rung') return queue.pending() > 0
    }
  }

  /** Tells the other end that nothing comes any more. */
  close(): void {
    this.peer.close()
  }

  /** Asks for notifications, unless `after` chains are there. */
  private look(after: number): boolean {
    if (!this.queue.enableNotifications(after)) return false
    this.queue.disableNotifications()
    return true
  }
}
