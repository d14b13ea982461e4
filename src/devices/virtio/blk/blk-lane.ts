// One queue of the device: its present life, what was fetched and not issued yet, and whether somebody is at it or will be.

import type { DeviceQueue } from '../queue/device-queue.js'
import type { BlkRequest } from './blk-request.js'
import type { BlkRun } from './blk-run.js'

/** A queue of a virtio-blk device, over all its lives. */
export interface BlkLane {
  readonly index: number
  /** Set while the queue is enabled. */
  queue: DeviceQueue | undefined
  /** Fetched last and not issued yet: the next request may go on where it ends. Only while the queue is being served. */
  waiting: BlkRequest | undefined
  /** The run that `waiting` is the last part of, where it has a neighbour. */
  run: BlkRun | undefined
  /** Its requests are being fetched right now: a kick from inside a notification returns at once. */
  serving: boolean
  /** It will be looked at on the next turn. */
  scheduled: boolean
  /** On that turn requests are fetched, too; otherwise only what has completed is delivered. */
  fetchOnTurn: boolean
  /** Bound once. */
  readonly onTurn: () => void
}

/** A queue that is not enabled. */
export function createLane(index: number, onTurn: (lane: BlkLane) => void): BlkLane {
  const lane: BlkLane = {
    index,
    queue: undefined,
    waiting: undefined,
    run: undefined,
    serving: false,
    scheduled: false,
    fetchOnTurn: false,
    onTurn: () => onTurn(lane),
  }
  return lane
}
