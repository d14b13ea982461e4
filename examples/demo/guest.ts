// The guest of the demo: drives the virtio-blk device through its ring with many requests in flight, and knows at any moment
// what every byte of the disk has to be.

import { createHash } from 'node:crypto'
import { performance } from 'node:perf_hooks'
import { type BackendRoot, BlockError, GuestMemory, KiB, MiB, VirtioBlkDevice } from 'blockgraph/node'
import { GuestBlkDriver, GuestDisk } from 'blockgraph/testing'

/** Requests that the guest keeps in flight. */
export const QUEUE_DEPTH = 64
const PIECE = 64 * KiB
const SECTOR = 512

/** Figures of a run. */
export interface GuestReport {
  requests: number
  reads: number
  writes: number
  bytes: number
  ms: number
  /** Milliseconds, sorted. */
  latencies: Float64Array
}

interface Range {
  piece: number
  offset: number
  bytes: number
}

/** A guest with one disk of `expected.byteLength` bytes, which holds `expected`. */
export class Guest {
  readonly #expected: Uint8Array
  readonly #device: VirtioBlkDevice
  readonly #disk: GuestDisk
  /** Pieces of the disk with a request in flight: two at once would have no certain outcome. */
  readonly #locked = new Set<number>()
  readonly #latencies: number[] = []
  readonly #milestones = new Map<number, () => void>()
  #seed = 0x2545f491
  #reads = 0
  #writes = 0
  #moved = 0
  #ms = 0
  #running = false

  constructor(root: BackendRoot, expected: Uint8Array) {
    this.#expected = expected
    const memory = new GuestMemory([{ address: 0, memory: new SharedArrayBuffer(8 * MiB) }])
    const notifier = { notifyQueue: () => this.#disk.notified() }
    this.#device = new VirtioBlkDevice({ root, memory, serial: 'demo', notifier })
    const driver = new GuestBlkDriver({ device: this.#device, memory, address: 4 * KiB })
    this.#disk = new GuestDisk({ driver, memory, buffers: QUEUE_DEPTH, bufferBytes: PIECE })
    driver.initialise()
  }

  get requests(): number {
    return this.#reads + this.#writes
  }

  /** Reads and writes at random until stopped; resolves when nothing is in flight. Rejects where a byte is wrong. */
  async run(): Promise<void> {
    this.#running = true
    const began = performance.now()
    const lanes = Array.from({ length: QUEUE_DEPTH }, () => this.#lane())
    for (const lane of await Promise.allSettled(lanes)) if (lane.status === 'rejected') throw lane.reason
    this.#ms = performance.now() - began
  }

  stop(): void {
    this.#running = false
  }

  /** Resolves once `count` more requests are done. */
  more(count: number): Promise<void> {
    return new Promise((resolve) => {
      this.#milestones.set(this.requests + count, resolve)
    })
  }

  flush(): Promise<void> {
    return this.#disk.flush()
  }

  /** Reads the whole disk through the ring and compares every byte. */
  async verifyAll(): Promise<void> {
    const buffer = new Uint8Array(PIECE)
    for (let offset = 0; offset < this.#expected.byteLength; offset += PIECE) {
      await this.#disk.read(offset, buffer)
      this.#compare(offset, buffer)
    }
  }

  /** What a file with the disk's content has to hash to. */
  expectedDigest(): string {
    return createHash('sha256').update(this.#expected).digest('hex')
  }

  report(): GuestReport {
    const latencies = Float64Array.from(this.#latencies).sort()
    return {
      requests: this.requests,
      reads: this.#reads,
      writes: this.#writes,
      bytes: this.#moved,
      ms: this.#ms,
      latencies,
    }
  }

  close(): Promise<void> {
    return this.#device.close()
  }

  /** One request after the other; as many lanes as requests in flight. */
  async #lane(): Promise<void> {
    const buffer = new Uint8Array(PIECE)
    try {
      while (this.#running) {
        const range = this.#chooseRange()
        const began = performance.now()
        this.#locked.add(range.piece)
        const isRead = this.#random() % 10 < 6
        await (isRead ? this.#read(range, buffer) : this.#write(range, buffer))
        this.#locked.delete(range.piece)
        this.#count(isRead, range.bytes, performance.now() - began)
      }
    } finally {
      // One that fails stops the others, so that the failure is told at once.
      this.#running = false
    }
  }

  async #read({ offset, bytes }: Range, buffer: Uint8Array): Promise<void> {
    const into = buffer.subarray(0, bytes)
    await this.#disk.read(offset, into)
    this.#compare(offset, into)
  }

  async #write({ offset, bytes }: Range, buffer: Uint8Array): Promise<void> {
    const data = buffer.subarray(0, bytes)
    for (let at = 0; at < data.byteLength; at += 64) data[at] = this.#random()
    await this.#disk.write(offset, data)
    this.#expected.set(data, offset)
  }

  #count(isRead: boolean, bytes: number, ms: number): void {
    if (isRead) this.#reads += 1
    else this.#writes += 1
    this.#moved += bytes
    this.#latencies.push(ms)
    this.#milestones.get(this.requests)?.()
  }

  #compare(offset: number, data: Uint8Array): void {
    const expected = this.#expected.subarray(offset, offset + data.byteLength)
    if (Buffer.compare(expected, data) === 0) return
    throw new BlockError('EIO', `the ${data.byteLength} bytes at ${offset} read back wrong`)
  }

  /** 4 to 64 KiB, at any sector of a piece that nobody uses. */
  #chooseRange(): Range {
    const pieces = this.#expected.byteLength / PIECE
    let piece = this.#random() % pieces
    while (this.#locked.has(piece)) piece = (piece + 1) % pieces
    const bytes = (4 * KiB) << (this.#random() % 5)
    const offset = piece * PIECE + (this.#random() % ((PIECE - bytes) / SECTOR + 1)) * SECTOR
    return { piece, offset, bytes }
  }

  /** Xorshift: the demo does the same each time. */
  #random(): number {
    this.#seed ^= this.#seed << 13
    this.#seed ^= this.#seed >>> 17
    this.#seed ^= this.#seed << 5
    return this.#seed >>> 0
  }
}
