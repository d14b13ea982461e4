// The event queue (virtio 1.2, 5.6.6.3). A driver puts empty buffers into it, and each event takes one. A few events wait
// for buffers; when they are too many the next one that is told says that others were missed.

import { copyBytes } from '../../../common/io-vector.js'
import {
  encodeScsiEvent,
  VIRTIO_SCSI_EVENT_BYTES,
  VIRTIO_SCSI_T_EVENTS_MISSED,
  VIRTIO_SCSI_T_NO_EVENT,
} from '../../../protocols/virtio/scsi.js'
import { ChainRequest } from '../core/chain-request.js'
import type { Lane } from '../core/lane.js'
import type { QueueService } from '../core/queue-service.js'
import { type DeviceQueue, FETCH_CHAIN, FETCH_EMPTY } from '../queue/device-queue.js'

/** Events that wait. */
const MOST_WAITING = 16

/** An event of a unit. */
export interface ScsiEvent {
  event: number
  target: number
  lun: number
  reason: number
}

/** The events of one controller. */
export class ScsiEvents {
  /** Told next, the oldest first. */
  waiting: ScsiEvent[] = []
  /** Some were dropped since the last one that was told. */
  missed = false

  private readonly service: QueueService
  private readonly lane: Lane

  constructor(service: QueueService, lane: Lane) {
    this.service = service
    this.lane = lane
    lane.onDemand = true
  }

  /** Tells of an event as soon as there is a buffer for it. */
  tell(event: ScsiEvent): void {
    if (this.waiting.length < MOST_WAITING) this.waiting.push(event)
    else this.missed = true
    this.service.kick(this.lane)
  }

  /** Fills the next buffer, where there is something to tell. */
  take(lane: Lane, queue: DeviceQueue): boolean {
    if (this.waiting.length === 0 && !this.missed) return false
    const request = new ChainRequest(lane, queue)
    const result = request.fetch()
    if (result === FETCH_EMPTY) return false
    if (result === FETCH_CHAIN) this.fill(request)
    return true
  }

  /** Forgets everything. */
  reset(): void {
    this.waiting = []
    this.missed = false
  }

  private fill(request: ChainRequest): void {
    if (request.chain.writableBytes < VIRTIO_SCSI_EVENT_BYTES) {
      request.refuse(`SCSI event buffer of ${request.chain.writableBytes} bytes`)
      return
    }
    const next = this.waiting.shift() ?? { event: VIRTIO_SCSI_T_NO_EVENT, target: 0, lun: 0, reason: 0 }
    const event = (next.event | (this.missed ? VIRTIO_SCSI_T_EVENTS_MISSED : 0)) >>> 0
    this.missed = false
    const bytes = encodeScsiEvent(event, next.target, next.lun, next.reason)
    copyBytes(request.chain.writable(VIRTIO_SCSI_EVENT_BYTES), bytes)
    request.giveBack(VIRTIO_SCSI_EVENT_BYTES)
  }
}
