// The guest of the demo: drives the virtio-blk device through its ring with many requests in flight, and knows at any moment
// what every byte of the disk has to be.

import { createHash } from 'node:crypto'
import { performance } from 'node:perf_hooks'
import { type BackendRoot, BlockError, GuestMemory, KiB, MiB, VirtioBlkDevice } from 'blockgraph/node'
import { GuestBlkDriver } from 'blockgraph/testing'

const QUEUE_DEPTH = 64
const SLOT_BYTES = 64 * KiB
const BUFFERS_AT = MiB
const SECTOR = 512

interface Slot {
  kind: 'read' | 'write'
  offset: number
  bytes: number
  /** Guest address of its buffer. */
  address: number
  began: number
}

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

/** A guest with one disk. */
export class Guest {
  readonly #bytes = new Uint8Array(new SharedArrayBuffer(BUFFERS_AT + QUEUE_DEPTH * SLOT_BYTES))
  readonly #expected: Uint8Array
  readonly #device: VirtioBlkDevice
  readonly #driver: GuestBlkDriver
  readonly #slots: (Slot | undefined)[] = []
  readonly #free: number[] = []
  readonly #byHead = new Map<number, { slot: number; done: () => void }>()
  /** Pieces of the disk with a request in flight: two at once would have no certain outcome. */
  readonly #locked = new Set<number>()
  readonly #latencies: number[] = []
  readonly #waiters: { count: number; resolve: () => void }[] = []
  #seed = 0x2545f491
  #requests = 0
  #reads = 0
  #moved = 0
  #running = false
  #polling = false
  #began = 0
  #ended = 0
  #failure: Error | undefined
  #idle: (() => void) | undefined

