// The control queue (virtio 1.2, 5.6.6.2): task management, and asynchronous notifications, of which there are none. A
// function is about all commands that were made available before it. One that ends commands is complete when the driver can
// see the answer of each of them: until then they may still use guest memory, and a driver begins them again after it.

import { copyBytes } from '../../../common/io-vector.js'
import { SENSE_RESET } from '../../../protocols/scsi/sense.js'
import {
  decodeScsiAddress,
  decodeScsiTag,
  type ScsiAddress,
  type ScsiTag,
  VIRTIO_SCSI_AN_BYTES,
  VIRTIO_SCSI_S_ABORTED,
  VIRTIO_SCSI_S_BAD_TARGET,
  VIRTIO_SCSI_S_FUNCTION_COMPLETE,
  VIRTIO_SCSI_S_FUNCTION_REJECTED,
  VIRTIO_SCSI_S_FUNCTION_SUCCEEDED,
  VIRTIO_SCSI_S_INCORRECT_LUN,
  VIRTIO_SCSI_S_OK,
  VIRTIO_SCSI_S_RESET,
  VIRTIO_SCSI_T_AN_QUERY,
  VIRTIO_SCSI_T_AN_SUBSCRIBE,
  VIRTIO_SCSI_T_TMF,
  VIRTIO_SCSI_T_TMF_ABORT_TASK,
  VIRTIO_SCSI_T_TMF_ABORT_TASK_SET,
  VIRTIO_SCSI_T_TMF_CLEAR_TASK_SET,
  VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET,
  VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET,
  VIRTIO_SCSI_T_TMF_QUERY_TASK,
  VIRTIO_SCSI_T_TMF_QUERY_TASK_SET,
  VIRTIO_SCSI_TMF_BYTES,
} from '../../../protocols/virtio/scsi.js'
import { ChainRequest } from '../core/chain-request.js'
import type { Lane } from '../core/lane.js'
import type { QueueService } from '../core/queue-service.js'
import { type DeviceQueue, FETCH_CHAIN, FETCH_EMPTY } from '../queue/device-queue.js'
import type { ScsiBus } from './scsi-bus.js'
import type { ScsiEngine } from './scsi-engine.js'
import type { ScsiRequest } from './scsi-request.js'
import type { ScsiUnit } from './scsi-unit.js'

/** Response bytes of a notification request: the events, then the response. */
const AN_RESPONSE_BYTES = 5

/** What serves the control queue. */
export class ScsiTasks {
  private readonly bus: ScsiBus
  private readonly engine: ScsiEngine
  private readonly service: QueueService
  private readonly requestLanes: readonly Lane[]

  constructor(bus: ScsiBus, engine: ScsiEngine, service: QueueService, requestLanes: readonly Lane[]) {
    this.bus = bus
    this.engine = engine
    this.service = service
    this.requestLanes = requestLanes
  }

  /** Takes the next control request. */
  take(lane: Lane, queue: DeviceQueue): boolean {
    const request = new ChainRequest(lane, queue)
    const result = request.fetch()
    if (result === FETCH_EMPTY) return false
    if (result === FETCH_CHAIN) this.begin(request)
    return true
  }

  private begin(request: ChainRequest): void {
    const { chain } = request
    const bytes = new Uint8Array(VIRTIO_SCSI_TMF_BYTES)
    const view = new DataView(bytes.buffer)
    const length = chain.gather(0, bytes)
    const type = view.getUint32(0, true)
    if (length >= 4 && (type === VIRTIO_SCSI_T_AN_QUERY || type === VIRTIO_SCSI_T_AN_SUBSCRIBE)) {
      if (length < VIRTIO_SCSI_AN_BYTES || chain.writableBytes < AN_RESPONSE_BYTES) this.refuse(request)
      else this.notifications(request, decodeScsiAddress(bytes, 4))
      return
    }
    // What a request of an unknown type has room for is unknown, too.
    if (length < VIRTIO_SCSI_TMF_BYTES || type !== VIRTIO_SCSI_T_TMF || chain.writableBytes < 1) this.refuse(request)
    else this.manage(request, view.getUint32(4, true), decodeScsiAddress(bytes, 8), decodeScsiTag(view, 16))
  }

