// A guest of good faith with several queues before a virtio-blk device that may be saved and loaded elsewhere, stopped,
// drained and failed at any moment; and what a flat disk would hold. Requests in flight never overlap, so that the outcome
// does not depend on their order.

import { expect } from 'vitest'
import { BlockError } from '../../src/common/error.js'
import { VirtioBlkDevice } from '../../src/devices/virtio/blk/virtio-blk.js'
import type { VirtioDeviceState } from '../../src/devices/virtio/core/device-state.js'
import { createDriverQueue } from '../../src/devices/virtio/driver-queue/create-driver-queue.js'
import type { DriverQueue } from '../../src/devices/virtio/driver-queue/driver-queue.js'
import { planQueue } from '../../src/devices/virtio/driver-queue/queue-plan.js'
import { GuestMemory } from '../../src/devices/virtio/memory/guest-memory.js'
import type { QueueFeatures } from '../../src/devices/virtio/queue/create-queue.js'
import { drained } from '../../src/io/drained.js'
import { encodeBlkHeader, encodeBlkSegment } from '../../src/protocols/virtio/blk.js'
import type { RandomBelow } from '../../src/testing/crash/seeded-random.js'
import { FlatDisk } from './flat-disk.js'
import { ManualClock } from './hostile-guest.js'

export const QUEUES = 3
const QUEUE_SIZE = 16
const SECTORS = 128
const SLOTS_AT = 0x20000
const SLOT_BYTES = 0x2000
const SLOTS = 24

interface Outstanding {
  slot: number
  at: number
  statusAt: number
  sector: number
  sectors: number
  /** What a read has to find. */
  expected: Uint8Array | undefined
}

export class LegalWorld {
  readonly clock = new ManualClock()
  readonly ram = new Uint8Array(new SharedArrayBuffer(0x60000))
  readonly view = new DataView(this.ram.buffer)
  readonly memory: GuestMemory
  readonly disk = new FlatDisk(SECTORS * 512, this.clock, { onError: 'stop' })
  readonly model = new Uint8Array(SECTORS * 512)
  readonly features: QueueFeatures
  readonly queues: DriverQueue[]
  device: VirtioBlkDevice
  answered = { read: 0, write: 0 }
  private readonly random: RandomBelow
  private readonly outstanding: Map<number, Outstanding>[] = Array.from({ length: QUEUES }, () => new Map())
  private readonly freeSlots = Array.from({ length: SLOTS }, (_, slot) => slot)

  constructor(features: QueueFeatures, random: RandomBelow) {
    this.random = random
    this.features = features
    this.memory = new GuestMemory([
      { address: 0, memory: this.ram.subarray(0, 0x23000) },
      { address: 0x23000, memory: this.ram.subarray(0x23000) },
    ])
    this.disk.record = false
    this.device = this.newDevice()
    const { device } = this
    device.writeStatus(1)
    device.writeStatus(3)
    device.writeFeatures(
      0,
      (device.readFeatures(0) & ~(3 << 28)) | bit(features.indirect, 28) | bit(features.eventIndex, 29),
    )
    device.writeFeatures(1, 1 | bit(features.packed, 2) | bit(features.inOrder, 3) | (1 << 8))
    device.writeStatus(11)
    expect(device.readStatus()).toBe(11)
    this.queues = Array.from({ length: QUEUES }, (_, index) => {
      const plan = planQueue(0x1000 + 0x4000 * index, QUEUE_SIZE, { packed: features.packed, tableEntries: 8 })
      device.enableQueue(index, plan.config)
      return createDriverQueue(this.memory, plan, features)
    })
    device.writeStatus(15)
  }

  get inFlight(): number {
    return this.outstanding.reduce((sum, each) => sum + each.size, 0)
  }

  /** Adds a request to a queue, where there is room for it. */
  submit(index: number): void {
    const { random } = this
    const slot = this.freeSlots[this.freeSlots.length - 1]
    const sectors = 1 + random(4)
    const sector = random(SECTORS - sectors)
    if (slot === undefined || this.overlaps(sector, sectors)) return
    const kind = [0, 0, 0, 1, 1, 1, 4, 11, 13][random(9)] as number
    const at = SLOTS_AT + SLOT_BYTES * slot
    const bytes = sectors * 512
    const readable = 16 + (kind === 1 ? bytes : kind > 8 ? 16 : 0)
    const writable = 1 + (kind === 0 ? bytes : 0)
    const cuts = [...this.cut(readable, at, false), ...this.cut(writable, at + readable, true)]
    const queue = this.queues[index] as DriverQueue
    const head = queue.begin(cuts.length)
    if (head < 0) return
    this.freeSlots.pop()
    this.write(kind, at, sector, sectors)
    for (const [address, length, isWritable] of cuts) queue.append(address, length, isWritable)
    queue.end()
    const offset = sector * 512
    const expected = kind === 0 ? this.model.slice(offset, offset + bytes) : undefined
    if (kind === 1) this.model.set(this.ram.subarray(at + 16, at + 16 + bytes), offset)
    if (kind > 8) this.model.fill(0, offset, offset + bytes)
    const statusAt = at + readable + writable - 1
    this.ram[statusAt] = 0xff
    this.outstanding[index]?.set(head, { slot, at, statusAt, sector, sectors, expected })
    this.answered[kind === 0 ? 'read' : 'write'] += kind === 0 || kind === 1 || kind === 13 ? 1 : 0
  }

  /** Shows the device what was added, and kicks it where it asks for that. */
  kick(index: number): void {
    if ((this.queues[index] as DriverQueue).publish()) this.device.kick(index)
  }

