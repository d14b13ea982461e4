// Moves commands from the request queues to the units and back. A command that the `stop` policy has set aside counts
// nowhere until it is resumed.

import type { Clock } from '../../../common/clock.js'
import { toBlockError } from '../../../common/error.js'
import { countInvalid, countsFor } from '../../../io/backend/accounting.js'
import { applyErrorAction, errorAction } from '../../../io/backend/error-policy.js'
import type { ScsiCommand } from '../../../protocols/scsi/command.js'
import {
  type ScsiAddress,
  VIRTIO_SCSI_S_BAD_TARGET,
  VIRTIO_SCSI_S_FAILURE,
  VIRTIO_SCSI_S_OVERRUN,
} from '../../../protocols/virtio/scsi.js'
import type { Lane } from '../core/lane.js'
import type { QueueService } from '../core/queue-service.js'
import { SetAsideList } from '../core/set-aside.js'
import type { DescriptorChain } from '../memory/descriptor-chain.js'
import { type DeviceQueue, FETCH_CHAIN, FETCH_EMPTY } from '../queue/device-queue.js'
import type { ScsiBus } from './scsi-bus.js'
import { executeOnMedium, type MediumCommand, type ScsiOutcome, scsiKindOf } from './scsi-disk.js'
import { informOfAbsent, informOfUnit, informWellKnown, wantedBytes } from './scsi-information.js'
import { ScsiRequest, type ScsiResult, type ScsiSizes } from './scsi-request.js'
import { senseOf } from './scsi-sense.js'
import type { ScsiUnit } from './scsi-unit.js'

/** The data path of a controller. */
export class ScsiEngine {
  readonly setAside: SetAsideList<ScsiRequest>

  private readonly bus: ScsiBus
  private readonly service: QueueService
  private readonly sizes: Readonly<ScsiSizes>

  constructor(bus: ScsiBus, service: QueueService, clock: Clock, sizes: Readonly<ScsiSizes>) {
    this.bus = bus
    this.service = service
    this.setAside = new SetAsideList(service, clock, (request) => this.begin(request))
    this.sizes = sizes
  }

  /** Takes the next command of a request queue. */
  take(lane: Lane, queue: DeviceQueue): boolean {
    const request = new ScsiRequest(lane, queue)
    const result = request.fetch()
    if (result === FETCH_EMPTY) return false
    if (result !== FETCH_CHAIN) return true
    const reason = request.parse(this.sizes)
    if (reason === undefined) this.begin(request)
    else request.refuse(reason)
    return true
  }

  /** Runs what was set aside again; while held, after that. */
  resume(): void {
    this.setAside.resume()
  }

  /** Nothing holds the controller any more. */
  released(): void {
    this.setAside.released()
  }

  /** Forgets what was set aside, of a queue or of all: they have ended. */
  drop(lane?: Lane): void {
    this.setAside.drop(lane)
  }

  /** Answers what was set aside of a queue with the error that it met. */
  giveUp(lane: Lane): void {
    for (const { request, error } of this.setAside.take(lane)) {
      request.end({ sense: senseOf(error.code, scsiKindOf(request.command)), moved: 0 })
    }
    this.service.answered(lane)
  }

  /** The chains of a queue that were set aside. */
  chains(lane: Lane): readonly DescriptorChain[] {
    return this.setAside.chains(lane)
  }

  /** Commands of a unit that were set aside. */
  setAsideOf(unit: ScsiUnit): ScsiRequest[] {
    return this.setAside.all().filter(({ address }) => isAt(address, unit))
  }

  /** Ends a command with a response: at once where it was set aside, and when the backend is done with it where not. */
  endTask(request: ScsiRequest, response: number): void {
    if (this.setAside.remove(request)) {
      request.endAsResponse(response)
      this.service.answered(request.lane)
    } else {
      request.endAs = response
    }
  }

