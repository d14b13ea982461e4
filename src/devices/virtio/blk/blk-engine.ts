// Moves requests of a virtio-blk device from its queues to the backend and back. Synchronous work is bounded: after a
// budget of requests or time the rest waits for the next turn. Completions of one turn are shown to the driver together.
// Sequential requests that are fetched together are issued as one: a request waits for the next to be fetched, no longer.
//
// In a drained section nothing is fetched; what has begun passes through, and the engine is busy until all of it has been
// delivered. A request parked by the `stop` policy counts nowhere until it is resumed.

import type { Clock } from '../../../common/clock.js'
import { toBlockError } from '../../../common/error.js'
import { countFailed, countsFor } from '../../../io/backend/accounting.js'
import { applyErrorAction, errorAction } from '../../../io/backend/error-policy.js'
import type { Completion } from '../../../io/node-io.js'
import { VIRTIO_BLK_S_OK } from '../../../protocols/virtio/blk.js'
import { type DeviceQueue, FETCH_CHAIN, FETCH_EMPTY, NO_HEAD } from '../queue/device-queue.js'
import { blkStatusOf } from './blk-error-status.js'
import { type BlkUnit, executeBlk, requestKindOf } from './blk-execute.js'
import { type BlkLane, createLane } from './blk-lane.js'
import { BlkRequest, type BlkRequestOwner, parseBlkRequest, usedLength } from './blk-request.js'
import { BlkRun, type BlkRunOwner, executeRun, followsBlk, joinRun } from './blk-run.js'

/** Requests fetched in one turn, and the milliseconds spent on them. */
const TURN_REQUESTS = 256
const TURN_MS = 1
/** The clock is read once for so many requests: a reading costs as much as a small part of one. */
const CLOCK_STEP = 32

/** What the engine needs of its device. */
export interface BlkEngineHost {
  /** Whether the driver is ready and neither side has given up. */
  readonly running: boolean
  notifyGuest(queueIndex: number): void
  /** The driver broke the rules; called once for a fault. */
  broken(reason: string): void
  /** Nothing is in flight and all has been delivered. */
  atRest(): void
}

/** The data path of a device. */
export class BlkEngine implements BlkRequestOwner, BlkRunOwner {
  readonly lanes: readonly BlkLane[]
  /** Requests the backend has not answered yet. */
  inFlight = 0
  /** Waiting for {@link resume}, in the order in which they failed. */
  parked: BlkRequest[] = []

  private readonly unit: BlkUnit
  private readonly clock: Clock
  private readonly host: BlkEngineHost
  private readonly pool: BlkRequest[] = []
  private readonly runs: BlkRun[] = []
  private quiesced = false
  private resumeAfterDrain = false

  constructor(unit: BlkUnit, queues: number, clock: Clock, host: BlkEngineHost) {
    this.unit = unit
    this.clock = clock
    this.host = host
    this.lanes = Array.from({ length: queues }, (_, index) => createLane(index, (lane) => this.turn(lane)))
  }

  /** Looks at a queue. A kick while it is being served, or will be on the next turn, asks for nothing new. */
  kick(lane: BlkLane): void {
    const { queue } = lane
    if (queue === undefined || this.quiesced || lane.serving) return
    if (lane.scheduled && lane.fetchOnTurn) return
    this.serve(lane, queue)
  }

  /** Requests fetched and not issued yet, in the backend, or completed and not yet shown to the driver. */
  get busy(): boolean {
    if (this.inFlight > 0) return true
    for (const lane of this.lanes) if (lane.serving || lane.queue?.unpublished === true) return true
    return false
  }

  /** Stops fetching. */
  drainedBegin(): void {
    this.quiesced = true
  }

  /** Fetches again from the next turn on. All queues are looked at: their drivers may have been told not to kick. */
  drainedEnd(): void {
    this.quiesced = false
    for (const lane of this.lanes) this.schedule(lane, true)
    if (this.resumeAfterDrain) this.clock.nextTurn(() => this.resume())
  }

  /** Runs the parked requests again; in a drained section, after its end. */
  resume(): void {
    this.resumeAfterDrain = this.quiesced
    if (this.quiesced) return
    const requests = this.parked
    this.parked = []
    this.inFlight += requests.length
    for (const request of requests) {
      this.inFlight--
      this.start(request)
    }
    for (const lane of this.lanes) if (lane.queue?.unpublished === true) this.schedule(lane, false)
    if (!this.busy) this.host.atRest()
  }

