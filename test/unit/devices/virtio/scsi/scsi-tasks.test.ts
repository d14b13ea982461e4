import { describe, expect, test } from 'vitest'
import { BlockError } from '../../../../../src/common/error.js'
import type { VirtioDeviceState } from '../../../../../src/devices/virtio/core/device-state.js'
import { VirtioScsiDevice } from '../../../../../src/devices/virtio/scsi/virtio-scsi.js'
import { drained } from '../../../../../src/io/drained.js'
import { FlatDisk } from '../../../../support/flat-disk.js'
import { ScsiMachine } from '../../../../support/scsi-machine.js'

const read = (tag: number, lun = 0) => ({ cdb: [0x28, 0, 0, 0, 0, 0, 0, 0, 1], inBytes: 512, tag, lun })

async function busy(luns = [0]): Promise<ScsiMachine> {
  const made = new ScsiMachine()
  for (const lun of luns) made.attach({ lun })
  made.start()
  for (const lun of luns) await made.ready({ cdb: [0], lun })
  for (const disk of made.disks) disk.held = []
  return made
}

const held = (made: ScsiMachine, disk = 0) => made.disks[disk]?.held ?? []

describe('task management', () => {
  test('ABORT TASK ends the one command, and is complete after it', async () => {
    const made = await busy()
    const first = made.submit(read(7))
    const second = made.submit(read(8))
    await made.settle()
    made.submitTask({ subtype: 0, tag: 7 })
    await made.settle()
    expect([made.reapTasks(), made.reap().size]).toEqual([[], 0])
    expect(await made.task({ subtype: 6, tag: 8 })).toBe(10)
    held(made)[0]?.settle()
    await made.settle()
    expect(made.reap().get(first)).toMatchObject({ response: 2, used: 108 })
    expect(made.reapTasks()).toEqual([0])
    held(made)[1]?.settle()
    await made.settle()
    expect(made.reap().get(second)).toMatchObject({ response: 0, status: 0 })
    expect(await made.task({ subtype: 6, tag: 8 })).toBe(0)
    expect(await made.task({ subtype: 0, tag: 8 })).toBe(0)
  })

  test.each([
    [1, 2],
    [3, 2],
    [5, 4],
  ])('function %i ends all commands of the unit with response %i, and no other\u2019s', async (subtype, response) => {
    const made = await busy([0, 1])
    const ours = [made.submit(read(1)), made.submit(read(2))]
    const other = made.submit(read(3, 1))
    await made.settle()
    made.submitTask({ subtype })
    held(made)[0]?.settle()
    await made.settle()
    expect(made.reapTasks()).toEqual([])
    held(made)[1]?.settle(new BlockError('EIO', 'late'))
    held(made, 1)[0]?.settle()
    await made.settle()
    const answers = made.reap()
    expect(ours.map((head) => answers.get(head)?.response)).toEqual([response, response])
    expect(answers.get(other)?.response).toBe(0)
    expect(made.reapTasks()).toEqual([0])
    for (const disk of made.disks) disk.held = undefined
    expect((await made.run({ cdb: [0] })).sense?.asc).toBe(subtype === 5 ? 0x29 : undefined)
    expect((await made.run({ cdb: [0], lun: 1 })).sense).toBeUndefined()
  })

  test('I_T NEXUS RESET is of a whole target', async () => {
    const made = await busy([0, 1])
    made.submit(read(1))
    made.submit(read(2, 1))
    await made.settle()
    expect(await made.task({ subtype: 7 })).toBe(10)
    made.submitTask({ subtype: 4, lun: 9 })
    for (const disk of [0, 1]) held(made, disk)[0]?.settle()
    await made.settle()
    expect([...made.reap().values()].map(({ response }) => response)).toEqual([4, 4])
    expect(made.reapTasks()).toEqual([0])
    expect(await made.task({ subtype: 7 })).toBe(0)
  })

  test('a command that was set aside is ended at once', async () => {
    const made = new ScsiMachine()
    const disk = made.attach({ disk: { onError: 'stop' } })
    made.start()
    await made.ready({ cdb: [0] })
    disk.fault = () => new BlockError('EIO', 'no')
    const head = made.submit(read(7))
    await made.settle()
    expect(await made.task({ subtype: 0, tag: 7 })).toBe(0)
    expect(made.reap().get(head)).toMatchObject({ response: 2 })
    expect(made.device.parkedRequests).toBe(0)
  })

  test('a function is about commands that wait in their queue, too', async () => {
    const made = await busy()
    await made.device.pause()
    const head = made.submit(read(7))
    made.submitTask({ subtype: 0, tag: 7 })
    made.device.unpause()
    // As a server that looks at all queues does, the one for control first.
    made.device.poll()
    await made.settle()
    expect([made.reapTasks(), held(made)]).toEqual([[], [expect.anything()]])
    held(made)[0]?.settle()
    await made.settle()
    expect(made.reap().get(head)?.response).toBe(2)
    expect(made.reapTasks()).toEqual([0])
  })

  test.each(['under way', 'set aside'])(
    'when a driver is told of a function, it can see the answers of its commands: %s',
    async (how) => {
      const seen: number[] = []
      const made: ScsiMachine = new ScsiMachine({
        notifier: {
          notifyQueue: (index) => {
            if (index === 0) seen.push(made.queues[2]?.pending() ?? 0)
          },
          notifyConfig: () => {},
        },
      })
      const disk = made.attach({ disk: { onError: 'stop' } })
      made.start()
      await made.ready({ cdb: [0] })
      if (how === 'under way') disk.held = []
      else disk.fault = () => new BlockError('EIO', 'no')
      made.submit(read(7))
      await made.settle()
      made.submitTask({ subtype: 5 })
      await made.settle()
      held(made)[0]?.settle()
      await made.settle()
      expect([seen, made.reapTasks(), made.reap().size]).toEqual([[1], [0], 1])
    },
  )

  test('functions and units that are not there', async () => {
    const made = await busy()
    expect(await made.task({ subtype: 2 })).toBe(11)
    expect(await made.task({ subtype: 99 })).toBe(11)
    expect(await made.task({ subtype: 0, lun: 4 })).toBe(12)
    expect(await made.task({ subtype: 0, target: 4 })).toBe(3)
  })

  test('notifications: there are none to subscribe to', async () => {
    const made = await busy()
    const view = new DataView(made.ram.buffer)
    for (const [type, lun, response] of [
      [1, 0, 0],
      [2, 0, 0],
      [2, 3, 3],
    ] as const) {
      view.setUint32(0x10000, type, true)
      made.ram.set([1, 0, 0, lun, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], 0x10004)
      made.ram.fill(0xcc, 0x10100, 0x10105)
      made.control([[0x10000, 16, false]], [[0x10100, 5, true]], 0x10104)
      await made.settle()
      expect(made.reapTasks()).toEqual([response])
      expect([...made.ram.subarray(0x10100, 0x10104)]).toEqual([0, 0, 0, 0])
    }
  })

  test.each([
    [0, 23, 1],
    [0, 24, 0],
    [1, 15, 5],
    [1, 16, 4],
    [3, 24, 1],
    [0, 3, 1],
  ])(
    'type %i with %i readable and %i writable bytes: the device asks for a reset',
    async (type, readable, writable) => {
      const made = await busy()
      new DataView(made.ram.buffer).setUint32(0x10000, type, true)
      made.control([[0x10000, readable, false]], writable === 0 ? [] : [[0x10100, writable, true]], 0)
      await made.settle()
      expect(made.device.readStatus()).toBe(79)
      made.device.writeStatus(0)
      for (const disk of made.disks) disk.held = undefined
      made.start()
      expect((await made.ready({ cdb: [0] })).status).toBe(0)
    },
  )

  test('a reset of the device while a function waits', async () => {
    const made = await busy()
    made.submit(read(7))
    await made.settle()
    made.submitTask({ subtype: 1 })
    made.device.writeStatus(0)
    expect(made.device.readStatus()).toBe(15)
    held(made)[0]?.settle()
    await made.settle()
    expect(made.device.readStatus()).toBe(0)
    for (const disk of made.disks) disk.held = undefined
    made.start()
    expect((await made.ready({ cdb: [0] })).status).toBe(0)
  })
})

