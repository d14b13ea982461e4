// An emulator's disk, registers and all: a virtio-mmio transport (virtio 1.2, 4.2) in front of a virtio-blk device, and a guest
// that knows nothing but those registers and its memory.
// Usage: node build/examples/virtio-mmio.js

import assert from 'node:assert/strict'
import {
  BLK_PERM_CONSISTENT_READ,
  BLK_PERM_WRITE,
  BlockGraph,
  builtinDrivers,
  closeNode,
  createBackend,
  type GuestAddress,
  GuestMemory,
  MiB,
  openNode,
  type QueueConfig,
  VirtioBlkDevice,
  type VirtioDevice,
} from 'blockgraph'
import { GuestBlkDriver, GuestDisk, type GuestTransport } from 'blockgraph/testing'

/** Registers, by their offset (virtio 1.2, 4.2.2). */
const R = {
  magic: 0x00,
  version: 0x04,
  deviceId: 0x08,
  deviceFeatures: 0x10,
  deviceFeaturesSelect: 0x14,
  driverFeatures: 0x20,
  driverFeaturesSelect: 0x24,
  queueSelect: 0x30,
  queueSizeMax: 0x34,
  queueSize: 0x38,
  queueReady: 0x44,
  queueNotify: 0x50,
  interruptStatus: 0x60,
  interruptAcknowledge: 0x64,
  status: 0x70,
  descriptorTable: 0x80,
  availRing: 0x90,
  usedRing: 0xa0,
  configGeneration: 0xfc,
  config: 0x100,
} as const

const zero = (): QueueConfig => ({
  size: 0,
  descriptorTable: { high: 0, low: 0 },
  availRing: { high: 0, low: 0 },
  usedRing: { high: 0, low: 0 },
})

/** The registers of one device. What a guest gets wrong leads nowhere; nothing here throws for it. */
class MmioRegisters {
  readonly #device: VirtioDevice
  readonly #queues: QueueConfig[]
  #features = { device: 0, driver: 0 }
  #queue = 0

  constructor(device: VirtioDevice) {
    this.#device = device
    this.#queues = Array.from({ length: device.queueCount }, zero)
  }

  read(offset: number): number {
    const device = this.#device
    switch (offset) {
      case R.magic:
        return 0x74726976
      case R.version:
        return 2
      case R.deviceId:
        return device.deviceId
      case R.deviceFeatures:
        return device.readFeatures(this.#features.device)
      case R.queueSizeMax:
        return this.#queue < device.queueCount ? device.queueSizeMax : 0
      case R.queueReady:
        return device.isQueueRunning(this.#queue) ? 1 : 0
      case R.interruptStatus:
        return device.interruptStatus
      case R.status:
        return device.readStatus()
      case R.configGeneration:
        return device.configGeneration
      default:
        return offset < R.config ? 0 : this.#readConfig(offset - R.config)
    }
  }

  write(offset: number, value: number): void {
    const device = this.#device
    if (offset === R.deviceFeaturesSelect) this.#features.device = value
    else if (offset === R.driverFeaturesSelect) this.#features.driver = value
    else if (offset === R.driverFeatures) device.writeFeatures(this.#features.driver, value)
    else if (offset === R.queueSelect) this.#queue = value
    else if (offset === R.queueNotify) device.kick(value)
    else if (offset === R.interruptAcknowledge) device.acknowledgeInterrupts(value)
    else if (offset === R.status) device.writeStatus(value)
    else if (offset >= R.config) this.#writeConfig(offset - R.config, value)
    else this.#writeQueue(offset, value)
  }

  #readConfig(offset: number): number {
    const bytes = new Uint8Array(4)
    this.#device.readConfig(offset, bytes)
    return new DataView(bytes.buffer).getUint32(0, true)
  }

  #writeConfig(offset: number, value: number): void {
    this.#device.writeConfig(offset, Uint8Array.of(value))
  }

  #writeQueue(offset: number, value: number): void {
    const queue = this.#queues[this.#queue]
    if (queue === undefined) return
    if (offset === R.queueSize) queue.size = value
    else if (offset === R.queueReady && value === 1) this.#startQueue(queue)
    else this.#writeAddress(queue, offset, value)
  }

