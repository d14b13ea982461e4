// A guest's view of its disk: promises over a GuestBlkDriver. Data is copied between the caller's bytes and buffers in
// guest memory; a request waits while the queue or the buffers are full.

import { BlockError } from '../../common/error.js'
import { highHalf, lowHalf } from '../../common/units.js'
import type { GuestMemory } from '../../devices/virtio/memory/guest-memory.js'
import {
  VIRTIO_BLK_ID_BYTES,
  VIRTIO_BLK_S_OK,
  VIRTIO_BLK_S_UNSUPP,
  VIRTIO_BLK_SECTOR_BYTES,
} from '../../protocols/virtio/blk.js'
import type { GuestBlkDriver } from './guest-blk-driver.js'

/** Where a disk keeps data on its way. */
export interface GuestDiskOptions {
  driver: GuestBlkDriver
  memory: GuestMemory
  /** Guest address of the buffers. Behind the driver's own memory by default. */
  address?: number
  /** Bytes of one buffer: the largest request. 64 KiB by default. */
  bufferBytes?: number
  /** Buffers: the most requests in flight. 64 by default. */
  buffers?: number
}

interface Pending {
  resolve(): void
  reject(error: BlockError): void
}

/** A disk as a guest program sees it. Call {@link notified} from the device's `notifyQueue`. */
export class GuestDisk {
  /** Requests in flight. */
  inFlight = 0

  private readonly driver: GuestBlkDriver
  private readonly memory: GuestMemory
  private readonly bufferBytes: number
  private readonly free: number[] = []
  /** By the head of the chain. */
  private readonly pending: (Pending | undefined)[] = []
  private readonly waiting: (() => void)[] = []
  private kicking = false

  constructor(options: GuestDiskOptions) {
    this.driver = options.driver
    this.memory = options.memory
    this.bufferBytes = options.bufferBytes ?? 65536
    const first = options.address ?? Math.ceil(options.driver.end / 4096) * 4096
    for (let i = (options.buffers ?? 64) - 1; i >= 0; i--) this.free.push(first + i * this.bufferBytes)
  }

  /** In bytes, as the configuration space says now. */
  get size(): number {
    return this.driver.config().capacity * VIRTIO_BLK_SECTOR_BYTES
  }

  /** Fills `into`, at most one buffer long, from byte `offset`, a multiple of the sector. Rejects with EIO or ENOTSUP. */
  async read(offset: number, into: Uint8Array): Promise<void> {
    const buffer = await this.takeBuffer(into.byteLength)
    try {
      await this.issue(() => this.driver.submitRead(sectorOf(offset), buffer, into.byteLength))
      this.copy(buffer, into, false)
    } finally {
      this.giveBuffer(buffer)
    }
  }

  /** Writes `data`, at most one buffer long. */
  async write(offset: number, data: Uint8Array): Promise<void> {
    const buffer = await this.takeBuffer(data.byteLength)
    try {
      this.copy(buffer, data, true)
      await this.issue(() => this.driver.submitWrite(sectorOf(offset), buffer, data.byteLength))
    } finally {
      this.giveBuffer(buffer)
    }
  }

  /** Makes completed writes durable. */
  async flush(): Promise<void> {
    await this.withBuffer(() => this.driver.submitFlush())
  }

  async discard(offset: number, bytes: number): Promise<void> {
    await this.withBuffer(() => this.driver.submitDiscard(sectorOf(offset), bytes / VIRTIO_BLK_SECTOR_BYTES))
  }

  async writeZeroes(offset: number, bytes: number, unmap = false): Promise<void> {
    await this.withBuffer(() => this.driver.submitWriteZeroes(sectorOf(offset), bytes / VIRTIO_BLK_SECTOR_BYTES, unmap))
  }

  /** The serial of the device. */
  async id(): Promise<string> {
    const buffer = await this.takeBuffer(VIRTIO_BLK_ID_BYTES)
    try {
      await this.issue(() => this.driver.submitGetId(buffer))
      const bytes = new Uint8Array(VIRTIO_BLK_ID_BYTES)
      this.copy(buffer, bytes, false)
      const end = bytes.indexOf(0)
      return String.fromCharCode(...bytes.subarray(0, end < 0 ? undefined : end))
    } finally {
      this.giveBuffer(buffer)
    }
  }

  /** The device has used buffers: completes their requests. */
  notified(): void {
    const { queue } = this.driver
    do {
      queue.disableNotifications()
      this.driver.poll((head, status) => this.completed(head, status))
    } while (queue.enableNotifications())
  }

  private async withBuffer(submit: () => number): Promise<void> {
    const buffer = await this.takeBuffer(0)
    try {
      await this.issue(submit)
    } finally {
      this.giveBuffer(buffer)
    }
  }

  /** Submits, again while the queue is full, and waits for the answer. */
  private async issue(submit: () => number): Promise<void> {
    let head = submit()
    while (head < 0) {
      await this.wakeUp()
      head = submit()
    }
    this.inFlight++
    const done = new Promise<void>((resolve, reject) => {
      this.pending[head] = { resolve, reject }
    })
    this.kickSoon()
    return done
  }

  /** One kick for all that is submitted in the same step. */
  private kickSoon(): void {
    if (this.kicking) return
    this.kicking = true
    queueMicrotask(() => {
      this.kicking = false
      this.driver.kick()
    })
  }

  private completed(head: number, status: number): void {
    const request = this.pending[head]
    this.pending[head] = undefined
    this.inFlight--
    if (status === VIRTIO_BLK_S_OK) request?.resolve()
    else
      request?.reject(
        new BlockError(status === VIRTIO_BLK_S_UNSUPP ? 'ENOTSUP' : 'EIO', `the device answered ${status}`),
      )
    // Who waits for descriptors may need more than came back: all look again.
    for (const wake of this.waiting.splice(0)) wake()
  }

  private wakeUp(): Promise<void> {
    return new Promise((resolve) => {
      this.waiting.push(resolve)
    })
  }

  private async takeBuffer(bytes: number): Promise<number> {
    if (bytes > this.bufferBytes)
      throw new BlockError('EINVAL', `${bytes} bytes do not fit into a buffer of ${this.bufferBytes}`)
    for (;;) {
      const buffer = this.free.pop()
      if (buffer !== undefined) return buffer
      await this.wakeUp()
    }
  }

  private giveBuffer(buffer: number): void {
    this.free.push(buffer)
    for (const wake of this.waiting.splice(0)) wake()
  }

  private copy(address: number, bytes: Uint8Array, toGuest: boolean): void {
    const views = this.memory.views(highHalf(address), lowHalf(address), bytes.byteLength)
    if (views === undefined) throw new BlockError('EFAULT', 'the buffer lies outside guest memory')
    let position = 0
    for (const view of views) {
      const part = bytes.subarray(position, position + view.byteLength)
      if (toGuest) view.set(part)
      else part.set(view)
      position += view.byteLength
    }
  }
}

function sectorOf(offset: number): number {
  if (offset % VIRTIO_BLK_SECTOR_BYTES !== 0)
    throw new BlockError('EINVAL', `offset ${offset} is no multiple of a sector`)
  return offset / VIRTIO_BLK_SECTOR_BYTES
}
