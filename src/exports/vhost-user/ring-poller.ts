// Looks at the rings without being kicked while requests flow, and asks for kicks when they do not: a look costs a
// microsecond, a kick and the wake-up that follows ten times as much. How long to look in vain adapts itself: longer where
// a kick came soon after the looking had ended, shorter where none did. Where looking finds nothing again and again although
// kicks come, it may be what keeps the driver from its processor: then kicks alone do for a while. Idle, nothing runs.

import type { Clock, Timer } from '../../common/clock.js'
import type { BackendDevice } from './backend-device.js'

/** Longest time without a find before kicks are asked for, in milliseconds, and where it begins. */
const LONGEST_MS = 0.2
const FIRST_MS = 0.05
/** A window shorter than this is none. */
const SHORTEST_MS = 0.01
/** The longest while requests are under way: whoever carries them out, or the driver, may need the processor. */
const BUSY_MS = 0.01
/** So many looks in vain more than finds, and the driver is left to kick; for so many kicks, doubled each time up to a limit. */
const MOST_MISSES = 8
const FIRST_REST = 64
const LONGEST_REST = 1024
/** How often rings without a kick are looked at while idle. */
const UNKICKED_MS = 1
/** How often what has to hold while rings run is checked. */
const CHECK_MS = 10

/** What a poller asks of the connection. */
export interface PollerHost {
  /** Looked at now and then, before the rings are: false ends the polling. */
  check(): boolean
  /** Whether a ring runs whose driver has no way to kick. */
  readonly hasUnkicked: boolean
}

/** The looking of one connection. */
export class RingPoller {
  /** Turns on which rings were looked at, and how many of them found something; for tests and tuning. */
  readonly counts = { looks: 0, finds: 0, sleeps: 0 }

  private readonly device: BackendDevice
  private readonly clock: Clock
  private readonly host: PollerHost
  private running = true
  /** A turn is due. */
  private scheduled = false
  private window = FIRST_MS
  private lastFind = 0
  /** Windows that ended in vain, less finds by looking; kicks to come before looking is tried again, and for the next time. */
  private misses = 0
  private rest = 0
  private nextRest = FIRST_REST
  private lastCheck = Number.NEGATIVE_INFINITY
  private timer: Timer | undefined
  private readonly onTurn = (): void => this.turn()
  private readonly onTimer = (): void => {
    this.timer = undefined
    this.kicked()
  }

  constructor(device: BackendDevice, clock: Clock, host: PollerHost) {
    this.device = device
    this.clock = clock
    this.host = host
  }

  /** A kick came, or a ring was started: looks at once. */
  kicked(): void {
    if (!this.running) return
    const now = this.clock.now()
    if (!this.scheduled && this.counts.finds > 0) this.adapt(now - this.lastFind)
    this.look(now)
    this.schedule()
  }

  /** The driver was told of something and may answer soon: looks again from the next turn on. */
  expect(): void {
    if (!this.running || this.scheduled || this.window === 0) return
    this.lastFind = this.clock.now()
    this.schedule()
  }

  /** Ends it. */
  stop(): void {
    this.running = false
    this.timer?.cancel()
  }

  private turn(): void {
    this.scheduled = false
    if (!this.running) return
    const now = this.clock.now()
    const found = this.look(now)
    if (found && this.misses > 0) this.misses--
    if (found || now - this.lastFind < this.patience || this.device.armNotifications()) {
      this.schedule()
      return
    }
    this.counts.sleeps++
    if (this.window > 0 && this.device.requestsInFlight === 0) this.missed()
    if (this.host.hasUnkicked) this.timer ??= this.clock.after(UNKICKED_MS, this.onTimer, true)
  }

  /** How long to look in vain now. */
  private get patience(): number {
    return this.device.requestsInFlight > 0 ? Math.min(this.window, BUSY_MS) : this.window
  }

  private look(now: number): boolean {
    if (now - this.lastCheck >= CHECK_MS) {
      this.lastCheck = now
      if (!this.host.check()) {
        this.running = false
        return false
      }
    }
    this.counts.looks++
    const found = this.device.poll()
    if (found) {
      this.counts.finds++
      this.lastFind = now
    }
    return found
  }

  private schedule(): void {
    if (this.scheduled || !this.running) return
    this.scheduled = true
    this.clock.nextTurn(this.onTurn)
  }

  private missed(): void {
    this.misses++
    if (this.misses <= MOST_MISSES) return
    this.misses = 0
    this.window = 0
    this.rest = this.nextRest
    this.nextRest = Math.min(2 * this.nextRest, LONGEST_REST)
  }

  /** `gap`: from the last find to the kick that ended the sleep. */
  private adapt(gap: number): void {
    if (this.rest > 0) this.rest--
    else if (gap <= LONGEST_MS) this.window = Math.min(LONGEST_MS, Math.max(this.window * 2, FIRST_MS))
    else this.window = this.window / 2 < SHORTEST_MS ? 0 : this.window / 2
  }
}
