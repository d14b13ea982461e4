// Serves the queues of a device, whatever the device is. Synchronous work is bounded: after a budget of chains or time the
// rest waits for the next turn. Completions of one turn are shown to the driver together.
//
// While held (a drained section, a pause) nothing is fetched; what has begun passes through, and the service is busy until
// all of it has been delivered.

import type { Clock } from '../../../common/clock.js'
import { KiB } from '../../../common/units.js'
import type { DescriptorChain } from '../memory/descriptor-chain.js'
import type { DeviceQueue } from '../queue/device-queue.js'
import { createLane, type Lane } from './lane.js'
import { onlyLeft, type SuspendedQueue, suspended } from './left-chains.js'

/** Chains fetched in one turn, and the milliseconds spent on them. */
const TURN_CHAINS = 256
const TURN_MS = 1
/** The clock is read once for so many chains or bytes: a reading costs as much as a small part of a request. */
const CLOCK_STEP = 32
const CLOCK_BYTES = 128 * KiB
/** Milliseconds that a completion waits for the end of the turn: the driver could go on meanwhile. */
const SHOW_MS = 0.1

/** The part of a device that knows what its chains mean. */
export interface ChainServer {
  /**
   * Takes the next chain of a queue and begins what it asks for. False where none was taken; a broken queue has its fault
   * set.
   */
  take(lane: Lane, queue: DeviceQueue): boolean
  /** Nothing more is taken for now: begins what was kept back to be joined with more. */
  issue?(lane: Lane): void
  /** The chains of a queue that were set aside. */
  setAside?(lane: Lane): readonly DescriptorChain[]
  /** A queue ends, or every one: what was set aside of it is forgotten. */
  drop?(lane?: Lane): void
}

/** What the service needs of its device. */
export interface ServiceHost {
  /** Whether the driver is ready and neither side has given up. */
  readonly running: boolean
  notifyQueue(lane: Lane): void
  /** The driver broke the rules; called once for a fault. */
  broken(reason: string): void
  /** Nothing is in flight and all has been delivered. */
  atRest(): void
  /** The last hold has been released. */
  released(): void
}

/** The lanes of a device. */
export class QueueService {
  readonly lanes: readonly Lane[]
  /** Requests begun and not ended, of any life of any queue; those set aside by their device are not. */
  inFlight = 0
  /** Somebody looks at the queues by {@link poll}: drivers are not asked for notifications. */
  polling = false

  private readonly clock: Clock
  private readonly server: ChainServer
  private readonly host: ServiceHost
  private holds = 0

  constructor(server: ChainServer, queues: number, clock: Clock, host: ServiceHost) {
    this.server = server
    this.clock = clock
    this.host = host
    this.lanes = Array.from({ length: queues }, (_, index) => createLane(index, (lane) => this.turn(lane)))
  }

  /** Looks at a queue. A kick while it is being served, or will be on the next turn, asks for nothing new. */
  kick(lane: Lane): void {
    const { queue } = lane
    if (queue === undefined || lane.serving || !this.mayFetch(lane, queue)) return
    if (lane.scheduled && lane.fetchOnTurn) return
    this.serve(lane, queue)
  }

  /** Looks at every queue, once, without a kick; whether anything was there. */
  poll(): boolean {
    this.polling = true
    let found = false
    for (const lane of this.lanes) {
      const { queue } = lane
      if (queue === undefined || lane.serving || !this.mayFetch(lane, queue)) continue
      if (this.serve(lane, queue)) found = true
    }
    return found
  }

  /** Ends polling: drivers are asked for notifications. True where something has come meanwhile; it is not served yet. */
  arm(): boolean {
    this.polling = false
    let found = false
    for (const lane of this.lanes) if (!lane.serving && this.look(lane)) found = true
    return found
  }

  /** A queue has begun to run, or its driver to be ready: what it made available before is served on the next turn. */
  started(lane: Lane): void {
    if (this.look(lane)) this.schedule(lane, true)
  }

  /** Requests fetched and not issued yet, under way, or completed and not yet shown to the driver. */
  get busy(): boolean {
    if (this.inFlight > 0) return true
    for (const lane of this.lanes) if (lane.serving || lane.queue?.unpublished === true) return true
    return false
  }