  private begin(request: ScsiRequest): void {
    const { address } = request
    if (address.kind === 'none') request.endAsResponse(VIRTIO_SCSI_S_BAD_TARGET)
    else if (address.kind === 'report-luns') request.end(informWellKnown(request, this.bus.luns(0)))
    else this.beginAt(request, address.target, this.bus.find(address.target, address.lun))
  }

  private beginAt(request: ScsiRequest, target: number, unit: ScsiUnit | undefined): void {
    const { command } = request
    if (!this.bus.hasTarget(target)) {
      request.endAsResponse(VIRTIO_SCSI_S_BAD_TARGET)
      return
    }
    // Virtio 1.2, 5.6.6.1.1: data in both directions was not agreed.
    if (request.outBytes > 0 && request.inBytes > 0) {
      request.endAsResponse(VIRTIO_SCSI_S_FAILURE)
      return
    }
    const blockSize = unit?.blockSize ?? 0
    const short =
      wantedBytes(command, blockSize, true) > request.outBytes ||
      wantedBytes(command, blockSize, false) > request.inBytes
    if (short) request.endAsResponse(VIRTIO_SCSI_S_OVERRUN)
    else if (unit === undefined) request.end(informOfAbsent(request, this.bus.luns(target)))
    else this.perform(unit, request)
  }

  private perform(unit: ScsiUnit, request: ScsiRequest): void {
    const { command } = request
    const attention = tellsOfAttention(command) ? unit.attentions.shift() : undefined
    if (attention !== undefined) {
      request.end({ sense: attention, moved: 0 })
      return
    }
    if (!isOfMedium(command)) {
      request.end(informOfUnit(unit, request, this.bus.luns(unit.target)))
      return
    }
    let outcome: ScsiOutcome
    this.service.inFlight++
    try {
      outcome = executeOnMedium(unit, request, command)
    } catch (error) {
      this.service.inFlight--
      this.fail(unit, request, error)
      return
    }
    if (outcome instanceof Promise) this.wait(unit, request, outcome)
    else {
      this.service.inFlight--
      if (outcome.sense !== undefined) countInvalid(countsFor(unit.root.accounting, scsiKindOf(command)))
      request.end(outcome)
    }
  }

  private wait(unit: ScsiUnit, request: ScsiRequest, pending: Promise<ScsiResult>): void {
    unit.active.add(request)
    const ended = (act: () => void): void => {
      unit.active.delete(request)
      this.service.inFlight--
      if (request.endAs === undefined) act()
      else request.endAsResponse(request.endAs)
      this.service.answered(request.lane)
    }
    pending.then(
      (result) => ended(() => request.end(result)),
      (error) => ended(() => this.fail(unit, request, error)),
    )
  }

  private fail(unit: ScsiUnit, request: ScsiRequest, thrown: unknown): void {
    const error = toBlockError(thrown)
    const kind = scsiKindOf(request.command)
    const action = errorAction(unit.root, kind, error)
    applyErrorAction(unit.root, kind, error, action)
    // There is no later for a queue that is being stopped for good or was reset, nor for a disk that is being detached.
    const later = request.live && request.lane.halt !== 'answer' && this.bus.find(unit.target, unit.lun) === unit
    if (action === 'stop' && later) {
      this.setAside.add(request, error)
      return
    }
    request.end(action === 'ignore' ? { moved: 0 } : { sense: senseOf(error.code, kind), moved: 0 })
  }
}

/** SAM-5, 5.14: these are answered whatever there is to tell; REQUEST SENSE tells it as its data. */
function tellsOfAttention(command: ScsiCommand): boolean {
  return command.kind !== 'inquiry' && command.kind !== 'report-luns' && command.kind !== 'request-sense'
}

function isAt(address: ScsiAddress, unit: ScsiUnit): boolean {
  return address.kind === 'unit' && address.target === unit.target && address.lun === unit.lun
}

function isOfMedium(command: ScsiCommand): command is MediumCommand {
  switch (command.kind) {
    case 'read':
    case 'write':
    case 'synchronize-cache':
    case 'unmap':
    case 'write-same':
      return true
    default:
      return false
  }
}
