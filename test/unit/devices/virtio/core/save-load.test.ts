import { describe, expect, test } from 'vitest'
import { BlockError } from '../../../../../src/common/error.js'
import { VirtioBlkDevice, type VirtioBlkOptions } from '../../../../../src/devices/virtio/blk/virtio-blk.js'
import type { VirtioDeviceState } from '../../../../../src/devices/virtio/core/device-state.js'
import { featureSet, VIRTIO_F_RING_PACKED } from '../../../../../src/protocols/virtio/features.js'
import { GuestBlkDriver } from '../../../../../src/testing/virtio/guest-blk-driver.js'
import { BlkMachine, DATA } from '../../../../support/blk-machine.js'

/** The state of a machine's device, as it comes out of a file, and a new device in its place. */
async function moved(machine: BlkMachine, options: Partial<VirtioBlkOptions> = {}) {
  const state = JSON.parse(JSON.stringify(await machine.device.save())) as VirtioDeviceState
  await machine.device.close()
  return { state, device: replacement(machine, options) }
}

function replacement(machine: BlkMachine, options: Partial<VirtioBlkOptions> = {}): VirtioBlkDevice {
  return new VirtioBlkDevice({
    queueSize: 64,
    root: machine.disk.root,
    memory: machine.memory,
    clock: machine.clock,
    notifier: { notifyQueue: (index) => machine.notifications.push(index) },
    ...options,
  })
}

describe('save', () => {
  test('V19 waits for what is in flight; the device stays paused, and can be taken back', async () => {
    const machine = new BlkMachine()
    machine.disk.held = []
    machine.driver.submitRead(0, DATA, 512)
    machine.driver.kick()
    let state: VirtioDeviceState | undefined
    void machine.device.save().then((saved) => {
      state = saved
    })
    await machine.settle()
    expect(state).toBeUndefined()
    machine.disk.held[0]?.settle()
    machine.disk.held = undefined
    await machine.settle()
    expect(state?.queues[0]?.state).toMatchObject({ availIndex: 1, usedIndex: 1 })
    machine.driver.submitFlush()
    machine.driver.queue.publish()
    machine.device.kick(0)
    await machine.settle()
    expect(machine.usedIndex).toBe(1)
    machine.device.unpause()
    await machine.settle()
    expect(machine.usedIndex).toBe(2)
  })
})

