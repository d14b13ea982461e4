import { afterEach, describe, expect, test, vi } from 'vitest'
import type { GuestRegion } from '../../../../../src/devices/virtio/memory/guest-memory.js'
import { featureSet, VIRTIO_F_EVENT_IDX, VIRTIO_F_VERSION_1 } from '../../../../../src/protocols/virtio/features.js'
import {
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
} from '../../../../../src/protocols/virtio/split-ring.js'
import { BlkMachine, DATA, HEADER, type RawBuffer, STATUS } from '../../../../support/blk-machine.js'

const NEEDS_RESET = 64
const header: RawBuffer = { address: HEADER, length: 16 }
const status: RawBuffer = { address: STATUS, length: 1, writable: true }
const noEvents = ~featureSet(VIRTIO_F_EVENT_IDX)

/** After a violation: the device asks for a reset once, stays quiet, and a new life works. */
async function expectBroken(machine: BlkMachine, reason: RegExp): Promise<void> {
  expect(machine.device.resetReason).toMatch(reason)
  expect(machine.device.readStatus() & NEEDS_RESET).toBe(NEEDS_RESET)
  expect(machine.configNotifications).toBe(1)
  const calls = machine.disk.calls.length
  const used = machine.usedIndex
  machine.device.kick(0)
  await machine.settle()
  expect([machine.disk.calls.length, machine.usedIndex]).toEqual([calls, used])
  await machine.restart()
  expect(machine.device.resetReason).toBeUndefined()
  expect(await machine.works()).toBe(true)
}

describe('chains that break the rules', () => {
  test('V01 a loop stops after queue-size steps', async () => {
    const machine = new BlkMachine()
    machine.header(0, 0)
    const service = Reflect.get(machine.device, 'service') as { lanes: { queue: { table: Uint32Array } }[] }
    const queue = service.lanes[0]?.queue as { table: Uint32Array }
    let reads = 0
    queue.table = new Proxy(queue.table, {
      get: (target, key) => {
        reads++
        return target[Number(key)]
      },
    })
    await machine.send([header, { address: DATA, length: 512, flags: VIRTQ_DESC_F_NEXT, next: 1 }])
    expect(reads).toBe(16 * 4)
    expect(machine.usedElement(0)).toEqual({ id: 0, length: 0 })
    await expectBroken(machine, /loop/)
  })

  test('V01 next out of range', async () => {
    const machine = new BlkMachine()
    machine.header(0, 0)
    await machine.send([{ ...header, next: 16 }, status])
    expect(machine.usedIndex).toBe(1)
    await expectBroken(machine, /next descriptor 16/)
  })

  test('V01 head out of range: nothing can be given back', async () => {
    const machine = new BlkMachine()
    machine.offer(16)
    machine.device.kick(0)
    await machine.settle()
    expect(machine.usedIndex).toBe(0)
    await expectBroken(machine, /head 16/)
  })

  test('V02 an empty buffer among others: I/O error, the backend is not called', async () => {
    const machine = new BlkMachine()
    machine.header(0, 0)
    await machine.send([header, { address: DATA, length: 0, writable: true }, status])
    expect(machine.ram[STATUS]).toBe(1)
    expect(machine.usedElement(0)).toEqual({ id: 0, length: 1 })
    expect(machine.disk.calls).toEqual([])
    expect(machine.device.resetReason).toBeUndefined()
  })

  test('V02 only empty buffers: head returned, reset needed', async () => {
    const machine = new BlkMachine()
    await machine.send([
      { address: DATA, length: 0 },
      { address: DATA, length: 0, writable: true },
    ])
    expect(machine.usedElement(0)).toEqual({ id: 0, length: 0 })
    await expectBroken(machine, /header of 0 bytes/)
  })

  test.each([
    ['behind memory', { high: 0, low: 0x10_0000 - 256 }],
    ['wrapping', { high: 0xffff_ffff, low: 0xffff_ff00 }],
    ['not a safe integer', { high: 0x8000_0000, low: 0 }],
  ])('V03 buffer %s', async (_name, address) => {
    const machine = new BlkMachine()
    machine.header(0, 0)
    await machine.send([header, { address, length: 512, writable: true }, status])
    expect(machine.disk.calls).toEqual([])
    await expectBroken(machine, /outside guest memory/)
  })

  test('V04 total length over 2^32-1', async () => {
    const machine = new BlkMachine({ queueSize: 8192, driverQueueSize: 8192 })
    const memoryful: RawBuffer[] = Array.from({ length: 4096 }, () => ({ address: 0, length: 0x10_0000 }))
    await machine.send([...memoryful, { address: 0xf_0000, length: 1, writable: true }])
    expect(machine.usedElement(0)).toEqual({ id: 0, length: 0 })
    expect(machine.disk.calls).toEqual([])
    expect(machine.device.resetReason).toMatch(/2\^32-1/)
  })

  test.each([
    ['ahead', 17],
    ['far ahead', 0x8000],
    ['back', 0xffff],
  ])('V05 available index %s', async (_name, index) => {
    const machine = new BlkMachine()
    machine.availIndex = index
    machine.device.kick(0)
    await machine.settle()
    await expectBroken(machine, /available index/)
  })

  test('V06 a head offered again before it came back', async () => {
    const machine = new BlkMachine()
    machine.disk.held = []
    machine.header(0, 0)
    const head = machine.chain([header, { address: DATA, length: 512, writable: true }, status])
    machine.offer(head)
    machine.offer(head)
    machine.device.kick(0)
    await machine.settle()
    expect(machine.disk.calls.length).toBe(1)
    expect(machine.device.resetReason).toMatch(/offered again/)
    // What was begun still comes back; the second offer does not.
    machine.disk.held[0]?.settle()
    machine.disk.held = undefined
    await machine.settle()
    expect(machine.usedIndex).toBe(1)
    expect(machine.ram[STATUS]).toBe(0)
    await expectBroken(machine, /offered again/)
  })

  test('V07 the indirect flag, which was not agreed', async () => {
    const machine = new BlkMachine({ indirect: false })
    await machine.send([{ address: DATA, length: 48, flags: VIRTQ_DESC_F_INDIRECT }])
    await expectBroken(machine, /indirect/)
  })

  test('V08 readable behind writable', async () => {
    const machine = new BlkMachine()
    machine.header(1, 0)
    await machine.send([
      header,
      { ...status, flags: VIRTQ_DESC_F_WRITE | VIRTQ_DESC_F_NEXT },
      { address: DATA, length: 512 },
    ])
    expect(machine.disk.calls).toEqual([])
    await expectBroken(machine, /readable descriptor behind/)
  })
})

