import { describe, expect, test } from 'vitest'
import { createDriverQueue } from '../../../../../src/devices/virtio/driver-queue/create-driver-queue.js'
import { planQueue } from '../../../../../src/devices/virtio/driver-queue/queue-plan.js'
import { GuestMemory } from '../../../../../src/devices/virtio/memory/guest-memory.js'
import { VirtioRngDevice, type VirtioRngOptions } from '../../../../../src/devices/virtio/rng/virtio-rng.js'
import { settleMicrotasks, VirtualClock } from '../../../../../src/testing/virtual-clock.js'

const DATA = 0x8000
const PLAIN = { packed: false, indirect: false, eventIndex: false, inOrder: false }

class RngMachine {
  readonly ram = new Uint8Array(1 << 17)
  readonly memory = new GuestMemory([{ address: 0, memory: this.ram }])
  readonly plan = planQueue(0x1000, 16)
  readonly device: VirtioRngDevice
  queue = createDriverQueue(this.memory, this.plan, PLAIN)

  constructor(options: Pick<VirtioRngOptions, 'entropy'> & Partial<VirtioRngOptions>) {
    const clock = new VirtualClock()
    this.device = new VirtioRngDevice({ clock, memory: this.memory, notifier: { notifyQueue: () => {} }, ...options })
    this.start()
  }

  start(): void {
    this.device.writeStatus(1)
    this.device.writeStatus(3)
    this.device.writeFeatures(1, 1)
    this.device.writeStatus(11)
    this.queue = createDriverQueue(this.memory, this.plan, PLAIN)
    this.device.enableQueue(0, this.plan.config)
    this.device.writeStatus(15)
  }

  ask(bytes: number, writable = true): void {
    this.queue.begin(1)
    this.queue.append(DATA, bytes, writable)
    this.queue.end()
    this.queue.publish()
    this.device.kick(0)
  }

  async answers(): Promise<number[]> {
    for (let i = 0; i < 4; i++) await settleMicrotasks()
    const lengths: number[] = []
    for (let count = this.queue.pending(); count > 0; count--) {
      this.queue.reap()
      lengths.push(this.queue.usedLength)
    }
    return lengths
  }
}

const count = (bytes: number) => Uint8Array.from({ length: bytes }, (_, i) => i + 1)

describe('a source of entropy', () => {
  test('is no block device, and has no configuration', () => {
    const { device } = new RngMachine({ entropy: count })
    const config = new Uint8Array(4).fill(1)
    device.readConfig(0, config)
    expect([device.deviceId, device.queueCount, ...config]).toEqual([4, 1, 0, 0, 0, 0])
  })

  test('fills buffers, at once or later', async () => {
    for (const entropy of [count, async (bytes: number) => count(bytes)]) {
      const machine = new RngMachine({ entropy })
      machine.ask(20)
      expect(await machine.answers()).toEqual([20])
      expect([...machine.ram.subarray(DATA, DATA + 21)]).toEqual([...count(20), 0])
    }
  })

  test('may give less than was asked, and never more than it was asked', async () => {
    const machine = new RngMachine({ entropy: () => count(7) })
    machine.ask(20)
    machine.ask(3)
    expect(await machine.answers()).toEqual([7, 3])
    const asked: number[] = []
    const greedy = new RngMachine({ entropy: (bytes) => count(asked.push(bytes) && 1) })
    greedy.ask(0x17000)
    expect(await greedy.answers()).toEqual([1])
    expect(asked).toEqual([65536])
  })

  test('a buffer that cannot be written goes back as it was', async () => {
    const machine = new RngMachine({ entropy: count })
    machine.ask(20, false)
    expect(await machine.answers()).toEqual([0])
    machine.ask(5)
    expect(await machine.answers()).toEqual([5])
  })

  const failing: [string, VirtioRngOptions['entropy']][] = [
    [
      'throws',
      () => {
        throw new Error('dry')
      },
    ],
    ['rejects', () => Promise.reject(new Error('dry'))],
    ['gives nothing', () => new Uint8Array(0)],
  ]
  test.each(failing)('a source that %s: the device asks for a reset', async (_how, entropy) => {
    let dry = true
    const machine = new RngMachine({ entropy: (bytes) => (dry ? entropy(bytes) : count(bytes)) })
    machine.ask(20)
    expect(await machine.answers()).toEqual([0])
    expect(machine.device.readStatus()).toBe(79)
    dry = false
    machine.device.writeStatus(0)
    machine.start()
    machine.ask(4)
    expect(await machine.answers()).toEqual([4])
  })

  test('V17 what comes after a reset is dropped', async () => {
    let give: (bytes: Uint8Array) => void = () => {}
    const machine = new RngMachine({
      entropy: () =>
        new Promise((resolve) => {
          give = resolve
        }),
    })
    machine.ask(4)
    machine.device.writeStatus(0)
    expect(machine.device.readStatus()).toBe(15)
    give(count(4))
    await machine.answers()
    expect(machine.device.readStatus()).toBe(0)
    expect(machine.ram[DATA]).toBe(0)
  })

  test('saves and loads', async () => {
    const machine = new RngMachine({ entropy: count })
    machine.ask(4)
    await machine.answers()
    const state = await machine.device.save()
    const other = new VirtioRngDevice({ entropy: count, memory: machine.memory, notifier: { notifyQueue: () => {} } })
    other.load(state)
    other.unpause()
    await new Promise((resolve) => setImmediate(resolve))
    machine.queue.begin(1)
    machine.queue.append(DATA, 9, true)
    machine.queue.end()
    machine.queue.publish()
    other.kick(0)
    expect(await machine.answers()).toEqual([9])
  })

  test('refuses a queue size that no queue has', () => {
    expect(() => new RngMachine({ entropy: count, queueSize: 3 })).toThrow(expect.objectContaining({ code: 'EINVAL' }))
  })
})