describe('disks that come and go', () => {
  test('events tell of it, and so do the neighbours', async () => {
    const made = await busy()
    for (const disk of made.disks) disk.held = undefined
    for (let i = 0; i < 4; i++) made.offerEvent()
    expect(await made.takeEvents()).toEqual([])
    made.attach({ lun: 300 })
    expect(await made.takeEvents()).toEqual([[1, 0, 300, 1]])
    expect((await made.run({ cdb: [0] })).sense).toEqual({ key: 6, asc: 0x3f, ascq: 0x0e })
    expect((await made.ready({ cdb: [0], lun: 300 })).status).toBe(0)
    await made.device.detachDisk(0, 300)
    expect(await made.takeEvents()).toEqual([[1, 0, 300, 2]])
    const luns = await made.run({ cdb: [0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64], inBytes: 64 })
    expect(luns.data[3]).toBe(8)
    expect((await made.run({ cdb: [0] })).status).toBe(0)
    expect((await made.run({ cdb: [0], lun: 300 })).sense?.asc).toBe(0x25)
    expect(made.disks[1]?.root.client).toBeUndefined()
    await expect(made.device.detachDisk(0, 300)).rejects.toMatchObject({ code: 'ENOENT' })
  })

  test('a resize is an event and a unit attention', async () => {
    const made = await busy()
    for (const disk of made.disks) disk.held = undefined
    made.offerEvent()
    made.disks[0]?.root.client?.resized?.(4096)
    made.disks[0]?.root.client?.resized?.(4097)
    expect(await made.takeEvents()).toEqual([[3, 0, 0, 0x092a]])
    expect((await made.run({ cdb: [0] })).sense).toEqual({ key: 6, asc: 0x2a, ascq: 9 })
    expect((await made.run({ cdb: [0x25], inBytes: 8 })).data[3]).toBe(7)
  })

  test('without the features there are no events', async () => {
    const made = new ScsiMachine({ features: 1n << 32n })
    made.attach()
    made.start()
    made.offerEvent()
    made.attach({ lun: 1 })
    made.disks[0]?.root.client?.resized?.(4096)
    expect(await made.takeEvents()).toEqual([])
  })

  test('events wait for buffers; of too many the driver hears that some were missed', async () => {
    const made = await busy()
    for (const disk of made.disks) disk.held = undefined
    const { client } = (made.disks[0] as FlatDisk).root
    for (let i = 1; i <= 17; i++) client?.resized?.(i * 512)
    for (let i = 0; i < 8; i++) made.offerEvent()
    const first = await made.takeEvents()
    expect(first).toHaveLength(8)
    expect((first[0]?.[0] ?? 0) >>> 31).toBe(1)
    for (let i = 0; i < 9; i++) made.offerEvent()
    expect(await made.takeEvents()).toHaveLength(8)
    made.offerEvent(15)
    client?.resized?.(0)
    await made.takeEvents()
    client?.resized?.(512)
    await made.settle()
    expect(made.device.readStatus()).toBe(79)
  })

  test('detaching waits for what is under way, and ends what was set aside', async () => {
    const made = new ScsiMachine()
    const disk = made.attach({ disk: { onError: 'stop' } })
    made.start()
    await made.ready({ cdb: [0] })
    disk.fault = () => new BlockError('EIO', 'no')
    const aside = made.submit(read(1))
    await made.settle()
    disk.held = []
    const under = made.submit(read(2))
    const late = made.submit(read(3))
    await made.settle()
    let gone = false
    void made.device.detachDisk(0, 0).then(() => {
      gone = true
    })
    await made.settle()
    expect(gone).toBe(false)
    disk.held[0]?.settle()
    disk.held[1]?.settle(new BlockError('EIO', 'no'))
    await made.settle()
    expect(gone).toBe(true)
    const answers = made.reap()
    expect([aside, under, late].map((head) => answers.get(head)?.response)).toEqual([9, 0, 0])
    expect(answers.get(late)?.sense?.key).toBe(3)
    expect([disk.root.client, disk.root.holdWhileDrained]).toEqual([undefined, true])
  })

  test('a backend has one device, and a place one disk', async () => {
    const made = await busy()
    const { root } = made.disks[0] as FlatDisk
    expect(() => made.device.attachDisk({ root, lun: 1 })).toThrow(expect.objectContaining({ code: 'EBUSY' }))
    const other = new FlatDisk(4096, made.clock)
    expect(() => made.device.attachDisk({ root: other.root })).toThrow(expect.objectContaining({ code: 'EEXIST' }))
    expect(other.root.client).toBeUndefined()
    for (const bad of [
      { target: 256 },
      { lun: 16384 },
      { vendor: 'much too long' },
      { serial: '\u00e9' },
      { wwn: '12' },
      { logicalBlockSize: 100 },
    ]) {
      expect(() => made.device.attachDisk({ root: other.root, ...bad })).toThrow(
        expect.objectContaining({ code: 'EINVAL' }),
      )
    }
  })
})