  /** Ends the life of every queue. What is still in the backend comes back without touching a ring. */
  detach(): void {
    for (const lane of this.lanes) {
      lane.queue?.retire()
      lane.queue = undefined
    }
    for (const request of this.parked) this.release(request)
    this.parked = []
    this.resumeAfterDrain = false
  }

  /** The backend has answered: for promises of the backend only. */
  done(request: BlkRequest): void {
    this.inFlight--
    this.finish(request, VIRTIO_BLK_S_OK)
    this.answered(request.lane)
  }

  /** The backend has refused: for promises of the backend only. */
  failed(request: BlkRequest, error: unknown): void {
    this.inFlight--
    this.fail(request, error)
    this.answered(request.lane)
  }

  /** The backend has answered a run: for promises of the backend only. */
  runDone(run: BlkRun): void {
    const { lane } = run.first
    this.finishRun(run)
    this.answered(lane)
  }

  /** The backend has refused a run: for promises of the backend only. */
  runFailed(run: BlkRun, error: unknown): void {
    const { lane } = run.first
    this.breakUp(run, error)
    this.answered(lane)
  }

  private answered(lane: BlkLane): void {
    if (lane.queue?.unpublished === true) this.schedule(lane, false)
    else if (!this.busy) this.host.atRest()
  }

  private schedule(lane: BlkLane, fetch: boolean): void {
    if (fetch) lane.fetchOnTurn = true
    if (lane.scheduled) return
    lane.scheduled = true
    this.clock.nextTurn(lane.onTurn)
  }

  private turn(lane: BlkLane): void {
    const { queue, fetchOnTurn } = lane
    lane.scheduled = false
    lane.fetchOnTurn = false
    if (queue !== undefined) {
      this.deliver(lane, queue)
      // Not before the driver is ready either: a queue left half way would ask for no kicks, and none would ever come.
      if (fetchOnTurn && this.mayFetch(queue)) this.serve(lane, queue)
    }
    if (!this.busy) this.host.atRest()
  }

  private serve(lane: BlkLane, queue: DeviceQueue): void {
    const deadline = this.clock.now() + TURN_MS
    let budget = TURN_REQUESTS
    lane.serving = true
    try {
      do {
        queue.suppressNotifications()
        budget = this.fetch(lane, queue, budget, deadline)
        this.deliver(lane, queue)
        if (!this.mayFetch(queue)) break
        if (budget <= 0) {
          this.schedule(lane, true)
          break
        }
      } while (queue.allowNotifications())
    } finally {
      lane.serving = false
    }
    if (queue.live && queue.fault !== undefined && this.host.running) this.host.broken(queue.fault)
    // A driver that reset the device from its notification may have kicked the new queue, which found the lane busy.
    if (lane.queue !== undefined && lane.queue !== queue) this.schedule(lane, true)
    // A section or a reset that began meanwhile has seen requests that were not delivered yet.
    if ((this.quiesced || !queue.live) && !this.busy) this.host.atRest()
  }

  /** Starts requests until the queue is empty, broken or stopped, or the budget is spent; what is left of the budget. */
  private fetch(lane: BlkLane, queue: DeviceQueue, budget: number, deadline: number): number {
    let left = budget
    while (left > 0 && this.mayFetch(queue)) {
      const request = this.take(lane, queue)
      const result = queue.fetch(request.chain)
      if (result === FETCH_EMPTY) {
        this.release(request)
        break
      }
      left--
      const reason = result === FETCH_CHAIN ? parseBlkRequest(request) : undefined
      if (result === FETCH_CHAIN && reason === undefined) this.offer(lane, request)
      else {
        this.issue(lane)
        this.giveBack(request, queue, reason)
      }
      if (left % CLOCK_STEP === 0 && this.clock.now() >= deadline) left = 0
    }
    this.issue(lane)
    return left
  }

  private mayFetch(queue: DeviceQueue): boolean {
    return !this.quiesced && queue.live && queue.fault === undefined && this.host.running
  }

  /** A chain that cannot even carry a status goes back with length 0; the queue stays where it is until the reset. */
  private giveBack(request: BlkRequest, queue: DeviceQueue, reason: string | undefined): void {
    queue.fault ??= reason
    if (queue.live && request.chain.head !== NO_HEAD) queue.push(request.chain.head, 0)
    this.release(request)
  }