describe('V09 V10 V18 where a queue may lie', () => {
  const enable = (change: (config: ReturnType<typeof configOf>) => void) => {
    const machine = new BlkMachine()
    machine.driver.reset()
    machine.driver.negotiate()
    const config = configOf(machine)
    change(config)
    return () => machine.device.enableQueue(0, config)
  }
  const configOf = (machine: BlkMachine) => structuredClone(machine.driver.plan.config)

  test.each<[string, Parameters<typeof enable>[0]]>([
    ['size 0', (c) => Object.assign(c, { size: 0 })],
    ['size 24', (c) => Object.assign(c, { size: 24 })],
    ['size over the maximum', (c) => Object.assign(c, { size: 128 })],
    ['size -16', (c) => Object.assign(c, { size: -16 })],
    ['size NaN', (c) => Object.assign(c, { size: Number.NaN })],
    ['table unaligned', (c) => Object.assign(c.descriptorTable, { low: 0x1008 })],
    ['available ring unaligned', (c) => Object.assign(c.availRing, { low: c.availRing.low + 1 })],
    ['used ring unaligned', (c) => Object.assign(c.usedRing, { low: c.usedRing.low + 2 })],
    ['rings overlap', (c) => Object.assign(c.usedRing, { low: c.availRing.low & ~3 })],
    ['table over a ring', (c) => Object.assign(c.availRing, { low: c.descriptorTable.low + 254 })],
    ['end past memory', (c) => Object.assign(c.usedRing, { low: 0x10_0000 - 16 })],
    ['on no memory', (c) => Object.assign(c.descriptorTable, { high: 0xffff_ffff })],
    ['address NaN', (c) => Object.assign(c.descriptorTable, { low: Number.NaN })],
  ])('refused: %s', (_name, change) => {
    expect(enable(change)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
  })

  test('the good one is taken', () => {
    expect(enable(() => {})).not.toThrow()
  })

  test('V10 a running queue keeps its own copy', async () => {
    const machine = new BlkMachine()
    const config = structuredClone(machine.driver.plan.config)
    config.size = 8
    expect(() => machine.device.enableQueue(0, config)).toThrow(expect.objectContaining({ code: 'EBUSY' }))
    Object.assign(machine.driver.plan.config.usedRing, { low: 0 })
    expect(await machine.works()).toBe(true)
  })
})

describe('notifications', () => {
  test('V11 V16 kicks of what does not run are counted and ignored', async () => {
    const machine = new BlkMachine()
    for (const index of [1, -1, 0xffff, 0xffff_ffff, Number.NaN, 0.5]) machine.device.kick(index)
    expect(machine.device.ignoredKicks).toBe(6)
    machine.driver.reset()
    machine.device.kick(0)
    machine.driver.negotiate()
    machine.driver.startQueue()
    machine.driver.submitFlush()
    machine.driver.queue.publish()
    machine.device.kick(0)
    expect(machine.device.ignoredKicks).toBe(8)
    await machine.settle()
    expect(machine.usedIndex).toBe(0)
    machine.driver.ready()
    for (let i = 0; i < 1000; i++) machine.device.kick(0)
    expect(await machine.run()).toHaveLength(1)
  })

  test('flag: one notification for a batch, none where suppressed, and the device suppresses kicks while it serves', async () => {
    const machine = new BlkMachine({ features: noEvents })
    for (let i = 0; i < 4; i++) machine.driver.submitRead(i, DATA + 512 * i, 512)
    expect(await machine.run()).toHaveLength(4)
    expect(machine.notifications).toEqual([0])
    machine.driver.queue.disableNotifications()
    machine.driver.submitRead(0, DATA, 512)
    expect(await machine.run()).toHaveLength(1)
    expect(machine.notifications).toEqual([0])
    machine.driver.queue.enableNotifications()
    const flags: number[] = []
    machine.disk.onCall = () => flags.push(machine.view.getUint16(machine.driver.plan.used, true))
    machine.driver.submitRead(0, DATA, 512)
    await machine.run()
    expect(flags).toEqual([1])
    expect(machine.view.getUint16(machine.driver.plan.used, true)).toBe(0)
  })

  test('event index: notified exactly when the index passes it', async () => {
    const machine = new BlkMachine()
    machine.driver.queue.enableNotifications(3)
    for (let i = 0; i < 2; i++) {
      machine.driver.submitRead(0, DATA, 512)
      await machine.settle()
      machine.driver.queue.publish()
      machine.device.kick(0)
    }
    expect(machine.notifications).toEqual([])
    machine.driver.submitRead(0, DATA, 512)
    machine.driver.kick()
    expect(machine.notifications).toEqual([0])
    machine.driver.submitRead(0, DATA, 512)
    machine.driver.kick()
    expect(machine.notifications).toEqual([0])
  })

  test('event index: kicks are wanted when idle, not for what a busy device finds by itself', async () => {
    const machine = new BlkMachine()
    machine.driver.submitRead(0, DATA, 512)
    expect(machine.driver.queue.publish()).toBe(true)
    let wanted: boolean | undefined
    machine.disk.onCall = () => {
      machine.disk.onCall = undefined
      machine.driver.submitRead(1, DATA + 512, 512)
      wanted = machine.driver.queue.publish()
    }
    machine.device.kick(0)
    expect(wanted).toBe(false)
    expect(machine.driver.queue.pending()).toBe(2)
  })

  test('index wrap: 70000 requests through a queue of 16', () => {
    const machine = new BlkMachine()
    machine.disk.record = false
    let bad = 0
    for (let i = 0; i < 7000; i++) {
      for (let k = 0; k < 5; k++) machine.driver.submitRead(k, DATA + 512 * k, 512)
      for (let k = 0; k < 5; k++) machine.driver.submitWrite(k, DATA + 512 * k, 512)
      machine.driver.kick()
      machine.driver.poll((_head, s) => {
        bad += s
      })
      machine.driver.queue.enableNotifications()
    }
    expect(bad).toBe(0)
    expect(machine.notifications.length).toBe(7000)
  })

  test('V15 a scribbled used ring and event index do not move the device', async () => {
    const machine = new BlkMachine()
    machine.view.setUint16(machine.driver.plan.used + 2, 0x7777, true)
    machine.view.setUint16(machine.driver.plan.avail + 4 + 32, 0x9999, true)
    await machine.send([header, { address: DATA, length: 512, writable: true }, status])
    expect(machine.usedIndex).toBe(1)
    expect(machine.ram[STATUS]).toBe(0)
  })
})

describe('V14 memory that changes after it was read', () => {
  afterEach(() => {
    vi.restoreAllMocks()
  })

  /** Gives every word of the ring away once; a second reading gets garbage. Counts readings beyond the first. */
  function readOnce<T extends Uint16Array | Uint32Array>(array: T, reads: Map<string, number>, name: string): T {
    return new Proxy(array, {
      get(target, key) {
        if (typeof key === 'string' && /^\d+$/.test(key)) {
          const index = Number(key)
          const value = target[index]
          reads.set(`${name}[${key}]`, (reads.get(`${name}[${key}]`) ?? 0) + 1)
          target[index] = 0xdead_beef
          return value
        }
        const value: unknown = Reflect.get(target, key, target)
        return typeof value === 'function' ? value.bind(target) : value
      },
      set: (target, key, value) => Reflect.set(target, key, value, target),
    })
  }

  test('each descriptor word, ring entry, index and header word is read once', async () => {
    const machine = new BlkMachine()
    const reads = new Map<string, number>()
    const region = machine.memory.regions[0] as GuestRegion
    const service = Reflect.get(machine.device, 'service') as { lanes: { queue: object }[] }
    const queue = service.lanes[0]?.queue as { table: Uint32Array; avail: Uint16Array }
    const avail = queue.avail
    queue.table = readOnce(queue.table, reads, 'table')
    queue.avail = readOnce(avail, reads, 'avail')
    const load = Atomics.load
    const loads: number[] = []
    vi.spyOn(Atomics, 'load').mockImplementation(((array: Uint16Array, index: number) => {
      if (array === queue.avail) loads.push(index)
      return load(array === queue.avail ? avail : array, index)
    }) as typeof Atomics.load)
    machine.header(0, 3)
    machine.disk.data.fill(7, 1536, 2048)
    machine.chain([header, { address: DATA, length: 512, writable: true }, status])
    machine.offer(0)
    Reflect.set(region, 'words', readOnce(region.words, reads, 'memory'))
    machine.device.kick(0)
    await machine.settle()
    expect(machine.usedElement(0)).toEqual({ id: 0, length: 513 })
    expect(machine.ram[STATUS]).toBe(0)
    expect([...machine.ram.subarray(DATA, DATA + 512)].every((byte) => byte === 7)).toBe(true)
    expect([...reads.values()].every((count) => count === 1)).toBe(true)
    expect([...reads.keys()].filter((key) => key.startsWith('table'))).toHaveLength(12)
    expect([...reads.keys()].filter((key) => key.startsWith('memory'))).toHaveLength(3)
    // The index is looked at anew to find the request, to find no other, and after notifications were allowed again; the
    // event index once.
    expect(loads).toEqual([1, 1, 18, 1])
  })

  test('what changes while the backend works changes nothing', async () => {
    const machine = new BlkMachine()
    machine.header(1, 4)
    machine.ram.fill(9, DATA, DATA + 512)
    machine.disk.onCall = () => {
      new Uint8Array(machine.ram.buffer, 0x1000, 16 * 16).fill(0xff)
      machine.ram.fill(0xff, HEADER, HEADER + 16)
    }
    await machine.send([header, { address: DATA, length: 512 }, status])
    expect(machine.disk.calls).toMatchObject([{ kind: 'write', offset: 2048, bytes: 512 }])
    expect(machine.usedElement(0)).toEqual({ id: 0, length: 1 })
    expect(machine.ram[STATUS]).toBe(0)
  })
})

test('features other than version 1 can all be left out', async () => {
  const machine = new BlkMachine({ features: featureSet(VIRTIO_F_VERSION_1) })
  expect(await machine.works()).toBe(true)
})
