import { describe, expect, test } from 'vitest'
import { BlockError } from '../../../../../src/common/error.js'
import type { HostNotifier } from '../../../../../src/devices/virtio/core/notifiers.js'
import { GuestMemory } from '../../../../../src/devices/virtio/memory/guest-memory.js'
import { featureSet, VIRTIO_F_RING_RESET } from '../../../../../src/protocols/virtio/features.js'
import { BlkMachine, DATA } from '../../../../support/blk-machine.js'

class Wire implements HostNotifier {
  starts = 0
  stops = 0
  kicked: () => void = () => {}

  start(kicked: () => void): void {
    this.starts++
    this.kicked = kicked
  }

  stop(): void {
    this.stops++
  }
}

describe('notifications of the device', () => {
  test('carry the vector of their source until a reset', async () => {
    const seen: number[][] = []
    const machine = new BlkMachine({
      queues: 2,
      notifyQueue: (index, vector) => seen.push([index, vector]),
      notifyConfig: (vector) => seen.push([-1, vector]),
    })
    machine.device.setQueueVector(0, 7)
    machine.device.setQueueVector(9, 1)
    machine.device.setConfigVector(3)
    machine.driver.submitFlush()
    await machine.run()
    machine.disk.root.client?.resized?.(4096)
    expect(seen).toEqual([
      [0, 7],
      [-1, 3],
    ])
    expect(machine.device.interruptStatus).toBe(3)
    machine.device.acknowledgeInterrupts(1)
    expect(machine.device.interruptStatus).toBe(2)
    await machine.restart()
    machine.driver.submitFlush()
    await machine.run()
    expect(seen[2]).toEqual([0, 0xffff])
  })
})

