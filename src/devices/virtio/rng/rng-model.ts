// What makes a device a source of entropy (virtio 1.2, 5.4): each buffer of its one queue is filled with bytes of chance.

import { type Clock, hostClock } from '../../../common/clock.js'
import { copyBytes } from '../../../common/io-vector.js'
import type { Trace } from '../../../common/trace.js'
import { VIRTIO_ID_RNG } from '../../../protocols/virtio/device-id.js'
import { ChainRequest } from '../core/chain-request.js'
import { checkQueueSize } from '../core/check-queue-size.js'
import type { DeviceModel, ModelHost } from '../core/device-model.js'
import type { Lane } from '../core/lane.js'
import { type DeviceQueue, FETCH_CHAIN, FETCH_EMPTY } from '../queue/device-queue.js'

/** Most bytes of one answer: a driver asks again for more (virtio 1.2, 5.4.6). */
const MAX_BYTES = 65536

/** Where the bytes come from. */
export interface RngModelOptions {
  /**
   * `count` bytes of chance, or some of them, at least one: fit for keys. Called for each buffer; what it throws, or rejects
   * with, makes the device ask for a reset.
   */
  entropy(count: number): Uint8Array | Promise<Uint8Array>
  /** In messages and events. Default: `virtio-rng`. */
  name?: string
  /** Largest size of the queue. Default 64. */
  queueSize?: number
  clock?: Clock
  trace?: Trace
}

/** A virtio-rng device without what all devices have. */
export class RngModel implements DeviceModel {
  readonly deviceId = VIRTIO_ID_RNG
  readonly name: string
  readonly clock: Clock
  readonly trace: Trace | undefined
  readonly queueCount = 1
  readonly queueSizeMax: number
  readonly features = 0n

  private readonly options: RngModelOptions
  private host!: ModelHost

  constructor(options: RngModelOptions) {
    this.options = options
    this.name = options.name ?? 'virtio-rng'
    this.clock = options.clock ?? hostClock
    this.trace = options.trace
    this.queueSizeMax = checkQueueSize(options.queueSize ?? 64, this.name)
  }

  attach(host: ModelHost): void {
    this.host = host
  }

  take(lane: Lane, queue: DeviceQueue): boolean {
    const request = new ChainRequest(lane, queue)
    const result = request.fetch()
    if (result === FETCH_EMPTY) return false
    if (result === FETCH_CHAIN) this.start(request)
    return true
  }

  reportFailure(error: unknown): void {
    const message = error instanceof Error ? error.message : String(error)
    this.trace?.emit('background-error', { node: this.name, message, error })
  }

  private start(request: ChainRequest): void {
    const count = Math.min(request.chain.writableBytes, MAX_BYTES)
    if (count === 0) {
      request.giveBack(0)
      return
    }
    let bytes: Uint8Array | Promise<Uint8Array>
    try {
      bytes = this.options.entropy(count)
    } catch (error) {
      this.fail(request, error)
      return
    }
    if (bytes instanceof Uint8Array) this.fill(request, bytes, count)
    else this.wait(request, bytes, count)
  }

  private wait(request: ChainRequest, pending: Promise<Uint8Array>, count: number): void {
    const { service } = this.host
    const end = (act: () => void): void => {
      service.inFlight--
      act()
      service.answered(request.lane)
    }
    service.inFlight++
    pending.then(
      (bytes) => end(() => this.fill(request, bytes, count)),
      (error) => end(() => this.fail(request, error)),
    )
  }

  private fill(request: ChainRequest, bytes: Uint8Array, count: number): void {
    // After a reset the buffer belongs to somebody else.
    if (!request.live) return
    const length = Math.min(bytes.length, count)
    if (length === 0) {
      this.fail(request, new Error('the source of entropy gave nothing'))
      return
    }
    copyBytes(request.chain.writable(length), bytes.subarray(0, length))
    request.giveBack(length)
  }

  /** A driver cannot be told of an error, and must get at least a byte (virtio 1.2, 5.4.6.2): nothing is left but a reset. */
  private fail(request: ChainRequest, error: unknown): void {
    this.reportFailure(error)
    request.refuse('the source of entropy failed')
  }
}