  constructor(root: BackendRoot, expected: Uint8Array) {
    this.#expected = expected
    const memory = new GuestMemory([{ address: 0, memory: this.#bytes }])
    this.#device = new VirtioBlkDevice({ root, memory, serial: 'demo', notifyGuest: () => this.#completed() })
    this.#driver = new GuestBlkDriver({ device: this.#device, memory, address: 4096 })
    this.#driver.initialise()
    this.#driver.queue.enableNotifications()
    for (let slot = 0; slot < QUEUE_DEPTH; slot++) this.#free.push(slot)
  }

  /** Reads and writes at random until stopped; resolves when nothing is in flight. */
  async run(): Promise<void> {
    this.#running = true
    this.#began = performance.now()
    this.#fill()
    await new Promise<void>((resolve) => {
      this.#idle = resolve
    })
    this.#ended = performance.now()
    if (this.#failure !== undefined) throw this.#failure
  }

  stop(): void {
    this.#running = false
  }

  /** Resolves once `count` requests are done. */
  until(count: number): Promise<void> {
    return new Promise((resolve) => {
      this.#waiters.push({ count, resolve })
    })
  }

  untilMore(count: number): Promise<void> {
    return this.until(this.#requests + count)
  }

  async flush(): Promise<void> {
    await this.#alone((driver) => driver.submitFlush())
  }

  /** Reads the whole disk through the ring and compares every byte. */
  async verifyAll(): Promise<void> {
    for (let offset = 0; offset < this.#expected.byteLength; offset += SLOT_BYTES) {
      await this.#alone((driver) => driver.submitRead(offset / SECTOR, BUFFERS_AT, SLOT_BYTES))
      this.#compare(offset, this.#bytes.subarray(BUFFERS_AT, BUFFERS_AT + SLOT_BYTES))
    }
  }

  expectedDigest(): string {
    return createHash('sha256').update(this.#expected).digest('hex')
  }

  report(): GuestReport {
    return {
      requests: this.#requests,
      reads: this.#reads,
      writes: this.#requests - this.#reads,
      bytes: this.#moved,
      ms: this.#ended - this.#began,
      latencies: Float64Array.from(this.#latencies).sort(),
    }
  }

  async close(): Promise<void> {
    await this.#device.close()
  }

  #fill(): void {
    for (let slot = this.#free.pop(); slot !== undefined; slot = this.#free.pop()) this.#start(slot)
    this.#driver.kick()
  }

  #start(index: number): void {
    const { kind, offset, bytes } = this.#choose()
    const address = BUFFERS_AT + index * SLOT_BYTES
    const slot: Slot = { kind, offset, bytes, address, began: performance.now() }
    this.#slots[index] = slot
    this.#locked.add(Math.floor(offset / SLOT_BYTES))
    if (kind === 'write') this.#randomBytes(address, bytes)
    const sector = offset / SECTOR
    const head =
      kind === 'read'
        ? this.#driver.submitRead(sector, address, bytes)
        : this.#driver.submitWrite(sector, address, bytes)
    this.#byHead.set(head, { slot: index, done: () => {} })
  }

  #choose(): { kind: 'read' | 'write'; offset: number; bytes: number } {
    const pieces = this.#expected.byteLength / SLOT_BYTES
    let piece = this.#random() % pieces
    while (this.#locked.has(piece)) piece = (piece + 1) % pieces
    const bytes = (4 * KiB) << (this.#random() % 5)
    const offset = piece * SLOT_BYTES + (this.#random() % ((SLOT_BYTES - bytes) / SECTOR + 1)) * SECTOR
    return { kind: this.#random() % 10 < 6 ? 'read' : 'write', offset, bytes }
  }

  /** The device has used buffers. Takes them back and keeps the ring full. */
  #completed(): void {
    // A request that completes at once notifies from inside the kick; the loop below sees it.
    if (this.#polling) return
    this.#polling = true
    do {
      this.#driver.poll((head, status) => this.#finish(head, status))
      if (this.#running && this.#failure === undefined) this.#fill()
    } while (this.#driver.queue.enableNotifications())
    this.#polling = false
    if (this.#byHead.size === 0 && (!this.#running || this.#failure !== undefined)) this.#idle?.()
  }

  #finish(head: number, status: number): void {
    const waiting = this.#byHead.get(head)
    this.#byHead.delete(head)
    if (status !== 0) this.#failure ??= new BlockError('EIO', `a request came back with status ${status}`)
    waiting?.done()
    const slot = waiting === undefined ? undefined : this.#slots[waiting.slot]
    if (waiting === undefined || slot === undefined || waiting.slot < 0) return
    this.#latencies.push(performance.now() - slot.began)
    this.#settle(slot)
    this.#slots[waiting.slot] = undefined
    this.#free.push(waiting.slot)
  }

  #settle(slot: Slot): void {
    const { offset, bytes, address } = slot
    const data = this.#bytes.subarray(address, address + bytes)
    if (slot.kind === 'read') this.#compare(offset, data)
    else this.#expected.set(data, offset)
    this.#locked.delete(Math.floor(offset / SLOT_BYTES))
    this.#requests += 1
    this.#moved += bytes
    if (slot.kind === 'read') this.#reads += 1
    for (const waiter of this.#waiters) if (this.#requests === waiter.count) waiter.resolve()
  }

  #compare(offset: number, data: Uint8Array): void {
    const expected = this.#expected.subarray(offset, offset + data.byteLength)
    if (Buffer.compare(expected, data) !== 0)
      this.#failure ??= new BlockError('EIO', `the ${data.byteLength} bytes at ${offset} read back wrong`)
    if (this.#failure !== undefined && !this.#running) throw this.#failure
  }

  /** One request with nothing else in flight. */
  async #alone(submit: (driver: GuestBlkDriver) => number): Promise<void> {
    await new Promise<void>((resolve) => {
      const head = submit(this.#driver)
      this.#byHead.set(head, { slot: -1, done: resolve })
      this.#driver.kick()
    })
    if (this.#failure !== undefined) throw this.#failure
  }

  #randomBytes(address: number, bytes: number): void {
    const words = new Uint32Array(this.#bytes.buffer, address, bytes / 4)
    for (let i = 0; i < words.length; i += 16) words[i] = this.#random()
  }

  /** Xorshift: the demo does the same each time. */
  #random(): number {
    this.#seed ^= this.#seed << 13
    this.#seed ^= this.#seed >>> 17
    this.#seed ^= this.#seed << 5
    return this.#seed >>> 0
  }
}