  private refuse(request: ChainRequest): void {
    request.refuse('SCSI control request that is too short or of an unknown type')
  }

  private notifications(request: ChainRequest, address: ScsiAddress): void {
    const found = address.kind === 'unit' && this.bus.find(address.target, address.lun) !== undefined
    const answer = Uint8Array.of(0, 0, 0, 0, found ? VIRTIO_SCSI_S_OK : VIRTIO_SCSI_S_BAD_TARGET)
    copyBytes(request.chain.writable(AN_RESPONSE_BYTES), answer)
    request.giveBack(AN_RESPONSE_BYTES)
  }

  private manage(request: ChainRequest, subtype: number, address: ScsiAddress, tag: ScsiTag): void {
    if (address.kind !== 'unit' || !this.bus.hasTarget(address.target)) {
      respond(request, VIRTIO_SCSI_S_BAD_TARGET)
      return
    }
    // Queues are served one after the other: a command may wait in one while the function that is about it is taken.
    for (const lane of this.requestLanes) this.service.takeAll(lane)
    if (subtype === VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET) {
      this.resetUnits(request, this.bus.units(address.target))
      return
    }
    const unit = this.bus.find(address.target, address.lun)
    if (unit === undefined) respond(request, VIRTIO_SCSI_S_INCORRECT_LUN)
    else this.manageUnit(request, subtype, unit, tag)
  }

  private manageUnit(request: ChainRequest, subtype: number, unit: ScsiUnit, tag: ScsiTag): void {
    switch (subtype) {
      case VIRTIO_SCSI_T_TMF_ABORT_TASK:
        this.endAll(request, this.tasksOf(unit, tag), VIRTIO_SCSI_S_ABORTED)
        return
      case VIRTIO_SCSI_T_TMF_ABORT_TASK_SET:
      case VIRTIO_SCSI_T_TMF_CLEAR_TASK_SET:
        this.endAll(request, this.tasksOf(unit), VIRTIO_SCSI_S_ABORTED)
        return
      case VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET:
        this.resetUnits(request, [unit])
        return
      case VIRTIO_SCSI_T_TMF_QUERY_TASK:
        respond(request, found(this.tasksOf(unit, tag)))
        return
      case VIRTIO_SCSI_T_TMF_QUERY_TASK_SET:
        respond(request, found(this.tasksOf(unit)))
        return
      default:
        // CLEAR ACA among them: no unit here establishes one.
        respond(request, VIRTIO_SCSI_S_FUNCTION_REJECTED)
    }
  }

  private resetUnits(request: ChainRequest, units: ScsiUnit[]): void {
    for (const unit of units) unit.attend(SENSE_RESET)
    const tasks = units.flatMap((unit) => this.tasksOf(unit))
    this.endAll(request, tasks, VIRTIO_SCSI_S_RESET)
  }

  /** Commands that a unit has: under way, or set aside. */
  private tasksOf(unit: ScsiUnit, tag?: ScsiTag): ScsiRequest[] {
    const tasks = [...unit.active, ...this.engine.setAsideOf(unit)]
    return tag === undefined ? tasks : tasks.filter((task) => task.tag.high === tag.high && task.tag.low === tag.low)
  }

  /** Ends commands with a response; the function is complete after the last of them. */
  private endAll(request: ChainRequest, tasks: ScsiRequest[], response: number): void {
    let left = 1
    const ended = (): void => {
      left--
      if (left > 0) return
      this.service.inFlight--
      for (const lane of this.requestLanes) this.service.show(lane)
      respond(request, VIRTIO_SCSI_S_FUNCTION_COMPLETE)
      this.service.answered(request.lane)
    }
    this.service.inFlight++
    for (const task of tasks) {
      left++
      task.whenEnded.push(ended)
      this.engine.endTask(task, response)
    }
    ended()
  }
}

function found(tasks: ScsiRequest[]): number {
  return tasks.length > 0 ? VIRTIO_SCSI_S_FUNCTION_SUCCEEDED : VIRTIO_SCSI_S_FUNCTION_COMPLETE
}

function respond(request: ChainRequest, response: number): void {
  if (!request.live) return
  copyBytes(request.chain.writable(1), Uint8Array.of(response))
  request.giveBack(1)
}