  /** Whether nothing may be fetched. */
  get held(): boolean {
    return this.holds > 0
  }

  /** Stops fetching. Holds nest. */
  hold(): void {
    this.holds++
  }

  /** Fetches again from the next turn on. All queues are looked at: their drivers may have been told not to kick. */
  release(): void {
    this.holds--
    if (this.holds > 0) return
    for (const lane of this.lanes) if (lane.queue !== undefined) this.schedule(lane, true)
    this.host.released()
  }

  /**
   * Takes no more from a queue and ends it; where it stood. `answer`: once every head is back and shown to the driver, chains
   * of an earlier life too. `keep`: once nothing is under way, with the chains that are left.
   */
  stop(lane: Lane, halt: 'answer' | 'keep'): Promise<SuspendedQueue> {
    lane.halt = halt
    return new Promise((resolve) => {
      lane.onStopped = resolve
      if (lane.queue !== undefined && !lane.serving) this.deliver(lane, lane.queue)
      if (halt === 'answer' && lane.queue !== undefined && lane.queue.earlier > 0) this.schedule(lane, true)
      this.rest(lane)
    })
  }

  /**
   * Ends the life of every queue. What is still under way comes back without touching a ring. Who polls does so anew: a
   * driver of a later life must not go unheard because of one that polled in this one.
   */
  detach(): void {
    this.polling = false
    for (const lane of this.lanes) {
      const { queue } = lane
      if (queue === undefined) continue
      // Who waits for a queue to stop is told where it stood: what has come back counts.
      if (lane.onStopped !== undefined) this.publish(lane, queue)
      this.end(lane, queue)
    }
  }

  /**
   * Takes all that a queue has while another one is being served: what the other has to say may be about it. At most as many
   * chains as a driver can have made available before.
   */
  takeAll(lane: Lane): void {
    const { queue, serving } = lane
    if (queue === undefined) return
    lane.serving = true
    try {
      this.fetch(lane, queue, queue.size, Number.POSITIVE_INFINITY)
    } finally {
      lane.serving = serving
    }
    this.checkFault(queue)
    this.answered(lane)
  }

  /** Shows at once what was pushed: something that is shown elsewhere tells of it. */
  show(lane: Lane): void {
    if (lane.queue?.unpublished === true) this.deliver(lane, lane.queue)
  }

  /** A request of a lane has ended outside of its turn. */
  answered(lane: Lane): void {
    if (lane.queue?.unpublished === true) this.schedule(lane, false)
    else this.rest(lane)
  }

  /** Shows what was pushed on the next turn, and looks at the queue, too, where `fetch`. */
  schedule(lane: Lane, fetch: boolean): void {
    if (fetch) lane.fetchOnTurn = true
    if (lane.scheduled) return
    lane.scheduled = true
    this.clock.nextTurn(lane.onTurn)
  }

  private turn(lane: Lane): void {
    const { queue, fetchOnTurn } = lane
    lane.scheduled = false
    lane.fetchOnTurn = false
    if (queue !== undefined) {
      this.deliver(lane, queue)
      // Not before the driver is ready either: a queue left half way would ask for no kicks, and none would ever come.
      if (fetchOnTurn && !lane.serving && this.mayFetch(lane, queue)) this.serve(lane, queue)
      this.checkFault(queue)
    }
    this.rest(lane)
  }

  /** Whether anything was taken. */
  private serve(lane: Lane, queue: DeviceQueue): boolean {
    const deadline = this.clock.now() + TURN_MS
    let budget = TURN_CHAINS
    lane.serving = true
    try {
      do {
        this.suppress(lane, queue)
        budget = this.fetch(lane, queue, budget, deadline)
        this.deliver(lane, queue)
        if (!this.mayFetch(lane, queue) || this.polling) break
        if (budget <= 0) {
          this.schedule(lane, true)
          break
        }
      } while (this.allow(lane, queue) && !lane.onDemand)
    } finally {
      lane.serving = false
    }
    this.checkFault(queue)
    // A driver that reset the device from its notification may have kicked the new queue, which found the lane busy.
    if (lane.queue !== undefined && lane.queue !== queue) this.schedule(lane, true)
    // A section, a stop or a reset that began meanwhile has seen requests that were not delivered yet.
    if (this.held || lane.halt !== undefined || !queue.live) this.rest(lane)
    return budget < TURN_CHAINS
  }

