// One queue of a device over all its lives, and whether somebody is at it or will be.

import type { WriteLog } from '../memory/write-log.js'
import type { DeviceQueue } from '../queue/device-queue.js'
import type { QueueConfig } from '../queue/queue-layout.js'
import type { SuspendedQueue } from './left-chains.js'
import { type HostNotifier, VIRTIO_MSI_NO_VECTOR } from './notifiers.js'

/** A queue of a device. */
export interface Lane {
  readonly index: number
  /** Set while the queue is enabled. */
  queue: DeviceQueue | undefined
  /** What it was enabled with. */
  config: QueueConfig | undefined
  /** Its requests are being fetched right now: a kick from inside a notification returns at once. */
  serving: boolean
  /** It will be looked at on the next turn. */
  scheduled: boolean
  /** On that turn requests are fetched, too; otherwise only what has completed is delivered. */
  fetchOnTurn: boolean
  /** The driver was asked for no notifications. */
  suppressed: boolean
  /**
   * The queue is being ended, and nothing more is fetched: `answer`, when all of its heads are back, so that what fails now is
   * answered; `keep`, when nothing of it is under way any more, and what was set aside stays for its next life.
   */
  halt: 'answer' | 'keep' | undefined
  /** Hears where the queue stood when it has ended. */
  onStopped: ((end: SuspendedQueue) => void) | undefined
  /**
   * Buffers are taken when the device has something to put into them, not when they become available: what is available is
   * no reason to look again.
   */
  onDemand: boolean
  /** Bytes of the requests taken since the clock was last looked at; counted by the device. */
  takenBytes: number
  /** Who has to know of writes into guest memory, if anybody; of every life of the queue. */
  log: WriteLog | undefined
  /** Interrupt vector of its used buffer notifications. */
  vector: number
  notifier: HostNotifier | undefined
  /** Bound once. */
  readonly onTurn: () => void
}

/** A queue that is not enabled. */
export function createLane(index: number, onTurn: (lane: Lane) => void): Lane {
  const lane: Lane = {
    index,
    queue: undefined,
    config: undefined,
    serving: false,
    scheduled: false,
    fetchOnTurn: false,
    suppressed: false,
    halt: undefined,
    onStopped: undefined,
    onDemand: false,
    takenBytes: 0,
    log: undefined,
    vector: VIRTIO_MSI_NO_VECTOR,
    notifier: undefined,
    onTurn: () => onTurn(lane),
  }
  return lane
}
