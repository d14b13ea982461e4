// Moves requests of a virtio-blk device from its queues to the backend and back. Sequential requests that are fetched
// together are issued as one: a request waits for the next to be fetched, no longer. A request parked by the `stop` policy
// counts nowhere until it is resumed.

import type { Clock } from '../../../common/clock.js'
import { toBlockError } from '../../../common/error.js'
import { countFailed, countInvalid, countsFor } from '../../../io/backend/accounting.js'
import { applyErrorAction, errorAction } from '../../../io/backend/error-policy.js'
import type { Completion } from '../../../io/node-io.js'
import { VIRTIO_BLK_S_OK } from '../../../protocols/virtio/blk.js'
import type { Lane } from '../core/lane.js'
import type { ChainServer, QueueService } from '../core/queue-service.js'
import { returnChain } from '../core/return-chain.js'
import { SetAsideList } from '../core/set-aside.js'
import type { DescriptorChain } from '../memory/descriptor-chain.js'
import { type DeviceQueue, FETCH_CHAIN, FETCH_EMPTY, NO_HEAD } from '../queue/device-queue.js'
import { blkStatusOf } from './blk-error-status.js'
import { executeBlk, isCounted, requestKindOf } from './blk-execute.js'
import { BlkRequest, type BlkRequestOwner, parseBlkRequest, usedLength } from './blk-request.js'
import { BlkRun, type BlkRunOwner, executeRun, followsBlk, joinRun } from './blk-run.js'
import type { BlkUnit } from './blk-unit.js'

/** What was fetched from a lane and not issued yet. Only while its queue is being served. */
interface Waiting {
  /** Fetched last: the next request may go on where it ends. */
  request: BlkRequest | undefined
  /** The run that `request` is the last part of, where it has a neighbour. */
  run: BlkRun | undefined
}

/** The data path of a device. */
export class BlkEngine implements ChainServer, BlkRequestOwner, BlkRunOwner {
  private readonly unit: BlkUnit
  private readonly service: QueueService
  private readonly waiting: readonly Waiting[]
  private readonly pool: BlkRequest[] = []
  private readonly runs: BlkRun[] = []
  /** Waiting for {@link resume}. */
  private readonly parked: SetAsideList<BlkRequest>

  constructor(unit: BlkUnit, service: QueueService, clock: Clock) {
    this.unit = unit
    this.service = service
    this.parked = new SetAsideList(service, clock, (request) => this.start(request))
    this.waiting = service.lanes.map(() => ({ request: undefined, run: undefined }))
  }

  /** Takes the next request; it is issued when it is known whether the one behind it can be joined to it. */
  take(lane: Lane, queue: DeviceQueue): boolean {
    const request = this.acquire(lane, queue)
    const result = queue.fetch(request.chain)
    if (result === FETCH_EMPTY) {
      this.release(request)
      return false
    }
    const reason = result === FETCH_CHAIN ? parseBlkRequest(request) : undefined
    if (result === FETCH_CHAIN && reason === undefined) this.offer(lane, request)
    else {
      this.issue(lane)
      this.giveBack(request, queue, reason)
    }
    return true
  }

  /** Issues what waits. In the order of the ring, so that a flush comes behind the writes before it. */
  issue(lane: Lane): void {
    const waiting = this.waiting[lane.index] as Waiting
    const { request, run } = waiting
    if (request === undefined) return
    waiting.request = undefined
    waiting.run = undefined
    if (run === undefined) this.start(request)
    else this.startRun(run)
  }

  /** Requests that wait for {@link resume}. */
  get parkedRequests(): number {
    return this.parked.size
  }

  /** Runs the parked requests again; while held, after that. */
  resume(): void {
    this.parked.resume()
  }

  /** Nothing holds the device any more. */
  released(): void {
    this.parked.released()
  }

  /** The chains of a queue that are parked. */
  setAside(lane: Lane): readonly DescriptorChain[] {
    return this.parked.chains(lane)
  }

