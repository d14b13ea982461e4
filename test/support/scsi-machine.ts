// A guest with a virtio-scsi controller and disks over flat buffers: a driver of its three kinds of queues.

import { createDriverQueue } from '../../src/devices/virtio/driver-queue/create-driver-queue.js'
import type { DriverQueue } from '../../src/devices/virtio/driver-queue/driver-queue.js'
import { planQueue } from '../../src/devices/virtio/driver-queue/queue-plan.js'
import { GuestMemory } from '../../src/devices/virtio/memory/guest-memory.js'
import type { ScsiDiskOptions } from '../../src/devices/virtio/scsi/scsi-unit.js'
import { VirtioScsiDevice, type VirtioScsiOptions } from '../../src/devices/virtio/scsi/virtio-scsi.js'
import { decodeFixedSense, type Sense } from '../../src/protocols/scsi/sense.js'
import { decodeScsiResponse, encodeScsiAddress } from '../../src/protocols/virtio/scsi.js'
import { settleMicrotasks, VirtualClock } from '../../src/testing/virtual-clock.js'
import { FlatDisk, type FlatDiskOptions } from './flat-disk.js'

const QUEUE_SIZE = 16
const PLAIN = { packed: false, indirect: false, eventIndex: false, inOrder: false }
const SLOTS_AT = 0x10000
const SLOT_BYTES = 0x6000
const OUT_AT = 0x400
const IN_AT = 0x2400

export interface ScsiCall {
  cdb: number[]
  target?: number
  lun?: number
  /** Eight bytes in place of an address. */
  address?: number[]
  tag?: number
  out?: Uint8Array
  inBytes?: number
}

export interface ScsiAnswer {
  response: number
  status: number
  residual: number
  sense: Sense | undefined
  used: number
  data: Uint8Array
}

interface Slot {
  at: number
  call: ScsiCall
}

/** What a control request carries. */
export interface TaskCall {
  subtype: number
  target?: number
  lun?: number
  tag?: number
}

export class ScsiMachine {
  readonly clock = new VirtualClock()
  readonly ram = new Uint8Array(1 << 20)
  readonly memory = new GuestMemory([{ address: 0, memory: this.ram }])
  readonly device: VirtioScsiDevice
  readonly disks: FlatDisk[] = []
  queues: DriverQueue[] = []
  configNotifications = 0
  senseSize = 96
  cdbSize = 32
  features: bigint
  private readonly slots = new Map<number, Slot>()
  private readonly tasks = new Map<number, number>()
  private nextSlot = 0

  constructor(options: Partial<VirtioScsiOptions> & { features?: bigint } = {}) {
    this.features = options.features ?? (1n << 32n) | 6n
    this.device = new VirtioScsiDevice({
      clock: this.clock,
      memory: this.memory,
      notifier: { notifyQueue: () => {}, notifyConfig: () => this.configNotifications++ },
      queueSize: QUEUE_SIZE,
      ...options,
    })
  }

  /** Attaches a flat disk. */
  attach(options: Partial<ScsiDiskOptions> & { bytes?: number; disk?: FlatDiskOptions } = {}): FlatDisk {
    const disk = new FlatDisk(options.bytes ?? 1 << 18, this.clock, options.disk)
    this.disks.push(disk)
    this.device.attachDisk({ root: disk.root, ...options })
    return disk
  }

  start(): this {
    const { device } = this
    device.writeStatus(1)
    device.writeStatus(3)
    device.writeFeatures(0, Number(this.features & 0xffff_ffffn))
    device.writeFeatures(1, Number(this.features >> 32n))
    device.writeStatus(11)
    this.queues = [0, 1, 2].map((index) => {
      const plan = planQueue(0x1000 * (index + 1), QUEUE_SIZE)
      const queue = createDriverQueue(this.memory, plan, PLAIN)
      device.enableQueue(index, plan.config)
      return queue
    })
    device.writeStatus(15)
    this.slots.clear()
    this.tasks.clear()
    return this
  }

  async settle(): Promise<void> {
    for (let i = 0; i < 4; i++) await settleMicrotasks()
  }

