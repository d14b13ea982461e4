import { describe, expect, test } from 'vitest'
import { BlockError } from '../../../../../src/common/error.js'
import { VirtioBlkDevice } from '../../../../../src/devices/virtio/blk/virtio-blk.js'
import { drained } from '../../../../../src/io/drained.js'
import { VirtualClock } from '../../../../../src/testing/virtual-clock.js'
import { BlkMachine, DATA } from '../../../../support/blk-machine.js'
import { FlatDisk } from '../../../../support/flat-disk.js'

describe('negotiation', () => {
  test('offers what it says it does', () => {
    const machine = new BlkMachine()
    const low = [2, 4, 6, 9, 10, 11, 13, 14, 28, 29].reduce((set, bit) => set | (1 << bit), 0) >>> 0
    expect(machine.device.readFeatures(0)).toBe(low)
    expect(machine.device.readFeatures(1)).toBe(1 | (1 << 2) | (1 << 8))
    expect(machine.device.readFeatures(2)).toBe(0)
    const big = new BlkMachine({ queues: 3, sizeMax: 65536 })
    expect(big.device.readFeatures(0)).toBe((low | 2 | (1 << 12)) >>> 0)
  })

  test('V16 a bit that was not offered, or no VERSION_1: FEATURES_OK stays clear', () => {
    const { device } = new BlkMachine()
    for (const [low, high] of [
      [1 << 7, 1],
      [1, 1],
      [0, 0],
      [0, 3],
    ] as const) {
      device.writeStatus(0)
      device.writeStatus(3)
      device.writeFeatures(0, low)
      device.writeFeatures(1, high)
      device.writeStatus(11)
      expect(device.readStatus()).toBe(3)
      device.writeStatus(15)
      expect(device.readStatus()).toBe(3)
    }
  })

  test('V16 out of order: features after the agreement, DRIVER_OK without it, bits cleared', async () => {
    const machine = new BlkMachine()
    const { device } = machine
    device.writeFeatures(0, 0)
    device.writeFeatures(1, 0)
    device.writeStatus(1)
    expect(device.readStatus()).toBe(15)
    expect(await machine.works()).toBe(true)
    device.writeStatus(0)
    device.writeStatus(8)
    device.writeStatus(4)
    expect(device.readStatus()).toBe(0)
    expect(() => device.enableQueue(0, machine.driver.plan.config)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
  })

  test('a driver that has failed is not served', async () => {
    const machine = new BlkMachine()
    machine.driver.submitFlush()
    machine.device.writeStatus(machine.device.readStatus() | 128)
    expect(await machine.run()).toEqual([])
    await machine.restart()
    expect(await machine.works()).toBe(true)
  })
})

describe('configuration space', () => {
  test('shows the disk', () => {
    const machine = new BlkMachine({
      queues: 2,
      segMax: 30,
      sizeMax: 8192,
      logicalBlockSize: 4096,
      physicalBlockSize: 16384,
      minIoSize: 8192,
      optIoSize: 65536,
      maxDiscardSectors: 64,
      diskBytes: (1 << 18) + 512,
    })
    expect(machine.driver.config()).toEqual({
      capacity: 512,
      sizeMax: 8192,
      segMax: 30,
      cylinders: 0,
      heads: 16,
      sectors: 63,
      blkSize: 4096,
      physicalBlockExp: 2,
      alignmentOffset: 0,
      minIoSize: 2,
      optIoSize: 16,
      writeback: 1,
      numQueues: 2,
      maxDiscardSectors: 64,
      maxDiscardSeg: 16,
      discardSectorAlignment: 8,
      maxWriteZeroesSectors: 4194303,
      maxWriteZeroesSeg: 16,
      writeZeroesMayUnmap: 1,
      maxSecureEraseSectors: 0,
      maxSecureEraseSeg: 0,
      secureEraseSectorAlignment: 0,
    })
  })

  test('D12 any offset and width; what is not there reads 0; read-only fields stay', () => {
    const { device } = new BlkMachine()
    const whole = new Uint8Array(60)
    device.readConfig(0, whole)
    for (const [offset, width] of [
      [0, 1],
      [1, 3],
      [7, 9],
      [32, 1],
      [58, 8],
      [60, 4],
      [256, 2],
      [0xffff_ffff, 4],
      [0, 300],
    ] as const) {
      const got = new Uint8Array(width).fill(0xee)
      device.readConfig(offset, got)
      expect([...got]).toEqual(Array.from({ length: width }, (_, i) => whole[offset + i] ?? 0))
    }
    const generation = device.configGeneration
    for (const offset of [0, 8, 20, 36, 57, 0xffff_ffff, -4]) device.writeConfig(offset, new Uint8Array(4).fill(0xff))
    device.writeConfig(33, new Uint8Array(400).fill(0xff))
    const after = new Uint8Array(60)
    device.readConfig(0, after)
    expect(after).toEqual(whole)
    expect(device.configGeneration).toBe(generation)
  })

  test('a resize changes capacity and generation, and is told once', async () => {
    const machine = new BlkMachine()
    const generation = machine.device.configGeneration
    machine.disk.root.client?.resized?.(1 << 17)
    expect(machine.driver.config().capacity).toBe(256)
    expect(machine.device.configGeneration).toBe(generation + 1)
    expect(machine.configNotifications).toBe(1)
    machine.disk.root.client?.resized?.((1 << 17) + 100)
    expect(machine.configNotifications).toBe(1)
    machine.driver.submitRead(256, DATA, 512)
    expect(await machine.run()).toMatchObject([{ status: 1 }])
  })

  test.each([
    ['queues', { queues: 0 }],
    ['queueSize', { queueSize: 100 }],
    ['logicalBlockSize', { logicalBlockSize: 1000 }],
    ['physicalBlockSize', { physicalBlockSize: 256 }],
    ['minIoSize', { minIoSize: 100 }],
    ['serial', { serial: 'gr\u00fc\u00df' }],
    ['maxDiscardSectors', { maxDiscardSectors: 4194304 }],
  ])('refuses a bad %s', (_name, options) => {
    expect(() => new BlkMachine(options)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
  })
})

describe('V17 reset with requests in flight', () => {
  test('the status reads 0 only when nothing is in flight; the old life does not touch the new ring', async () => {
    const machine = new BlkMachine()
    machine.disk.held = []
    machine.driver.submitRead(0, DATA, 512)
    machine.driver.submitWrite(8, DATA + 4096, 512)
    machine.driver.kick()
    await machine.settle()
    machine.device.writeStatus(0)
    expect(machine.device.readStatus()).not.toBe(0)
    expect(() => machine.driver.initialise()).toThrow(expect.objectContaining({ code: 'EBUSY' }))
    machine.device.writeStatus(15)
    machine.device.writeFeatures(0, 0)
    machine.device.kick(0)
    const before = machine.ram.slice(0, 0x20000)
    const [read, write] = machine.disk.held
    read?.settle()
    await machine.settle()
    expect(machine.device.readStatus()).not.toBe(0)
    write?.settle(new BlockError('EIO', 'late'))
    await machine.settle()
    expect(machine.device.readStatus()).toBe(0)
    expect(machine.ram.slice(0, 0x20000)).toEqual(before)
    expect(machine.notifications).toEqual([])
    machine.disk.held = undefined
    machine.driver.initialise()
    expect(await machine.works()).toBe(true)
  })

  test('a driver that resets from inside its notification, and kicks at once, is served', async () => {
    let resets = 0
    const machine: BlkMachine = new BlkMachine({
      notifyQueue: () => {
        if (resets++ > 0) return
        machine.driver.reset()
        machine.driver.initialise()
        machine.driver.submitFlush()
        machine.driver.submitRead(0, DATA, 512)
        machine.driver.kick()
      },
    })
    machine.driver.submitRead(0, DATA, 512)
    machine.driver.kick()
    await machine.settle()
    expect(machine.reap()).toHaveLength(2)
  })

  test('close waits, and lets go of the backend', async () => {
    const machine = new BlkMachine()
    machine.disk.held = []
    machine.driver.submitRead(0, DATA, 512)
    machine.driver.kick()
    let closed = false
    void machine.device.close().then(() => {
      closed = true
    })
    await machine.settle()
    expect(closed).toBe(false)
    machine.disk.held[0]?.settle()
    await machine.settle()
    expect(closed).toBe(true)
    expect(machine.disk.root.client).toBeUndefined()
    expect(machine.disk.root.holdWhileDrained).toBe(true)
  })

  test('a backend has one device', () => {
    const machine = new BlkMachine()
    const again = () =>
      new VirtioBlkDevice({ root: machine.disk.root, memory: machine.memory, notifier: { notifyQueue: () => {} } })
    expect(again).toThrow(expect.objectContaining({ code: 'EBUSY' }))
  })
})

describe('drained sections', () => {
  test('V19 a drain waits until every taken head has a used entry; nothing is fetched inside; it goes on after', async () => {
    const machine = new BlkMachine()
    machine.disk.held = []
    machine.driver.submitRead(0, DATA, 512)
    machine.driver.submitWrite(8, DATA + 4096, 512)
    machine.driver.kick()
    await machine.settle()
    let open: { end(): void } | undefined
    void drained(machine.disk.node).then((section) => {
      open = section
    })
    await machine.settle()
    expect(open).toBeUndefined()
    for (let i = 0; i < 3; i++) machine.driver.submitRead(i, DATA, 512)
    machine.driver.queue.publish()
    machine.device.kick(0)
    machine.disk.held[0]?.settle()
    await machine.settle()
    expect(open).toBeUndefined()
    machine.disk.held[1]?.settle()
    await machine.settle()
    expect(open).toBeDefined()
    expect(machine.disk.held).toHaveLength(2)
    expect(machine.usedIndex).toBe(2)
    machine.disk.held = undefined
    machine.device.kick(0)
    await machine.settle()
    expect(machine.usedIndex).toBe(2)
    open?.end()
    // No kick: the driver may have been told that none is needed.
    await machine.settle()
    expect(machine.usedIndex).toBe(5)
    expect(machine.reap().every((done) => done.status === 0)).toBe(true)
  })

  test('a section that begins while the queue is served stops the fetching at once', async () => {
    const machine = new BlkMachine()
    let open: { end(): void } | undefined
    machine.disk.onCall = () => {
      if (machine.disk.calls.length !== 2) return
      void drained(machine.disk.node).then((section) => {
        open = section
      })
    }
    for (let i = 0; i < 5; i++) machine.driver.submitRead(2 * i, DATA, 512)
    machine.driver.kick()
    await machine.settle()
    expect(open).toBeDefined()
    // The third was under way, and the fourth had been fetched to see whether it goes on where the third ends.
    expect(machine.usedIndex).toBe(4)
    open?.end()
    await machine.settle()
    expect(machine.usedIndex).toBe(5)
  })

  test.each([
    ['flags', ~(1n << 29n)],
    ['an event index', -1n],
  ])('V16 a section that ends before DRIVER_OK leaves the queue asking for kicks, by %s', async (_by, features) => {
    const machine = new BlkMachine({ features })
    const { driver, device } = machine
    driver.reset()
    driver.negotiate()
    driver.startQueue()
    const section = await drained(machine.disk.node)
    section.end()
    await machine.settle()
    driver.ready()
    expect(device.readStatus()).toBe(15)
    driver.submitRead(0, DATA, 512)
    expect(await machine.run()).toMatchObject([{ status: 0 }])
  })

  test('a reset inside a section', async () => {
    const machine = new BlkMachine()
    const section = await drained(machine.disk.node)
    machine.driver.reset()
    machine.driver.initialise()
    machine.driver.submitFlush()
    expect(await machine.run()).toEqual([])
    section.end()
    await machine.settle()
    expect(machine.reap()).toHaveLength(1)
  })
})

test('a root without a node: no capacity, every request an I/O error', async () => {
  const clock = new VirtualClock()
  const disk = new FlatDisk(4096, clock)
  disk.root.edge = undefined
  const machine = new BlkMachine()
  const device = new VirtioBlkDevice({ root: disk.root, memory: machine.memory, notifier: { notifyQueue: () => {} } })
  const config = new Uint8Array(8)
  device.readConfig(0, config)
  expect(config.every((byte) => byte === 0)).toBe(true)
})
