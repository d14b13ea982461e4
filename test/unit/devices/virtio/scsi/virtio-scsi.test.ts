import { describe, expect, test } from 'vitest'
import { BlockError } from '../../../../../src/common/error.js'
import { BDRV_REQ_FUA } from '../../../../../src/common/request.js'
import { drained } from '../../../../../src/io/drained.js'
import { shape } from '../../../../support/blk-runs.js'
import { ScsiMachine } from '../../../../support/scsi-machine.js'

const RESET = { key: 6, asc: 0x29, ascq: 0 }
const sense = (key: number, asc: number, ascq = 0) => ({ key, asc, ascq })
const text = (bytes: Uint8Array) => String.fromCharCode(...bytes)

function machine(options: ConstructorParameters<typeof ScsiMachine>[0] = {}): ScsiMachine {
  return new ScsiMachine(options)
}

function started(options: Parameters<ScsiMachine['attach']>[0] = {}): ScsiMachine {
  const made = machine()
  made.attach(options)
  return made.start()
}

const calls = (made: ScsiMachine) => made.disks[0]?.calls.map(shape)

describe('addresses', () => {
  test('a target that is not there, and addresses of no form', async () => {
    const made = started()
    expect(await made.run({ cdb: [0], target: 1 })).toMatchObject({ response: 3, sense: undefined })
    for (const address of [
      [0, 0, 0, 0],
      [2, 0, 0, 0],
      [1, 0, 0x80, 0],
      [1, 0, 0xc1, 1],
    ]) {
      expect(await made.run({ cdb: [0], address })).toMatchObject({ response: 3 })
    }
  })

  test('a unit that is not there, behind a target that is', async () => {
    const made = started({ target: 3, lun: 5 })
    const at = { target: 3, lun: 1 }
    expect(await made.run({ cdb: [0], ...at })).toMatchObject({ response: 0, status: 2, sense: sense(5, 0x25) })
    const inquiry = await made.run({ cdb: [0x12, 0, 0, 0, 36], inBytes: 36, ...at })
    expect([inquiry.status, inquiry.data[0]]).toEqual([0, 0x7f])
    const asked = await made.run({ cdb: [3, 0, 0, 0, 18], inBytes: 18, ...at })
    expect([asked.status, asked.data[2], asked.data[12]]).toEqual([0, 5, 0x25])
    const luns = await made.run({ cdb: [0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64], inBytes: 64, ...at })
    expect([...luns.data.subarray(0, 24)]).toEqual([
      0,
      0,
      0,
      16,
      0,
      0,
      0,
      0,
      ...[0, 0, 0, 0, 0, 0, 0, 0],
      0,
      5,
      0,
      0,
      0,
      0,
      0,
      0,
    ])
    expect(luns).toMatchObject({ status: 0, residual: 40, used: 108 + 24 })
  })

  test('luns from 256 on have the flat form', async () => {
    const made = started({ lun: 300 })
    const luns = await made.run({ cdb: [0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64], inBytes: 64, lun: 300 })
    expect([...luns.data.subarray(16, 18)]).toEqual([0x41, 0x2c])
    expect((await made.ready({ cdb: [0], lun: 300 })).status).toBe(0)
  })

  test('the well known logical unit reports, and does little else', async () => {
    const made = started({ lun: 2 })
    const address = [0xc1, 1, 0, 0, 0, 0, 0, 0]
    const luns = await made.run({ cdb: [0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64], inBytes: 64, address })
    expect(luns.data[3]).toBe(16)
    const inquiry = await made.run({ cdb: [0x12, 0, 0, 0, 36], inBytes: 36, address })
    expect(inquiry.data[0]).toBe(0x1e)
    expect((await made.run({ cdb: [0], address })).status).toBe(0)
    const asked = await made.run({ cdb: [3, 1, 0, 0, 8], inBytes: 8, address })
    expect([...asked.data]).toEqual([0x72, 0, 0, 0, 0, 0, 0, 0])
    expect((await made.run({ cdb: [0x28], address })).sense).toEqual(sense(5, 0x20))
  })
})