  /** Submits a command and kicks; its head. */
  submit(call: ScsiCall): number {
    const at = SLOTS_AT + SLOT_BYTES * (this.nextSlot++ % 40)
    const { out, inBytes = 0 } = call
    this.ram.fill(0, at, at + SLOT_BYTES)
    encodeScsiAddress(this.ram, at, call.target ?? 0, call.lun ?? 0)
    if (call.address !== undefined) this.ram.set(call.address, at)
    new DataView(this.ram.buffer).setUint32(at + 8, call.tag ?? 0, true)
    this.ram.set(call.cdb, at + 19)
    if (out !== undefined) this.ram.set(out, at + OUT_AT)
    this.ram.fill(0xcc, at + 0x100, at + 0x300)
    this.ram.fill(0xcc, at + IN_AT, at + IN_AT + inBytes)
    const queue = this.queues[2] as DriverQueue
    const head = queue.begin(2 + (out === undefined ? 0 : 1) + (inBytes === 0 ? 0 : 1))
    queue.append(at, 19 + this.cdbSize, false)
    if (out !== undefined) queue.append(at + OUT_AT, out.length, false)
    queue.append(at + 0x100, 12 + this.senseSize, true)
    if (inBytes > 0) queue.append(at + IN_AT, inBytes, true)
    queue.end()
    queue.publish()
    this.slots.set(head, { at, call })
    this.device.kick(2)
    return head
  }

  /** Answers that have come, by head. */
  reap(): Map<number, ScsiAnswer> {
    const queue = this.queues[2] as DriverQueue
    const answers = new Map<number, ScsiAnswer>()
    for (let count = queue.pending(); count > 0; count--) {
      const head = queue.reap()
      const { at, call } = this.slots.get(head) as Slot
      const fixed = decodeScsiResponse(this.ram.subarray(at + 0x100, at + 0x10c))
      const sense = this.ram.subarray(at + 0x10c, at + 0x10c + fixed.senseLength)
      answers.set(head, {
        response: fixed.response,
        status: fixed.status,
        residual: fixed.residual,
        sense: fixed.senseLength === 0 ? undefined : decodeFixedSense(sense),
        used: queue.usedLength,
        data: this.ram.slice(at + IN_AT, at + IN_AT + (call.inBytes ?? 0)),
      })
    }
    return answers
  }

  /** One command, to its end. */
  async run(call: ScsiCall): Promise<ScsiAnswer> {
    const head = this.submit(call)
    await this.settle()
    const answer = this.reap().get(head)
    if (answer === undefined) throw new Error('no answer')
    return answer
  }

  /** The same for a disk that has nothing to tell of itself any more. */
  async ready(call: ScsiCall): Promise<ScsiAnswer> {
    for (let i = 0; i < 4; i++) {
      const answer = await this.run({ ...call, cdb: [0], inBytes: 0, out: undefined as never })
      if (answer.status === 0) break
    }
    return this.run(call)
  }

  /** Submits a task management function. */
  submitTask(task: TaskCall): void {
    const at = SLOTS_AT + SLOT_BYTES * (this.nextSlot++ % 40)
    const view = new DataView(this.ram.buffer)
    this.ram.fill(0, at, at + 24)
    view.setUint32(at + 4, task.subtype, true)
    encodeScsiAddress(this.ram, at + 8, task.target ?? 0, task.lun ?? 0)
    view.setUint32(at + 16, task.tag ?? 0, true)
    this.ram[at + 0x40] = 0xcc
    this.control([[at, 24, false]], [[at + 0x40, 1, true]], at + 0x40)
  }

  /** Submits raw control buffers; `answerAt` is where its response byte will be. */
  control(out: [number, number, boolean][], into: [number, number, boolean][], answerAt: number): void {
    const queue = this.queues[0] as DriverQueue
    const head = queue.begin(out.length + into.length)
    for (const [address, bytes, writable] of [...out, ...into]) queue.append(address, bytes, writable)
    queue.end()
    queue.publish()
    this.tasks.set(head, answerAt)
    this.device.kick(0)
  }

  /** Responses of control requests that have come. */
  reapTasks(): (number | undefined)[] {
    const queue = this.queues[0] as DriverQueue
    return Array.from({ length: queue.pending() }, () => this.ram[this.tasks.get(queue.reap()) as number])
  }

  async task(task: TaskCall): Promise<number | undefined> {
    this.submitTask(task)
    await this.settle()
    return this.reapTasks()[0]
  }

  /** Gives the device a buffer for an event. */
  offerEvent(bytes = 16): void {
    const queue = this.queues[1] as DriverQueue
    const at = 0x8000 + 0x40 * (this.nextSlot++ % 64)
    queue.begin(1)
    queue.append(at, bytes, true)
    queue.end()
    queue.publish()
    this.eventsAt.push(at)
    this.device.kick(1)
  }

  private eventsAt: number[] = []

  /** Events that have come: event, target, lun, reason. */
  async takeEvents(): Promise<number[][]> {
    await this.settle()
    const queue = this.queues[1] as DriverQueue
    const view = new DataView(this.ram.buffer)
    return Array.from({ length: queue.pending() }, () => {
      queue.reap()
      const at = this.eventsAt.shift() as number
      const lun = ((view.getUint8(at + 6) & 0x3f) << 8) | view.getUint8(at + 7)
      return [view.getUint32(at, true), view.getUint8(at + 5), lun, view.getUint32(at + 12, true)]
    })
  }
}