describe('drained sections', () => {
  test('of one disk stop the controller; what has begun passes through', async () => {
    const made = await busy([0, 1])
    made.submit(read(1))
    await made.settle()
    let open: { end(): void } | undefined
    void drained((made.disks[1] as FlatDisk).node).then((section) => {
      open = section
    })
    made.submit(read(2, 1))
    await made.settle()
    expect([open, held(made, 1).length]).toEqual([undefined, 0])
    held(made)[0]?.settle()
    await made.settle()
    expect(open).toBeDefined()
    open?.end()
    await made.settle()
    expect(held(made, 1)).toHaveLength(1)
  })
})

describe('save and load', () => {
  test('sizes, events and unit attentions go along', async () => {
    const made = await busy()
    for (const disk of made.disks) disk.held = undefined
    made.device.writeConfig(20, Uint8Array.of(20))
    made.senseSize = 20
    made.disks[0]?.root.client?.resized?.(4096)
    const state = JSON.parse(JSON.stringify(await made.device.save())) as VirtioDeviceState
    await made.device.close()
    const empty = new VirtioScsiDevice({
      clock: made.clock,
      memory: made.memory,
      notifier: { notifyQueue: () => {} },
      queueSize: 16,
    })
    expect(() => empty.load(state)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
    await empty.close()
    const other = new VirtioScsiDevice({
      clock: made.clock,
      memory: made.memory,
      notifier: { notifyQueue: () => {} },
      queueSize: 16,
    })
    other.attachDisk({ root: (made.disks[0] as FlatDisk).root })
    other.load(state)
    other.unpause()
    Object.assign(made, { device: other })
    made.offerEvent()
    expect(await made.takeEvents()).toEqual([[3, 0, 0, 0x092a]])
    expect(await made.run({ cdb: [0] })).toMatchObject({ sense: { asc: 0x2a }, used: 32 })
  })

  test.each([
    ['a size no driver can choose', (model: Record<string, unknown>) => Object.assign(model, { cdbSize: 0 })],
    [
      'an event of no unit',
      (model: Record<string, unknown>) =>
        Object.assign(model, { events: [{ event: 1, target: 256, lun: 0, reason: 0 }] }),
    ],
    [
      'a condition nobody knows',
      (model: Record<string, unknown>) =>
        Object.assign(model, { units: [{ target: 0, lun: 0, attentions: ['toString'] }] }),
    ],
    ['no list of units', (model: Record<string, unknown>) => Object.assign(model, { units: 1 })],
  ])('refuses %s', async (_what, spoil) => {
    const made = await busy()
    const state = await made.device.save()
    spoil(state.model)
    await made.device.close()
    const other = new VirtioScsiDevice({
      clock: made.clock,
      memory: made.memory,
      notifier: { notifyQueue: () => {} },
      queueSize: 16,
    })
    other.attachDisk({ root: (made.disks[0] as FlatDisk).root })
    expect(() => other.load(state)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
    expect(other.readStatus()).toBe(0)
  })
})