  #startQueue(queue: QueueConfig): void {
    // A layout that is no good leaves the queue as it was: QueueReady reads 0 then.
    try {
      this.#device.enableQueue(this.#queue, queue)
    } catch (error) {
      console.log(`queue ${this.#queue}: ${error instanceof Error ? error.message : String(error)}`)
    }
  }

  #writeAddress(queue: QueueConfig, offset: number, value: number): void {
    for (const part of ['descriptorTable', 'availRing', 'usedRing'] as const) {
      if (offset === R[part]) queue[part] = { ...queue[part], low: value }
      if (offset === R[part] + 4) queue[part] = { ...queue[part], high: value }
    }
  }
}

/** The guest's end of the registers. */
function driverOf(registers: MmioRegisters): GuestTransport {
  const { read, write } = { read: (at: number) => registers.read(at), write: registers.write.bind(registers) }
  const writeAddress = (at: number, address: GuestAddress) => {
    write(at, address.low)
    write(at + 4, address.high)
  }
  return {
    get queueSizeMax() {
      return read(R.queueSizeMax)
    },
    get configGeneration() {
      return read(R.configGeneration)
    },
    readFeatures(select) {
      write(R.deviceFeaturesSelect, select)
      return read(R.deviceFeatures)
    },
    writeFeatures(select, value) {
      write(R.driverFeaturesSelect, select)
      write(R.driverFeatures, value)
    },
    readStatus: () => read(R.status),
    writeStatus: (value) => write(R.status, value),
    readConfig(offset, into) {
      for (let i = 0; i < into.length; i++) into[i] = read(R.config + offset + i) & 0xff
    },
    enableQueue(index, config) {
      write(R.queueSelect, index)
      write(R.queueSize, config.size)
      writeAddress(R.descriptorTable, config.descriptorTable)
      writeAddress(R.availRing, config.availRing)
      writeAddress(R.usedRing, config.usedRing)
      write(R.queueReady, 1)
      assert.equal(read(R.queueReady), 1)
    },
    kick: (index) => write(R.queueNotify, index),
  }
}

const graph = new BlockGraph({ drivers: builtinDrivers })
const backend = await graph.mainLoop(async (main) => {
  const node = await openNode(main, graph, { driver: 'memory', 'node-name': 'disk', size: 16 * MiB })
  const perm = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE
  return createBackend(main, graph, { name: 'vda', node, perm, shared: BLK_PERM_CONSISTENT_READ })
})
const memory = new GuestMemory([{ address: 0, memory: new SharedArrayBuffer(8 * MiB) }])
let interrupts = 0
// One interrupt line for both sources: the guest asks the status register which it was.
const interrupt = () => {
  interrupts++
  const causes = registers.read(R.interruptStatus)
  registers.write(R.interruptAcknowledge, causes)
  if ((causes & 1) !== 0) disk.notified()
}
const device = new VirtioBlkDevice({
  root: backend.root,
  memory,
  serial: 'mmio-0001',
  notifier: { notifyQueue: interrupt, notifyConfig: interrupt },
})
const registers: MmioRegisters = new MmioRegisters(device)
assert.deepEqual([registers.read(R.magic), registers.read(R.version), registers.read(R.deviceId)], [0x74726976, 2, 2])

const driver = new GuestBlkDriver({ device: driverOf(registers), memory, address: 0x10000 })
const disk: GuestDisk = new GuestDisk({ driver, memory })
driver.initialise()
console.log(`guest sees ${await disk.id()} through its registers: ${disk.size / MiB} MiB`)
const sent = Uint8Array.from({ length: 4096 }, (_, i) => i)
await disk.write(8192, sent)
await disk.flush()
const got = new Uint8Array(4096)
await disk.read(8192, got)
assert.deepEqual(got, sent)
assert.ok(interrupts >= 3 && registers.read(R.interruptStatus) === 0)
console.log(`wrote, flushed and read back, with ${interrupts} interrupts`)

await device.close()
assert.equal(registers.read(R.status), 0)
await graph.mainLoop(async (main) => {
  await backend.close(main)
  await closeNode(main, graph.node('disk'))
})
