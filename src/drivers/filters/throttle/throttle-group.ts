// A throttle group: nodes that share limits. Requests that must wait queue at their node; the nodes of a group take turns,
// one timer for each direction. Time comes from the graph's clock only.

import type { Clock, Timer } from '../../../common/clock.js'
import { LeakyBucket } from './leaky-bucket.js'
import { BUCKETS, type BucketName, isLimited, type ThrottleLimits } from './limits.js'

export type Direction = 'read' | 'write'

interface Waiting {
  bytes: number
  go(): void
}

/** One node's part in a group. Made by `join`. */
export interface ThrottleMember {
  readonly group: ThrottleGroup
  readonly queues: Record<Direction, Waiting[]>
  /** Reasons to let everything through, such as a drain that waits. */
  lifted: number
}

/** How many milliseconds a timer may be early for its request to go nevertheless; keeps rounding from costing a turn. */
const EARLY_MS = 1e-6

const OF_DIRECTION: Record<Direction, readonly BucketName[]> = {
  read: ['bps-total', 'bps-read', 'iops-total', 'iops-read'],
  write: ['bps-total', 'bps-write', 'iops-total', 'iops-write'],
}

/** Limits shared by its members. */
export class ThrottleGroup {
  readonly name: string
  readonly #clock: Clock
  readonly #members: ThrottleMember[] = []
  readonly #buckets: Record<BucketName, LeakyBucket>
  readonly #timers: Record<Direction, Timer | undefined> = { read: undefined, write: undefined }
  /** The member whose turn comes first, by direction. */
  readonly #turn: Record<Direction, number> = { read: 0, write: 0 }
  readonly #waiting: Record<Direction, number> = { read: 0, write: 0 }
  #lastServed: Direction = 'write'
  #limits: ThrottleLimits
  #limited: boolean
  #leakedAt: number

  constructor(name: string, limits: ThrottleLimits, clock: Clock) {
    this.name = name
    this.#clock = clock
    this.#limits = limits
    this.#limited = isLimited(limits)
    this.#leakedAt = clock.now()
    const bucket = (of: BucketName) => new LeakyBucket(limits.buckets[of])
    this.#buckets = {
      'bps-total': bucket('bps-total'),
      'bps-read': bucket('bps-read'),
      'bps-write': bucket('bps-write'),
      'iops-total': bucket('iops-total'),
      'iops-read': bucket('iops-read'),
      'iops-write': bucket('iops-write'),
    }
  }

  get limits(): ThrottleLimits {
    return this.#limits
  }

  get memberCount(): number {
    return this.#members.length
  }

  /** Requests that wait, of all members. */
  get waiting(): number {
    return this.#waiting.read + this.#waiting.write
  }

  /** Adds a node. */
  join(): ThrottleMember {
    const member: ThrottleMember = { group: this, queues: { read: [], write: [] }, lifted: 0 }
    this.#members.push(member)
    return member
  }

  /** Removes a node; nothing of it waits any more. */
  leave(member: ThrottleMember): void {
    this.#release(member)
    const index = this.#members.indexOf(member)
    if (index >= 0) this.#members.splice(index, 1)
    for (const direction of ['read', 'write'] as const) {
      if (this.#turn[direction] > index) this.#turn[direction]--
    }
    this.#serveBoth()
  }

  /** Takes new limits for all members at once; what waits is judged anew, with empty buckets. */
  setLimits(limits: ThrottleLimits): void {
    this.#limits = limits
    this.#limited = isLimited(limits)
    this.#leakedAt = this.#clock.now()
    for (const name of BUCKETS) this.#buckets[name].setLimit(limits.buckets[name])
    this.#serveBoth()
  }

  /** Undefined: the request may go now. Otherwise a promise that resolves when it may. */
  admit(member: ThrottleMember, direction: Direction, bytes: number): Promise<void> | undefined {
    if (!this.#limited) return undefined
    if (member.lifted > 0 || (this.#waiting[direction] === 0 && this.#waitMs(direction) <= EARLY_MS)) {
      this.#account(direction, bytes)
      return undefined
    }
    return new Promise((resolve) => {
      member.queues[direction].push({ bytes, go: resolve })
      this.#waiting[direction]++
      this.#arm(direction)
    })
  }

  /** Lets everything of `member` through, until `lower` was called as often. */
  lift(member: ThrottleMember): void {
    member.lifted++
    this.#release(member)
  }

  /** Ends one `lift`. */
  lower(member: ThrottleMember): void {
    if (member.lifted > 0) member.lifted--
  }

  #release(member: ThrottleMember): void {
    for (const direction of ['read', 'write'] as const) {
      for (const waiting of member.queues[direction].splice(0)) this.#go(direction, waiting)
      if (this.#waiting[direction] === 0) this.#disarm(direction)
    }
  }

  /** The direction that went last comes second: both may share a rate, and the first would take every turn of it. */
  #serveBoth(): void {
    const first = this.#lastServed === 'read' ? 'write' : 'read'
    const second = this.#lastServed
    this.#serve(first)
    this.#serve(second)
  }

  /** Lets go whoever may, members in turn, and sets the timer for the next. */
  #serve(direction: Direction): void {
    this.#disarm(direction)
    while (this.#waiting[direction] > 0) {
      if (this.#limited && this.#waitMs(direction) > EARLY_MS) {
        this.#arm(direction)
        return
      }
      const next = this.#takeTurn(direction)
      if (next === undefined) return
      this.#lastServed = direction
      this.#go(direction, next)
    }
  }

  #takeTurn(direction: Direction): Waiting | undefined {
    const count = this.#members.length
    for (let step = 0; step < count; step++) {
      const index = (this.#turn[direction] + step) % count
      const waiting = this.#members[index]?.queues[direction].shift()
      if (waiting === undefined) continue
      this.#turn[direction] = (index + 1) % count
      return waiting
    }
    return undefined
  }

  #go(direction: Direction, waiting: Waiting): void {
    this.#waiting[direction]--
    this.#account(direction, waiting.bytes)
    waiting.go()
  }

  #arm(direction: Direction): void {
    if (this.#timers[direction] !== undefined) return
    this.#timers[direction] = this.#clock.after(this.#waitMs(direction), () => {
      this.#timers[direction] = undefined
      this.#serveBoth()
    })
  }

  #disarm(direction: Direction): void {
    this.#timers[direction]?.cancel()
    this.#timers[direction] = undefined
  }

  #account(direction: Direction, bytes: number): void {
    if (!this.#limited) return
    this.#leak()
    const { iopsSize } = this.#limits
    const requests = iopsSize > 0 && bytes > iopsSize ? bytes / iopsSize : 1
    for (const name of OF_DIRECTION[direction]) this.#buckets[name].pour(name.startsWith('bps') ? bytes : requests)
  }

  #waitMs(direction: Direction): number {
    this.#leak()
    let longest = 0
    for (const name of OF_DIRECTION[direction]) longest = Math.max(longest, this.#buckets[name].waitMs())
    return longest
  }

  #leak(): void {
    const now = this.#clock.now()
    const passed = now - this.#leakedAt
    if (passed <= 0) return
    this.#leakedAt = now
    for (const name of BUCKETS) this.#buckets[name].leak(passed)
  }
}