  /** Takes chains until the queue is empty, broken or stopped, or the budget is spent; what is left of the budget. */
  private fetch(lane: Lane, queue: DeviceQueue, budget: number, deadline: number): number {
    const { server } = this
    let left = budget
    let showAt = deadline - TURN_MS + SHOW_MS
    while (left > 0 && this.mayFetch(lane, queue) && server.take(lane, queue)) {
      left--
      if (left % CLOCK_STEP === 0 || lane.takenBytes >= CLOCK_BYTES) {
        lane.takenBytes = 0
        const now = this.clock.now()
        if (now >= deadline) left = 0
        else if (now >= showAt) {
          this.deliver(lane, queue)
          showAt = now + SHOW_MS
        }
      }
    }
    server.issue?.(lane)
    return left
  }

  private mayFetch(lane: Lane, queue: DeviceQueue): boolean {
    // What a queue took over from an earlier life is still its to serve where it has to leave nothing.
    const open = lane.halt === undefined || (lane.halt === 'answer' && queue.earlier > 0)
    return this.holds === 0 && open && queue.live && queue.fault === undefined && this.host.running
  }

  private checkFault(queue: DeviceQueue): void {
    if (queue.live && queue.fault !== undefined && this.host.running) this.host.broken(queue.fault)
  }

  private suppress(lane: Lane, queue: DeviceQueue): void {
    // Once is enough: a flag that is written at every look travels between the two ends' caches.
    if (lane.suppressed) return
    lane.suppressed = true
    queue.suppressNotifications()
    lane.log?.ring(lane.index)
  }

  private allow(lane: Lane, queue: DeviceQueue): boolean {
    lane.suppressed = false
    const found = queue.allowNotifications()
    lane.log?.ring(lane.index)
    return found
  }

  /** Asks for notifications; whether something is there already. A fault found by looking is the driver's. */
  private look(lane: Lane): boolean {
    const { queue } = lane
    if (queue === undefined || !this.mayFetch(lane, queue)) return false
    const found = this.allow(lane, queue)
    this.checkFault(queue)
    return found && !lane.onDemand
  }

  private deliver(lane: Lane, queue: DeviceQueue): void {
    if (queue.live && this.publish(lane, queue)) this.host.notifyQueue(lane)
  }

  private publish(lane: Lane, queue: DeviceQueue): boolean {
    const log = lane.log !== undefined && queue.unpublished ? lane.log : undefined
    const wanted = queue.publish()
    log?.ring(lane.index)
    return wanted
  }

  /** Tells who waits for it that a lane, or all of them, have come to rest. */
  private rest(lane: Lane): void {
    const { queue } = lane
    if (lane.onStopped !== undefined && queue !== undefined) {
      if (!lane.serving && !queue.unpublished && this.mayEnd(lane, queue)) this.end(lane, queue)
    }
    if (!this.busy) this.host.atRest()
  }

  private mayEnd(lane: Lane, queue: DeviceQueue): boolean {
    if (lane.halt === 'keep') return onlyLeft(queue, this.setAside(lane))
    const unserved = queue.earlier > 0 && queue.fault === undefined && this.host.running
    return !unserved && queue.inFlight === 0
  }

  private setAside(lane: Lane): readonly DescriptorChain[] {
    return this.server.setAside?.(lane) ?? []
  }

  private end(lane: Lane, queue: DeviceQueue): void {
    const { onStopped } = lane
    // Now, since a request that was set aside may be resumed before who waits hears of it.
    const end = onStopped === undefined ? undefined : suspended(queue, this.setAside(lane))
    if (lane.halt === 'keep') this.server.drop?.(lane)
    queue.retire()
    lane.queue = undefined
    lane.config = undefined
    lane.suppressed = false
    lane.halt = undefined
    lane.onStopped = undefined
    lane.notifier?.stop()
    if (end !== undefined) onStopped?.(end)
  }
}