describe('a wire for a queue', () => {
  test('is listened to while the queue runs', async () => {
    const machine = new BlkMachine()
    const wire = new Wire()
    machine.device.setHostNotifier(0, wire)
    expect(wire.starts).toBe(1)
    machine.driver.submitFlush()
    machine.driver.queue.publish()
    wire.kicked()
    await machine.settle()
    expect(machine.reap()).toHaveLength(1)
    await machine.restart()
    expect([wire.starts, wire.stops]).toEqual([2, 1])
    machine.device.setHostNotifier(0, undefined)
    expect([wire.starts, wire.stops]).toEqual([2, 2])
    expect(() => machine.device.setHostNotifier(1, wire)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
  })

  test('what came between two wires is served', async () => {
    const machine = new BlkMachine()
    machine.driver.submitFlush()
    machine.driver.queue.publish()
    machine.device.setHostNotifier(0, new Wire())
    await machine.settle()
    expect(machine.reap()).toHaveLength(1)
  })
})

describe('trace', () => {
  test('tells of every change of status, and of what was agreed', async () => {
    const machine = new BlkMachine()
    const seen: unknown[] = []
    machine.disk.root.environment.trace.listen((name, event) => seen.push([name, event]))
    machine.driver.reset()
    machine.driver.initialise()
    machine.availIndex = 999
    machine.device.kick(0)
    const device = 'disk'
    const active = machine.device.activeFeatures
    const offered = active | (1n << 34n)
    expect(seen).toEqual([
      ['virtio-status', { device, before: 15, after: 0 }],
      ['virtio-status', { device, before: 0, after: 1 }],
      ['virtio-status', { device, before: 1, after: 3 }],
      ['virtio-status', { device, before: 3, after: 11 }],
      ['virtio-features', { device, offered, active }],
      ['virtio-status', { device, before: 11, after: 15 }],
      ['virtio-status', { device, before: 15, after: 79, reason: expect.stringMatching(/999/) }],
    ])
  })
})

describe('polling', () => {
  test.each([
    ['flags', ~(1n << 29n)],
    ['an event index', -1n],
  ])('serves without a kick, and asks for kicks again when it is armed, by %s', async (_by, features) => {
    const machine = new BlkMachine({ features })
    const { device, driver } = machine
    expect(device.poll()).toBe(false)
    driver.submitRead(0, DATA, 512)
    expect(device.poll()).toBe(false)
    expect(driver.queue.publish()).toBe(features === -1n)
    expect(device.poll()).toBe(true)
    expect(machine.reap()).toHaveLength(1)
    // Served while polled: nobody asked for this kick, nor for the next.
    for (let i = 0; i < 3; i++) {
      driver.submitRead(i, DATA, 512)
      expect(driver.queue.publish()).toBe(false)
      expect(device.poll()).toBe(true)
      expect(machine.reap()).toHaveLength(1)
    }
    driver.submitRead(1, DATA, 512)
    driver.queue.publish()
    expect(device.armNotifications()).toBe(true)
    expect(device.poll()).toBe(true)
    expect(device.armNotifications()).toBe(false)
    driver.submitRead(2, DATA, 512)
    expect(driver.queue.publish()).toBe(true)
  })

  test('ends with a reset: the next driver is asked for kicks', async () => {
    const machine = new BlkMachine()
    machine.device.poll()
    await machine.restart()
    for (let i = 0; i < 3; i++) {
      machine.driver.submitRead(i, DATA, 512)
      expect(machine.driver.kick()).toBe(true)
      await machine.settle()
      expect(machine.reap()).toHaveLength(1)
    }
  })

  test('a fault that polling or arming finds is the driver\u2019s', () => {
    for (const look of ['poll', 'armNotifications'] as const) {
      const machine = new BlkMachine()
      machine.availIndex = 999
      machine.device[look]()
      expect(machine.device.resetReason).toMatch(/999/)
      expect(machine.configNotifications).toBe(1)
    }
  })
})

describe('guest memory', () => {
  test('is replaced only while no queue runs', async () => {
    const machine = new BlkMachine()
    const other = new GuestMemory([{ address: 0, memory: new ArrayBuffer(1 << 20) }])
    expect(() => machine.device.setMemory(other)).toThrow(expect.objectContaining({ code: 'EBUSY' }))
    machine.driver.reset()
    machine.device.setMemory(machine.memory)
    machine.driver.initialise()
    expect(await machine.works()).toBe(true)
  })
})

describe('a queue that starts late', () => {
  test('finds what was made available before DRIVER_OK', async () => {
    const machine = new BlkMachine()
    const { driver, device } = machine
    driver.reset()
    driver.negotiate()
    driver.startQueue()
    driver.submitFlush()
    driver.queue.publish()
    await machine.settle()
    expect(machine.usedIndex).toBe(0)
    driver.ready()
    await machine.settle()
    expect(machine.usedIndex).toBe(1)
    expect(device.ignoredKicks).toBe(0)
  })
})

describe('stopping a queue', () => {
  test('waits for what is in flight, takes nothing new, and goes on from its state', async () => {
    const machine = new BlkMachine({ queues: 2 })
    const { device, driver, disk } = machine
    disk.held = []
    driver.submitRead(0, DATA, 512)
    driver.submitWrite(8, DATA + 4096, 512)
    driver.kick()
    await machine.settle()
    let state: unknown
    void device.stopQueue(0).then((found) => {
      state = found
    })
    await expect(device.stopQueue(0)).rejects.toMatchObject({ code: 'EBUSY' })
    driver.submitFlush()
    driver.queue.publish()
    device.kick(0)
    disk.held[0]?.settle()
    await machine.settle()
    expect(state).toBeUndefined()
    disk.held[1]?.settle()
    await machine.settle()
    expect(state).toEqual({ availIndex: 2, availWrap: false, usedIndex: 2, usedWrap: false })
    expect(device.isQueueRunning(0)).toBe(false)
    expect(machine.reap()).toHaveLength(2)
    await expect(device.stopQueue(0)).rejects.toMatchObject({ code: 'EINVAL' })
    disk.held = undefined
    device.enableQueue(0, driver.plan.config, state as never)
    await machine.settle()
    expect(machine.reap()).toHaveLength(1)
    expect(await machine.works()).toBe(true)
  })

  test('a reset ends the wait', async () => {
    const machine = new BlkMachine()
    machine.disk.held = []
    machine.driver.submitRead(0, DATA, 512)
    machine.driver.kick()
    const stopped = machine.device.stopQueue(0)
    machine.driver.reset()
    expect(await stopped).toMatchObject({ availIndex: 1, usedIndex: 0 })
    machine.disk.held[0]?.settle()
    await machine.settle()
    expect(machine.device.readStatus()).toBe(0)
  })

  test('by a reset while a request has come back and was not shown yet', async () => {
    const machine = new BlkMachine()
    machine.disk.held = []
    machine.driver.submitRead(0, DATA, 512)
    machine.driver.submitRead(8, DATA + 4096, 512)
    machine.driver.kick()
    const stopped = machine.device.stopQueue(0)
    machine.disk.held[0]?.settle()
    while (machine.device.requestsInFlight > 1) await undefined
    machine.device.writeStatus(0)
    expect(await stopped).toMatchObject({ availIndex: 2, usedIndex: 1 })
    machine.disk.held[1]?.settle()
    await machine.settle()
    expect(machine.device.readStatus()).toBe(0)
  })

  test('from inside the notification of its last request', async () => {
    let stopped: Promise<unknown> | undefined
    const machine: BlkMachine = new BlkMachine({
      notifyQueue: () => {
        stopped ??= machine.device.stopQueue(0)
      },
    })
    machine.driver.submitFlush()
    await machine.run()
    expect(await stopped).toMatchObject({ availIndex: 1, usedIndex: 1 })
  })
})

describe('suspending a queue', () => {
  test('leaves what was set aside, and what fails meanwhile, for its next life', async () => {
    const machine = new BlkMachine({ disk: { onError: 'stop' } })
    const { device, driver, disk } = machine
    disk.fault = (call) => (call.offset === 0 ? new BlockError('EIO', 'no') : undefined)
    driver.submitRead(0, DATA, 512)
    await machine.run()
    expect(device.parkedRequests).toBe(1)
    disk.held = []
    driver.submitWrite(8, DATA + 4096, 512)
    driver.submitRead(16, DATA + 8192, 512)
    driver.kick()
    await machine.settle()
    let ended = false
    const suspended = device.suspendQueue(0).finally(() => {
      ended = true
    })
    await expect(device.suspendQueue(0)).rejects.toMatchObject({ code: 'EBUSY' })
    disk.held[0]?.settle(new BlockError('EIO', 'late'))
    await machine.settle()
    expect(ended).toBe(false)
    disk.held[1]?.settle()
    await machine.settle()
    const { state, heads, lists } = await suspended
    expect([state.availIndex, state.usedIndex, heads.length]).toEqual([3, 1, 2])
    expect([device.isQueueRunning(0), device.parkedRequests]).toEqual([false, 0])
    // Nothing is left that could be resumed.
    device.resume()
    expect(machine.reap()).toMatchObject([{ status: 0, used: 513 }])
    disk.held = undefined
    disk.fault = undefined
    device.enableQueue(0, driver.plan.config, state)
    expect(device.refetch(0, heads, lists)).toBe(2)
    await machine.settle()
    expect(machine.reap().map(({ status }) => status)).toEqual([0, 0])
    expect(await machine.works()).toBe(true)
  })

  test('does not serve what its queue took over and has not served', async () => {
    const machine = new BlkMachine({ disk: { onError: 'stop' } })
    const { device, driver, disk } = machine
    disk.fault = () => new BlockError('EIO', 'no')
    driver.submitRead(0, DATA, 512)
    await machine.run()
    const first = await machine.during(device.suspendQueue(0))
    await device.pause()
    device.enableQueue(0, driver.plan.config, first.state)
    device.refetch(0, first.heads, first.lists)
    const again = await machine.during(device.suspendQueue(0))
    expect([again.state, again.heads]).toEqual([first.state, first.heads])
    device.unpause()
    disk.fault = undefined
    device.enableQueue(0, driver.plan.config, again.state)
    device.refetch(0, again.heads, again.lists)
    await machine.settle()
    expect(machine.reap()).toMatchObject([{ status: 0 }])
  })

  test('a reset ends the wait', async () => {
    const machine = new BlkMachine()
    machine.disk.held = []
    machine.driver.submitRead(0, DATA, 512)
    machine.driver.kick()
    const suspended = machine.device.suspendQueue(0)
    machine.driver.reset()
    expect(await suspended).toMatchObject({ state: { availIndex: 1, usedIndex: 0 }, heads: [] })
    machine.disk.held[0]?.settle()
    await machine.settle()
    expect(machine.device.readStatus()).toBe(0)
  })
})

describe('resetting one queue', () => {
  test('leaves the device and its other queue alone', async () => {
    const machine = new BlkMachine({ queues: 2 })
    const { device, driver } = machine
    machine.disk.held = []
    driver.submitRead(0, DATA, 512)
    driver.kick()
    let done = false
    void device.resetQueue(0).then(() => {
      done = true
    })
    await machine.settle()
    expect(done).toBe(false)
    machine.disk.held[0]?.settle()
    machine.disk.held = undefined
    await machine.settle()
    expect(done).toBe(true)
    expect(device.readStatus()).toBe(15)
    driver.startQueue()
    expect(await machine.works()).toBe(true)
    await expect(device.resetQueue(1)).rejects.toMatchObject({ code: 'EINVAL' })
  })

  test('answers what was set aside, and does not wait for it', async () => {
    const machine = new BlkMachine({ disk: { onError: 'stop' } })
    machine.disk.fault = () => new BlockError('EIO', 'no')
    machine.driver.submitRead(0, DATA, 512)
    await machine.run()
    expect(machine.device.parkedRequests).toBe(1)
    await machine.during(machine.device.resetQueue(0))
    expect(machine.reap()).toMatchObject([{ status: 1 }])
    expect(machine.device.parkedRequests).toBe(0)
    machine.disk.fault = undefined
    machine.driver.startQueue()
    expect(await machine.works()).toBe(true)
  })

  test('has to be agreed', async () => {
    const machine = new BlkMachine({ features: ~featureSet(VIRTIO_F_RING_RESET) })
    await expect(machine.device.resetQueue(0)).rejects.toMatchObject({ code: 'EINVAL' })
    expect(await machine.works()).toBe(true)
  })
})

describe('an unplugged device', () => {
  test('answers as one that is not there', async () => {
    const machine = new BlkMachine()
    const { device } = machine
    const first = device.close()
    expect(device.close()).toBe(first)
    await first
    for (const status of [1, 3, 11, 15]) device.writeStatus(status)
    device.writeConfig(32, new Uint8Array(1))
    device.kick(0)
    expect(device.readStatus()).toBe(0)
    expect(device.ignoredKicks).toBe(1)
    expect(() => device.enableQueue(0, machine.driver.plan.config)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
  })
})