  /** Takes back what has come and compares it. */
  reap(): void {
    for (const [index, queue] of this.queues.entries()) {
      for (let count = queue.pending(); count > 0; count--) {
        const head = queue.reap()
        const one = this.outstanding[index]?.get(head)
        if (one === undefined) throw new Error(`head ${head} came back, which the device did not have`)
        this.outstanding[index]?.delete(head)
        this.freeSlots.push(one.slot)
        expect(this.ram[one.statusAt]).toBe(0)
        expect(queue.usedLength).toBe(one.expected === undefined ? 1 : one.sectors * 512 + 1)
        if (one.expected === undefined) continue
        const data = this.ram.subarray(one.at + 16, one.at + 16 + one.sectors * 512)
        expect(Buffer.compare(data, one.expected)).toBe(0)
      }
      queue.enableNotifications()
    }
  }

  /** The disk answers up to `most` requests, some with errors where `failing`. */
  release(most: number, failing: boolean): void {
    const { held } = this.disk
    for (let i = 0; i < most && held !== undefined && held.length > 0; i++) {
      const [answer] = held.splice(this.random(held.length), 1)
      answer?.settle(failing && this.random(3) === 0 ? new BlockError('EIO', 'not now') : undefined)
    }
  }

  /** Runs turns and promises as far as they go without the disk. */
  async settle(): Promise<void> {
    for (let i = 0; i < 4; i++) {
      for (const callback of this.clock.turns.splice(0)) callback()
      for (let tick = 0; tick < 8; tick++) await undefined
    }
  }

  /** Waits for something, while the disk goes on. */
  async during<T>(pending: Promise<T>, failing = false): Promise<T> {
    let done = false
    const watched = pending.finally(() => {
      done = true
    })
    for (let turn = 0; turn < 500 && !done; turn++) {
      this.release(2, failing)
      await this.settle()
    }
    if (!done) throw new Error('it never ends')
    return watched
  }

  /** The device is saved, and another one goes on from there. */
  async move(failing: boolean): Promise<void> {
    const saved = await this.during(this.device.save(), failing)
    const state = JSON.parse(JSON.stringify(saved)) as VirtioDeviceState
    await this.during(this.device.close())
    this.device = this.newDevice()
    this.device.load(state)
    await this.settle()
    this.device.unpause()
  }

  /** One queue is stopped and goes on where it stood. */
  async restartQueue(index: number): Promise<void> {
    const state = await this.during(this.device.stopQueue(index))
    this.device.enableQueue(index, (this.queues[index] as DriverQueue).plan.config, state)
  }

  /** The same, and what has failed or fails meanwhile is left to its next life. How many chains that were. */
  async suspendQueue(index: number, failing: boolean): Promise<number> {
    const { state, heads, lists } = await this.during(this.device.suspendQueue(index), failing)
    const left = heads.length
    await this.settle()
    this.device.enableQueue(index, (this.queues[index] as DriverQueue).plan.config, state)
    expect(this.device.refetch(index, heads, lists)).toBe(left)
    return left
  }

  async drain(): Promise<void> {
    const section = await this.during(drained(this.disk.node))
    await this.settle()
    section.end()
  }

  /** Everything is answered, once, and the disk is what the model says. */
  async finish(): Promise<void> {
    // Who polls has to arm in the end, or no kicks come.
    while (this.device.armNotifications()) this.device.poll()
    for (let turn = 0; turn < 300 && this.inFlight > 0; turn++) {
      this.device.resume()
      for (let i = 0; i < QUEUES; i++) this.kick(i)
      this.release(8, false)
      await this.settle()
      this.reap()
    }
    expect(this.inFlight).toBe(0)
    expect(Buffer.compare(this.disk.data, this.model)).toBe(0)
    expect(this.device.resetReason).toBeUndefined()
    expect(this.queues.map((queue) => queue.free)).toEqual(this.queues.map((queue) => queue.size))
    const { read, write } = this.disk.root.accounting
    expect({ read: read.operations, write: write.operations }).toEqual(this.answered)
    await this.during(this.device.close())
  }

  private newDevice(): VirtioBlkDevice {
    return new VirtioBlkDevice({
      root: this.disk.root,
      memory: this.memory,
      clock: this.clock,
      queues: QUEUES,
      queueSize: QUEUE_SIZE,
      inOrder: true,
      notifier: { notifyQueue: () => {} },
    })
  }

  private overlaps(sector: number, sectors: number): boolean {
    return this.outstanding.some((queue) =>
      [...queue.values()].some((one) => sector < one.sector + one.sectors && one.sector < sector + sectors),
    )
  }

  /** Cuts a range into up to three buffers. */
  private cut(bytes: number, at: number, writable: boolean): [number, number, boolean][] {
    const places = [0, bytes, this.random(bytes), this.random(bytes)].sort((a, b) => a - b)
    return places.slice(1).flatMap((end, i): [number, number, boolean][] => {
      const start = places[i] as number
      return end > start ? [[at + start, end - start, writable]] : []
    })
  }

  private write(kind: number, at: number, sector: number, sectors: number): void {
    const isTransfer = kind < 2
    encodeBlkHeader(this.view, at, { type: kind, sectorHigh: 0, sectorLow: isTransfer ? sector : 0 })
    if (kind === 1) this.ram.fill(this.random(256), at + 16, at + 16 + sectors * 512)
    if (kind > 8) encodeBlkSegment(this.view, at + 16, { sectorHigh: 0, sectorLow: sector, sectors, flags: 0 })
  }
}

function bit(on: boolean, place: number): number {
  return on ? 1 << place : 0
}