  /** Takes a request that was fetched: it waits for its successor, and what waited is issued unless the two are joined. */
  private offer(lane: BlkLane, request: BlkRequest): void {
    const last = lane.waiting
    if (last !== undefined && !(followsBlk(last, request) && this.join(lane, last, request))) this.issue(lane)
    lane.waiting = request
  }

  private join(lane: BlkLane, last: BlkRequest, request: BlkRequest): boolean {
    if (lane.run !== undefined) return joinRun(this.unit, lane.run, request)
    const run = this.runs.pop() ?? new BlkRun(this)
    if (joinRun(this.unit, run, last) && joinRun(this.unit, run, request)) {
      lane.run = run
      return true
    }
    this.releaseRun(run)
    return false
  }

  /** Issues what waits. In the order of the ring, so that a flush comes behind the writes before it. */
  private issue(lane: BlkLane): void {
    const { waiting, run } = lane
    if (waiting === undefined) return
    lane.waiting = undefined
    lane.run = undefined
    if (run === undefined) this.start(waiting)
    else this.startRun(run)
  }

  private start(request: BlkRequest): void {
    // What was issued before it, or the listener of an error, may have reset the device.
    if (request.queue?.live !== true) {
      this.release(request)
      return
    }
    let result: number | Promise<void>
    // A first attempt may have filled the buffer; what the driver is told is what this one does.
    request.filled = 0
    this.inFlight++
    try {
      result = executeBlk(this.unit, request)
    } catch (error) {
      this.inFlight--
      this.fail(request, error)
      return
    }
    if (typeof result === 'number') {
      this.inFlight--
      this.finish(request, result)
      return
    }
    result.then(request.onDone, request.onFailed)
  }

  private startRun(run: BlkRun): void {
    let pending: Completion
    this.inFlight += run.parts.length
    try {
      pending = run.first.queue?.live === true ? executeRun(this.unit, run) : undefined
    } catch (error) {
      this.breakUp(run, error)
      return
    }
    if (pending === undefined) this.finishRun(run)
    else pending.then(run.onDone, run.onFailed)
  }

  private finishRun(run: BlkRun): void {
    this.inFlight -= run.parts.length
    for (const part of run.parts) this.finish(part, VIRTIO_BLK_S_OK)
    this.releaseRun(run)
  }

  /**
   * Issues the parts of a run that failed one by one: only the bad one fails then, or is parked, and a neighbour that the
   * guest never asked to be joined is as well off as alone. Parts are still in flight until their turn has come.
   */
  private breakUp(run: BlkRun, error: unknown): void {
    const { parts, first } = run
    const live = first.queue?.live === true
    // After a reset there is nobody to ask for: what is in the backend comes back, and nothing new begins.
    if (!live) countFailed(countsFor(this.unit.root.accounting, requestKindOf(first.type)), parts.length)
    for (const part of parts) {
      this.inFlight--
      if (live) this.start(part)
      else this.fail(part, error)
    }
    this.releaseRun(run)
  }

  private fail(request: BlkRequest, thrown: unknown): void {
    const error = toBlockError(thrown)
    const { root } = this.unit
    const kind = requestKindOf(request.type)
    const action = errorAction(root, kind, error)
    applyErrorAction(root, kind, error, action)
    if (action === 'stop' && request.queue?.live === true) {
      this.parked.push(request)
      return
    }
    request.filled = 0
    this.finish(request, action === 'ignore' ? VIRTIO_BLK_S_OK : blkStatusOf(error.code))
  }

  private finish(request: BlkRequest, status: number): void {
    const { queue, chain } = request
    if (queue?.live === true) {
      chain.writeLastByte(status)
      queue.push(chain.head, usedLength(request))
    }
    this.release(request)
  }

  private deliver(lane: BlkLane, queue: DeviceQueue): void {
    if (queue.live && queue.publish()) this.host.notifyGuest(lane.index)
  }

  private take(lane: BlkLane, queue: DeviceQueue): BlkRequest {
    const request = this.pool.pop() ?? new BlkRequest(this, lane)
    request.lane = lane
    request.queue = queue
    return request
  }

  private release(request: BlkRequest): void {
    request.queue = undefined
    this.pool.push(request)
  }

  private releaseRun(run: BlkRun): void {
    run.clear()
    this.runs.push(run)
  }
}
