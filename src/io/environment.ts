// What all nodes of one graph share on the I/O side: time, trace, and who waits for requests to end.

import { type Clock, hostClock } from '../common/clock.js'
import type { ContextTracker } from '../common/context-tracker.js'
import type { HostServices } from '../common/host-services.js'
import { Trace } from '../common/trace.js'

/** Somebody who wants to look again whenever requests end or a busy parent comes to rest. */
export interface DrainWaiter {
  wake(): void
}

/** One per graph. Made by global state; `coarseNow` and `drainWaiters` are written by io/ only. */
export interface IoEnvironment {
  readonly clock: Clock
  readonly trace: Trace
  /** How long somebody may wait for the main loop or a drain before a `stall` event names the holder. Milliseconds. */
  readonly stallAfterMs: number
  readonly tracker: ContextTracker | undefined
  /** What the host gives to drivers: compression, cryptography, chance, the date. */
  readonly services: HostServices
  /** `clock.now()` as of a recent turn; requests are stamped with it, since a clock read costs more than a request. */
  coarseNow: number
  /** Requests stamped since the clock was read. */
  stamped: number
  readonly drainWaiters: Set<DrainWaiter>
}

/** What may be chosen for an environment. */
export interface EnvironmentOptions {
  clock?: Clock
  /** Milliseconds; 5000 by default. */
  stallAfterMs?: number
  tracker?: ContextTracker | undefined
  /** None by default. */
  services?: HostServices
}

/** The environment of a new graph. */
export function createEnvironment(options: EnvironmentOptions = {}): IoEnvironment {
  const clock = options.clock ?? hostClock
  return {
    clock,
    trace: new Trace(),
    stallAfterMs: options.stallAfterMs ?? 5000,
    tracker: options.tracker,
    services: options.services ?? {},
    coarseNow: clock.now(),
    stamped: 0,
    drainWaiters: new Set(),
  }
}

/** Lets everybody who waits for a drained section look again. */
export function wakeDrains(environment: IoEnvironment): void {
  for (const waiter of environment.drainWaiters) waiter.wake()
}

/** Requests that may share one reading of the clock. */
const STAMPS_PER_READING = 64

/**
 * The time for the stamp of a request that begins: read anew where nothing else is in flight at its node (`alone`), and after
 * so many requests, so that a stamp is old neither after a pause nor under a steady load.
 */
export function stampTime(environment: IoEnvironment, alone: boolean): number {
  if (alone || ++environment.stamped >= STAMPS_PER_READING) {
    environment.stamped = 0
    environment.coarseNow = environment.clock.now()
  }
  // Whole milliseconds: a fraction would be a box of its own on the heap.
  return Math.floor(environment.coarseNow)
}