describe('load', () => {
  test('goes on where the other device stood, once it is taken off its pause', async () => {
    const machine = new BlkMachine({ queues: 2 })
    machine.device.writeConfig(32, new Uint8Array([0]))
    machine.device.setQueueVector(0, 5)
    machine.device.setConfigVector(2)
    expect(await machine.works()).toBe(true)
    const { state, device } = await moved(machine, { queues: 2 })
    device.load(state)
    expect(device.readStatus()).toBe(15)
    expect(device.activeFeatures).toBe(BigInt(state.features))
    machine.driver.submitRead(5, DATA + 8192, 512)
    machine.driver.queue.publish()
    device.kick(0)
    await machine.settle()
    expect(machine.reap()).toEqual([])
    device.unpause()
    await machine.settle()
    expect(machine.reap()).toMatchObject([{ status: 0, used: 513 }])
    const config = new Uint8Array(60)
    device.readConfig(0, config)
    expect(config[32]).toBe(0)
    expect(JSON.parse(JSON.stringify(await device.save()))).toMatchObject({ vectors: [5, 0xffff], configVector: 2 })
  })

  test('what the stop policy had set aside goes along and is served first', async () => {
    const machine = new BlkMachine({ disk: { onError: 'stop' } })
    machine.disk.fault = (call) => (call.offset === 512 ? new BlockError('ENOSPC', 'full') : undefined)
    machine.ram.fill(9, DATA, DATA + 512)
    machine.driver.submitWrite(1, DATA, 512)
    machine.driver.submitRead(7, DATA + 512, 512)
    expect(await machine.run()).toHaveLength(1)
    const { state, device } = await moved(machine)
    expect(state.queues[0]?.chains).toMatchObject([{ slots: 1 }])
    machine.disk.fault = undefined
    device.load(state)
    await machine.settle()
    expect(machine.reap()).toEqual([])
    device.unpause()
    await machine.settle()
    expect(machine.reap()).toMatchObject([{ status: 0 }])
    expect(machine.disk.data[512]).toBe(9)
  })

  test.each([false, true])(
    'in order, what was done and is held behind it goes along, and is not done again (packed: %s)',
    async (packed) => {
      const features = packed ? -1n : ~featureSet(VIRTIO_F_RING_PACKED)
      const machine = new BlkMachine({ disk: { onError: 'stop' }, anyRing: true, inOrder: true, features })
      machine.disk.fault = (call) =>
        call.offset === 512 || call.offset === 2560 ? new BlockError('ENOSPC', 'full') : undefined
      for (const sector of [1, 3, 5, 7]) {
        machine.ram.fill(sector, DATA + 512 * sector, DATA + 512 * sector + 512)
        machine.driver.submitWrite(sector, DATA + 512 * sector, 512)
      }
      expect(await machine.run()).toHaveLength(0)
      const { state, device } = await moved(machine, { inOrder: true })
      const done = { length: 1, writable: 1 }
      expect(state.queues[0]?.chains.map((chain) => chain.done)).toEqual([undefined, done, undefined, done])
      machine.disk.fault = undefined
      machine.disk.calls.length = 0
      device.load(state)
      device.unpause()
      await machine.settle()
      expect(machine.reap().map(({ status, used }) => [status, used])).toEqual(Array.from({ length: 4 }, () => [0, 1]))
      expect(machine.disk.calls.map(({ offset }) => offset)).toEqual([512, 2560])
      expect([1, 3, 5, 7].map((sector) => machine.disk.data[512 * sector])).toEqual([1, 3, 5, 7])
      expect(machine.driver.queue.free).toBe(16)
    },
  )

  test('what was loaded and not served yet goes along again, and before a stop it is served', async () => {
    const machine = new BlkMachine({ disk: { onError: 'stop' } })
    machine.disk.fault = () => new BlockError('ENOSPC', 'full')
    machine.ram.fill(9, DATA, DATA + 512)
    machine.driver.submitWrite(1, DATA, 512)
    await machine.run()
    const first = await moved(machine)
    first.device.load(first.state)
    const again = await first.device.save()
    expect(again.queues).toMatchObject([{ chains: [{ head: 0, slots: 1 }] }])
    await first.device.close()
    machine.disk.fault = undefined
    const second = replacement(machine)
    second.load(JSON.parse(JSON.stringify(again)) as VirtioDeviceState)
    let stopped: unknown
    void second.stopQueue(0).then((state) => {
      stopped = state
    })
    await machine.settle()
    expect(stopped).toBeUndefined()
    second.unpause()
    await machine.settle()
    expect(stopped).toMatchObject({ availIndex: 1, usedIndex: 1 })
    expect(machine.reap()).toMatchObject([{ status: 0 }])
    expect(machine.disk.data[512]).toBe(9)
  })

  test('a device that asked for a reset still does', async () => {
    const machine = new BlkMachine()
    machine.availIndex = 999
    machine.device.kick(0)
    const { state, device } = await moved(machine)
    device.load(state)
    device.unpause()
    expect(device.readStatus()).toBe(79)
    expect(device.resetReason).toMatch(/999/)
    device.writeStatus(0)
    expect(device.readStatus()).toBe(0)
  })

  test('a disk that is larger here is told of as a resize', async () => {
    const machine = new BlkMachine()
    const { state, device } = await moved(machine)
    let told = 0
    await device.close()
    state.model.capacity = 4096
    const other = replacement(machine, { notifier: { notifyQueue: () => {}, notifyConfig: () => told++ } })
    other.load(state)
    expect(told).toBe(1)
  })

  test('is for a device that has not been started', async () => {
    const machine = new BlkMachine()
    const state = await machine.device.save()
    expect(() => machine.device.load(state)).toThrow(expect.objectContaining({ code: 'EBUSY' }))
  })

  const refused: [string, (state: VirtioDeviceState) => unknown][] = [
    ['features that this device cannot offer', (state) => Object.assign(state, { features: '0x120000080' })],
    ['features of no driver of version 1', (state) => Object.assign(state, { features: '0x0' })],
    ['features that are no number', (state) => Object.assign(state, { features: 'all' })],
    ['another kind of device', (state) => Object.assign(state, { deviceId: 4 })],
    ['another version', (state) => Object.assign(state, { version: 2 })],
    ['a status that no device has', (state) => Object.assign(state, { status: 16 })],
    ['a driver that is ready for nothing', (state) => Object.assign(state, { status: 4 })],
    ['queues of a device without features', (state) => Object.assign(state, { status: 3 })],
    ['a queue that is not there', (state) => Object.assign(first(state), { index: 1 })],
    ['the same queue twice', (state) => state.queues.push(first(state))],
    ['a queue outside memory', (state) => Object.assign(first(state).config.usedRing, { high: 1 })],
    ['a queue of no size', (state) => Object.assign(first(state).config, { size: 0 })],
    ['a position that no queue has', (state) => Object.assign(first(state).state, { availIndex: 0x8000 })],
    ['a wrap counter in a split queue', (state) => Object.assign(first(state).state, { usedWrap: true })],
    ['more chains than were taken', (state) => first(state).chains.push(chain)],
    ['a part of a descriptor', (state) => first(state).chains.push({ ...chain, descriptors: [1, 2] })],
    ['a capacity that is no length', (state) => Object.assign(state.model, { capacity: -1 })],
    ['nothing', (state) => Object.keys(state).map((key) => Reflect.deleteProperty(state, key))],
  ]
  const chain = { head: 1, slots: 1, descriptors: [0, 0, 16, 0] }
  const first = (state: VirtioDeviceState) => state.queues[0] as VirtioDeviceState['queues'][0]

  test.each(refused)('refuses %s; the device is in its beginning after that', async (_what, spoil) => {
    const machine = new BlkMachine()
    expect(await machine.works()).toBe(true)
    const { state, device } = await moved(machine)
    spoil(state)
    expect(() => device.load(state)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
    expect(device.readStatus()).toBe(0)
    expect(device.isQueueRunning(0)).toBe(false)
    expect(machine.disk.root.busy()).toBe(false)
    const driver = new GuestBlkDriver({ device, memory: machine.memory, address: 0x1000, queueSize: 16 })
    driver.initialise()
    driver.submitFlush()
    driver.kick()
    await machine.settle()
    expect(driver.queue.pending()).toBe(1)
  })
})
