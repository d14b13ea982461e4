// What both ends of a ring between two threads have: a bell to sleep on, and the other's to ring.

import type { GuestMemory } from '../memory/guest-memory.js'
import { Doorbell } from './doorbell.js'
import { memoryOf, type SharedRing } from './shared-ring.js'

/** One end. */
export abstract class RingEnd {
  readonly memory: GuestMemory

  private readonly bell: Doorbell
  private readonly peer: Doorbell

  /** The offsets are those of its own bell and of the other end's. */
  constructor(ring: SharedRing, own: number, other: number) {
    this.memory = memoryOf(ring)
    this.bell = new Doorbell(ring.buffer, own)
    this.peer = new Doorbell(ring.buffer, other)
  }

  /** How often this end has notified the other. */
  get notified(): number {
    return this.peer.rung
  }

  /** How often it was notified. */
  get pinged(): number {
    return this.bell.answered
  }

  /** Tells the other end that nothing comes from here any more. */
  close(): void {
    this.peer.close()
  }

  /** Asks for notifications, unless what is waited for, `after` chains or any, is there. */
  protected abstract look(after: number): boolean
  /** What a wait says that ended without it: because the other end has closed, or the time is over. */
  protected abstract atEnd(): boolean
  /** Nothing will come, whoever rings. */
  protected abstract readonly over: boolean

  protected ringPeer(): void {
    this.peer.ring()
  }

  protected sleep(after: number, timeoutMs: number): boolean {
    for (;;) {
      const seen = this.bell.read()
      if (this.look(after)) return true
      if (this.over || this.bell.wait(seen, timeoutMs) !== 'rung') return this.atEnd()
    }
  }

  protected async sleepAsync(after: number, timeoutMs: number): Promise<boolean> {
    for (;;) {
      const seen = this.bell.read()
      if (this.look(after)) return true
      if (this.over || (await this.bell.waitAsync(seen, timeoutMs)) !== 'rung') return this.atEnd()
    }
  }
}