describe('unit attention', () => {
  test('of power on and of a reset is told once, and not by INQUIRY', async () => {
    const made = started()
    expect((await made.run({ cdb: [0x12, 0, 0, 0, 36], inBytes: 36 })).status).toBe(0)
    expect((await made.run({ cdb: [0] })).sense).toEqual(RESET)
    expect((await made.run({ cdb: [0] })).sense).toBeUndefined()
    made.device.writeStatus(0)
    made.start()
    const asked = await made.run({ cdb: [3, 0, 0, 0, 18], inBytes: 18 })
    expect([asked.data[2], asked.data[12]]).toEqual([6, 0x29])
    expect((await made.run({ cdb: [0] })).status).toBe(0)
  })
})

describe('what a disk says of itself', () => {
  const options = {
    bytes: 4096 * 100,
    vendor: 'ACME',
    product: 'Disk of tests',
    revision: '2.0',
    serial: 'S-1',
    wwn: '5000c500a1b2c3d4',
    logicalBlockSize: 512,
    physicalBlockSize: 4096,
  }

  test('standard INQUIRY', async () => {
    const made = started(options)
    const { data, residual } = await made.run({ cdb: [0x12, 0, 0, 0, 96], inBytes: 96 })
    expect([...data.subarray(0, 8)]).toEqual([0, 0, 6, 0x12, 31, 0, 0, 2])
    expect(text(data.subarray(8, 36))).toBe('ACME    Disk of tests   2.0 ')
    expect(residual).toBe(60)
    expect((await made.run({ cdb: [0x12, 0, 1, 0, 96], inBytes: 96 })).sense).toEqual(sense(5, 0x24))
  })

  const vitalPage = async (made: ScsiMachine, code: number) => {
    const { data, status } = await made.run({ cdb: [0x12, 1, code, 0, 255], inBytes: 255 })
    return status === 0 ? data.subarray(4, 4 + (((data[2] as number) << 8) | (data[3] as number))) : undefined
  }

  test('disks without a serial number have no name that others have, too', async () => {
    const made = started({ vendor: 'ACME', wwn: '5000c500a1b2c3d4' })
    made.attach({ lun: 1 })
    expect([...((await vitalPage(made, 0)) ?? [])]).toEqual([0, 0x83, 0xb0, 0xb1, 0xb2])
    expect(await vitalPage(made, 0x80)).toBeUndefined()
    expect([...((await vitalPage(made, 0x83)) ?? [])]).toEqual([1, 3, 0, 8, 0x50, 0, 0xc5, 0, 0xa1, 0xb2, 0xc3, 0xd4])
    const { data, status } = await made.run({ cdb: [0x12, 1, 0x83, 0, 255], inBytes: 255, lun: 1 })
    expect([status, ...data.subarray(0, 4)]).toEqual([0, 0, 0x83, 0, 0])
  })

  test('vital product data', async () => {
    const made = started(options)
    const page = (code: number) => vitalPage(made, code)
    expect([...((await page(0)) ?? [])]).toEqual([0, 0x80, 0x83, 0xb0, 0xb1, 0xb2])
    expect(text((await page(0x80)) ?? new Uint8Array())).toBe('S-1')
    const names = (await page(0x83)) as Uint8Array
    expect(text(names.subarray(4, 31))).toBe('ACME    Disk of tests   S-1')
    expect([...names.subarray(31)]).toEqual([1, 3, 0, 8, 0x50, 0, 0xc5, 0, 0xa1, 0xb2, 0xc3, 0xd4])
    const limits = new DataView(((await page(0xb0)) as Uint8Array).slice().buffer)
    expect([limits.byteLength, limits.getUint8(0), limits.getUint16(2)]).toEqual([60, 1, 8])
    expect([limits.getUint32(16), limits.getUint32(20), limits.getUint32(36)]).toEqual([2 ** 21, 256, 2 ** 17])
    expect((await page(0xb1))?.[1]).toBe(1)
    expect([...((await page(0xb2)) ?? [])]).toEqual([0, 0xe0, 2, 0])
    expect(await page(0x84)).toBeUndefined()
  })

  test('capacities', async () => {
    const made = started(options)
    const short = await made.ready({ cdb: [0x25], inBytes: 8 })
    expect([...short.data]).toEqual([0, 0, 3, 0x1f, 0, 0, 2, 0])
    const long = await made.run({ cdb: [0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32], inBytes: 32 })
    expect([...long.data.subarray(0, 16)]).toEqual([0, 0, 0, 0, 0, 0, 3, 0x1f, 0, 0, 2, 0, 0, 3, 0x80, 0])
    expect((await made.run({ cdb: [0x9e, 0x11] })).sense).toEqual(sense(5, 0x20))
  })

  test('mode pages', async () => {
    const made = started({ ...options, disk: { writeCache: true } })
    const short = await made.ready({ cdb: [0x1a, 0, 8, 0, 255], inBytes: 255 })
    const { data } = short
    expect([...data.subarray(0, 15)]).toEqual([31, 0, 0x10, 8, 0, 0, 3, 0x20, 0, 0, 2, 0, 8, 18, 4])
    const changeable = await made.run({ cdb: [0x1a, 8, 0x48, 0, 255], inBytes: 255 })
    expect([...changeable.data.subarray(0, 7)]).toEqual([23, 0, 0x10, 0, 8, 18, 0])
    const all = await made.run({ cdb: [0x5a, 8, 0x3f, 0, 0, 0, 0, 0, 255], inBytes: 255 })
    expect([...all.data.subarray(0, 10)]).toEqual([0, 38, 0, 0x10, 0, 0, 0, 0, 8, 18])
    expect([...all.data.subarray(28, 30)]).toEqual([10, 10])
    expect((await made.run({ cdb: [0x1a, 0, 0xc8, 0, 255], inBytes: 255 })).sense).toEqual(sense(5, 0x39))
    expect((await made.run({ cdb: [0x1a, 0, 0x05, 0, 255], inBytes: 255 })).sense).toEqual(sense(5, 0x24))
    const locked = started({ disk: { writable: false, writeCache: false } })
    const read = await locked.ready({ cdb: [0x1a, 8, 8, 0, 255], inBytes: 255 })
    expect([read.data[2], read.data[6]]).toEqual([0x90, 0])
  })

  test('a disk without a medium, and commands nobody knows', async () => {
    const made = started({ bytes: 0 })
    for (const cdb of [[0], [0x25], [0x28, 0, 0, 0, 0, 0, 0, 0, 1], [0x35]]) {
      expect((await made.ready({ cdb, inBytes: 512 })).sense).toEqual(sense(2, 0x3a))
    }
    const other = started()
    for (const opcode of [0x04, 0x15, 0x5e, 0x7f, 0x83, 0xa3, 0xff]) {
      expect((await other.ready({ cdb: [opcode] })).sense).toEqual(sense(5, 0x20))
    }
    expect((await other.ready({ cdb: [0x1b] })).status).toBe(0)
  })
})