  /** Forgets what is parked, of a queue or of all: they have ended. */
  drop(lane?: Lane): void {
    for (const { request } of this.parked.drop(lane)) this.release(request)
  }

  /** Answers what is parked of a queue with the error that it met. */
  giveUp(lane: Lane): void {
    for (const { request, error } of this.parked.take(lane)) this.finish(request, blkStatusOf(error.code))
    this.service.answered(lane)
  }

  /** The backend has answered: for promises of the backend only. */
  done(request: BlkRequest): void {
    const { lane } = request
    this.service.inFlight--
    this.finish(request, VIRTIO_BLK_S_OK)
    this.service.answered(lane)
  }

  /** The backend has refused: for promises of the backend only. */
  failed(request: BlkRequest, error: unknown): void {
    const { lane } = request
    this.service.inFlight--
    this.fail(request, error)
    this.service.answered(lane)
  }

  /** The backend has answered a run: for promises of the backend only. */
  runDone(run: BlkRun): void {
    const { lane } = run.first
    this.finishRun(run)
    this.service.answered(lane)
  }

  /** The backend has refused a run: for promises of the backend only. */
  runFailed(run: BlkRun, error: unknown): void {
    const { lane } = run.first
    this.breakUp(run, error)
    this.service.answered(lane)
  }

  /** A chain that cannot even carry a status goes back with length 0; the queue stays where it is until the reset. */
  private giveBack(request: BlkRequest, queue: DeviceQueue, reason: string | undefined): void {
    queue.fault ??= reason
    if (request.chain.head !== NO_HEAD) returnChain(request.lane, queue, request.chain, 0)
    this.release(request)
  }

  /** Takes a request that was fetched: it waits for its successor, and what waited is issued unless the two are joined. */
  private offer(lane: Lane, request: BlkRequest): void {
    const waiting = this.waiting[lane.index] as Waiting
    const last = waiting.request
    lane.takenBytes += request.dataIn + request.dataOut
    if (last !== undefined && !(followsBlk(last, request) && this.join(waiting, last, request))) this.issue(lane)
    waiting.request = request
  }

  private join(waiting: Waiting, last: BlkRequest, request: BlkRequest): boolean {
    if (waiting.run !== undefined) return joinRun(this.unit, waiting.run, request)
    const run = this.runs.pop() ?? new BlkRun(this)
    if (joinRun(this.unit, run, last) && joinRun(this.unit, run, request)) {
      waiting.run = run
      return true
    }
    this.releaseRun(run)
    return false
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
    this.service.inFlight++
    try {
      result = executeBlk(this.unit, request)
    } catch (error) {
      this.service.inFlight--
      this.fail(request, error)
      return
    }
    if (typeof result === 'number') {
      this.service.inFlight--
      if (result !== VIRTIO_BLK_S_OK && isCounted(request.type)) {
        countInvalid(countsFor(this.unit.root.accounting, requestKindOf(request.type)))
      }
      this.finish(request, result)
      return
    }
    result.then(request.onDone, request.onFailed)
  }

  private startRun(run: BlkRun): void {
    let pending: Completion
    this.service.inFlight += run.parts.length
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
    this.service.inFlight -= run.parts.length
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
      this.service.inFlight--
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
    // A queue that is being stopped for good has no later: what fails now is answered.
    if (action === 'stop' && request.queue?.live === true && request.lane.halt !== 'answer') {
      this.parked.add(request, error)
      return
    }
    request.filled = 0
    this.finish(request, action === 'ignore' ? VIRTIO_BLK_S_OK : blkStatusOf(error.code))
  }

  private finish(request: BlkRequest, status: number): void {
    const { lane, queue, chain } = request
    if (queue !== undefined) {
      if (queue.live) chain.writeLastByte(status)
      returnChain(lane, queue, chain, usedLength(request))
    }
    this.release(request)
  }

  private acquire(lane: Lane, queue: DeviceQueue): BlkRequest {
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