describe('transfers', () => {
  test.each([
    ['6', [0x0a, 0, 0, 2, 1], [0x08, 0, 0, 2, 1]],
    ['10', [0x2a, 0, 0, 0, 0, 2, 0, 0, 1], [0x28, 0, 0, 0, 0, 2, 0, 0, 1]],
    ['12', [0xaa, 0, 0, 0, 0, 2, 0, 0, 0, 1], [0xa8, 0, 0, 0, 0, 2, 0, 0, 0, 1]],
    ['16', [0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1], [0x88, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1]],
  ])('WRITE(%s) and READ(%s) of one block', async (_form, write, read) => {
    const made = started()
    const data = Uint8Array.from({ length: 512 }, (_, i) => i * 3)
    expect(await made.ready({ cdb: write, out: data })).toMatchObject({ status: 0, residual: 0, used: 108 })
    expect(made.disks[0]?.data.subarray(1024, 1536)).toEqual(data)
    const back = await made.run({ cdb: read, inBytes: 512 })
    expect(back).toMatchObject({ status: 0, residual: 0, used: 108 + 512 })
    expect(back.data).toEqual(data)
  })

  test('a larger buffer leaves a residual; a smaller one is an overrun, and nothing is done', async () => {
    const made = started()
    const cdb = [0x28, 0, 0, 0, 0, 2, 0, 0, 2]
    expect(await made.ready({ cdb, inBytes: 2048 })).toMatchObject({ status: 0, residual: 1024, used: 108 + 1024 })
    expect(await made.run({ cdb, inBytes: 1023 })).toMatchObject({ response: 1, residual: 1023, used: 108 })
    expect(await made.run({ cdb: [0x2a, 0, 0, 0, 0, 0, 0, 0, 2], out: new Uint8Array(512) })).toMatchObject({
      response: 1,
    })
    expect(await made.run({ cdb: [0x12, 0, 0, 0, 96], inBytes: 36 })).toMatchObject({ response: 1 })
    expect(calls(made)).toEqual(['read 2+2'])
  })

  test('data in both directions was not agreed', async () => {
    const made = started()
    expect(await made.run({ cdb: [0], out: new Uint8Array(4), inBytes: 4 })).toMatchObject({ response: 9 })
  })

  test('ranges that are not on the disk never reach it', async () => {
    const made = started()
    for (const cdb of [
      [0x28, 0, 0, 0, 2, 0, 0, 0, 1],
      [0x28, 0, 0, 0, 1, 0xff, 0, 0, 2],
      [0x88, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1],
      [0x88, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
      [0x35, 0, 0, 0, 3, 0, 0, 0, 1],
    ]) {
      expect((await made.ready({ cdb, inBytes: 1024 })).sense).toEqual(sense(5, 0x21))
    }
    expect((await made.run({ cdb: [0x28, 0xe0, 0, 0, 0, 0, 0, 0, 1], inBytes: 512 })).sense).toEqual(sense(5, 0x24))
    expect(calls(made)).toEqual([])
    expect(made.disks[0]?.root.accounting.read.invalid).toBe(4)
    expect(await made.run({ cdb: [0x28, 0, 0, 0, 2, 0, 0, 0, 0] })).toMatchObject({ status: 0 })
  })

  test('FUA writes are stable, FUA reads come from the medium, SYNCHRONIZE CACHE flushes', async () => {
    const made = started()
    const disk = made.disks[0]
    await made.ready({ cdb: [0x2a, 8, 0, 0, 0, 0, 0, 0, 1], out: new Uint8Array(512).fill(1) })
    expect(disk?.calls[0]?.flags).toBe(BDRV_REQ_FUA)
    await made.run({ cdb: [0x2a, 0, 0, 0, 0, 0, 0, 0, 1], out: new Uint8Array(512).fill(1) })
    await made.run({ cdb: [0x28, 8, 0, 0, 0, 0, 0, 0, 1], inBytes: 512 })
    await made.run({ cdb: [0x2a, 0, 0, 0, 0, 0, 0, 0, 1], out: new Uint8Array(512).fill(1) })
    for (const cdb of [[0x35], [0x91]]) expect((await made.run({ cdb })).status).toBe(0)
    expect(disk?.calls.slice(1).map(({ kind }) => kind)).toEqual(['write', 'flush', 'read', 'write', 'flush'])
  })

  test('a read-only disk is not written', async () => {
    const made = started({ disk: { writable: false } })
    const out = new Uint8Array(512)
    for (const cdb of [[0x2a, 0, 0, 0, 0, 0, 0, 0, 1], [0x41, 0, 0, 0, 0, 0, 0, 0, 1], [0x42]]) {
      expect((await made.ready({ cdb, out })).sense).toEqual(sense(7, 0x27))
    }
  })
})

describe('errors of the backend', () => {
  const write = { cdb: [0x2a, 0, 0, 0, 0, 2, 0, 0, 1], out: new Uint8Array(512).fill(4) }

  test.each([
    ['EIO', sense(3, 0x0c)],
    ['ENOSPC', sense(7, 0x27, 7)],
    ['ENOMEDIUM', sense(2, 0x3a)],
    ['EACCES', sense(7, 0x27)],
    ['ENOTSUP', sense(5, 0x24)],
    ['ENOMEM', sense(0xb, 0, 6)],
  ] as const)('%s', async (code, expected) => {
    const made = started()
    await made.ready({ cdb: [0] })
    const [disk] = made.disks
    if (disk !== undefined) disk.fault = () => new BlockError(code, 'no')
    expect(await made.run(write)).toMatchObject({ status: 2, sense: expected, residual: 512 })
    const read = await made.run({ cdb: [0x28, 0, 0, 0, 0, 2, 0, 0, 1], inBytes: 512 })
    if (code === 'EIO') expect(read).toMatchObject({ sense: sense(3, 0x11), used: 108 })
  })

  test('the stop policy sets a command aside, and resume runs it again', async () => {
    const made = started({ disk: { onError: 'stop' } })
    await made.ready({ cdb: [0] })
    const disk = made.disks[0] as (typeof made.disks)[0]
    disk.fault = () => new BlockError('ENOSPC', 'full')
    made.submit(write)
    await made.settle()
    expect([made.reap().size, made.device.parkedRequests]).toEqual([0, 1])
    const section = await drained(disk.node)
    disk.fault = undefined
    made.device.resume()
    await made.settle()
    expect(made.reap().size).toBe(0)
    section.end()
    await made.settle()
    expect([...made.reap().values()]).toMatchObject([{ status: 0 }])
    expect(disk.data[1024]).toBe(4)
  })

  test('a suspended queue leaves what was set aside for its next life', async () => {
    const made = started({ disk: { onError: 'stop' } })
    await made.ready({ cdb: [0] })
    const disk = made.disks[0] as (typeof made.disks)[0]
    disk.fault = () => new BlockError('ENOSPC', 'full')
    made.submit(write)
    await made.settle()
    const { state, heads, lists } = await made.device.suspendQueue(2)
    expect([made.device.parkedRequests, heads.length]).toEqual([0, 1])
    made.device.resume()
    disk.fault = undefined
    made.device.enableQueue(2, made.queues[2]?.plan.config as never, state)
    made.device.refetch(2, heads, lists)
    await made.settle()
    expect([...made.reap().values()]).toMatchObject([{ status: 0 }])
    expect(disk.data[1024]).toBe(4)
  })
})

describe('malformed requests', () => {
  test('without room for a command or a response the device asks for a reset', async () => {
    for (const [readable, writable] of [
      [50, 108],
      [51, 107],
    ] as const) {
      const made = started()
      const queue = made.queues[2]
      queue?.begin(2)
      queue?.append(0x10000, readable, false)
      queue?.append(0x11000, writable, true)
      queue?.end()
      queue?.publish()
      made.device.kick(2)
      await made.settle()
      expect(made.device.readStatus()).toBe(79)
      expect(made.configNotifications).toBe(1)
      made.device.writeStatus(0)
      made.start()
      expect((await made.ready({ cdb: [0] })).status).toBe(0)
    }
  })

  test('a driver may choose other sizes of sense data and command blocks', async () => {
    const made = started()
    made.device.writeConfig(20, Uint8Array.of(20, 0, 0, 0, 16, 0, 0, 0))
    made.senseSize = 20
    made.cdbSize = 16
    expect(await made.run({ cdb: [0] })).toMatchObject({ sense: RESET, used: 32 })
    made.device.writeConfig(20, Uint8Array.of(10))
    made.senseSize = 10
    expect((await made.run({ cdb: [0xff] })).used).toBe(22)
    const generation = made.device.configGeneration
    made.device.writeConfig(20, Uint8Array.of(0, 0, 0, 1))
    made.device.writeConfig(24, Uint8Array.of(0))
    made.device.writeConfig(0, new Uint8Array(20).fill(9))
    expect(made.device.configGeneration).toBe(generation)
    made.device.writeStatus(0)
    const config = new Uint8Array(36)
    made.device.readConfig(0, config)
    expect([config[0], config[20], config[24], config[30], config[33]]).toEqual([1, 96, 32, 255, 0x3f])
  })
})

test.each([{ queues: 0 }, { queueSize: 3 }])('refuses %j', (options) => {
  expect(() => machine(options)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
})
