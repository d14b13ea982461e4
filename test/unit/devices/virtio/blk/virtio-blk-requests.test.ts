import { describe, expect, test } from 'vitest'
import { BlockError } from '../../../../../src/common/error.js'
import { buffersOf } from '../../../../../src/common/io-vector.js'
import { BDRV_REQ_FUA, BDRV_REQ_MAY_UNMAP } from '../../../../../src/common/request.js'
import { encodeBlkSegment } from '../../../../../src/protocols/virtio/blk.js'
import { GuestBlkDriver } from '../../../../../src/testing/virtio/guest-blk-driver.js'
import {
  BlkMachine,
  DATA,
  HEADER,
  type MachineOptions,
  type RawBuffer,
  STATUS,
} from '../../../../support/blk-machine.js'

const header: RawBuffer = { address: HEADER, length: 16 }
const status: RawBuffer = { address: STATUS, length: 1, writable: true }
const [OK, IOERR, UNSUPP] = [0, 1, 2]

type Sector = number | { high: number; low: number }

/** Sends one raw request; its status byte, used length, and what reached the driver of the disk. */
async function request(machine: BlkMachine, type: number, sector: Sector, buffers: RawBuffer[]) {
  machine.header(type, sector)
  machine.ram[STATUS] = 0xee
  const before = machine.usedIndex
  machine.disk.calls = []
  await machine.send(buffers)
  expect(machine.usedIndex).toBe((before + 1) & 0xffff)
  return { status: machine.ram[STATUS], used: machine.usedElement(before).length, calls: machine.disk.calls }
}

async function segmentRequest(
  type: number,
  segment: { sector?: number; high?: number; sectors?: number; flags?: number },
  options: MachineOptions & { bytes?: number } = {},
) {
  const machine = new BlkMachine(options)
  machine.disk.data.fill(5)
  encodeBlkSegment(machine.view, DATA, {
    sectorHigh: segment.high ?? 0,
    sectorLow: segment.sector ?? 0,
    sectors: segment.sectors ?? 8,
    flags: segment.flags ?? 0,
  })
  machine.ram.copyWithin(DATA + 16, DATA, DATA + 16)
  const bytes = options.bytes ?? 16
  const buffers = bytes === 0 ? [header, status] : [header, { address: DATA, length: bytes }, status]
  return { ...(await request(machine, type, 0, buffers)), machine }
}

describe('layout', () => {
  test('D01 a header in 16 one-byte descriptors, joined with data, or joined and split elsewhere', async () => {
    const layouts: [number, RawBuffer[]][] = [
      [
        HEADER,
        [
          ...Array.from({ length: 16 }, (_, i) => ({ address: HEADER + i, length: 1 })),
          { address: DATA, length: 512 },
          status,
        ],
      ],
      [DATA - 16, [{ address: DATA - 16, length: 528 }, status]],
      [
        DATA - 16,
        [
          { address: DATA - 16, length: 15 },
          { address: DATA - 1, length: 500 },
          { address: DATA + 499, length: 13 },
          status,
        ],
      ],
      [DATA - 15, [{ address: DATA - 15, length: 16 }, { address: DATA, length: 512 }, status]],
    ]
    for (const [at, buffers] of layouts) {
      const machine = new BlkMachine({ driverQueueSize: 32 })
      for (let i = 0; i < 512; i++) machine.ram[DATA + i] = i & 0xff
      machine.header(1, 2, at)
      if (at === DATA - 15) machine.ram[DATA] = 0
      await machine.send(buffers)
      expect(machine.ram[STATUS]).toBe(OK)
      const expected = machine.ram.subarray(DATA, DATA + 512)
      expect(machine.disk.data.subarray(1024, 1536)).toEqual(expected)
    }
  })

  test.each([0, 1, 8, 15])('D01 a header of %i bytes: chain returned with length 0, reset needed', async (length) => {
    const machine = new BlkMachine()
    const got = await request(machine, 0, 0, [...(length > 0 ? [{ address: HEADER, length }] : []), { ...status }])
    expect(got).toEqual({ status: 0xee, used: 0, calls: [] })
    expect(machine.device.resetReason).toMatch(/header/)
    await machine.restart()
    expect(await machine.works()).toBe(true)
  })

  test('D02 no status byte: head returned, reset needed', async () => {
    const machine = new BlkMachine()
    const got = await request(machine, 1, 0, [header, { address: DATA, length: 512 }])
    expect([got.used, got.calls]).toEqual([0, []])
    expect(machine.device.resetReason).toMatch(/status/)
  })

  test('D02 the status is the last writable byte: behind data in one buffer, or of a two-byte buffer', async () => {
    const machine = new BlkMachine()
    machine.disk.data.fill(3, 0, 512)
    machine.ram[DATA + 512] = 0xee
    machine.ram[DATA + 513] = 0xaa
    const joined = await request(machine, 0, 0, [header, { address: DATA, length: 513, writable: true }])
    expect([joined.used, machine.ram[DATA + 511], machine.ram[DATA + 512], machine.ram[DATA + 513]]).toEqual([
      513, 3, 0, 0xaa,
    ])
    machine.ram[STATUS + 1] = 0xee
    const two = await request(machine, 1, 0, [header, { address: DATA, length: 512 }, { ...status, length: 2 }])
    // The first byte of the buffer is not written, so that nothing is counted as written.
    expect([two.status, machine.ram[STATUS + 1], two.used]).toEqual([0xee, OK, 0])
  })

  test('D03 only a header, again and again: each head comes back and the device starts anew', async () => {
    const machine = new BlkMachine()
    for (let i = 0; i < 100; i++) {
      await machine.send([header])
      expect(machine.usedElement(0)).toEqual({ id: 0, length: 0 })
      await machine.restart()
    }
    expect(await machine.works()).toBe(true)
  })

  test('data over many buffers and over regions reaches the backend as the memory of the guest', async () => {
    const buffer = new SharedArrayBuffer(1 << 20)
    const regions = [
      { address: 0, memory: new Uint8Array(buffer, 0, 0x3_0400) },
      { address: 0x3_0400, memory: new Uint8Array(buffer, 0x3_0400) },
    ]
    const machine = new BlkMachine({ buffer, regions })
    for (let i = 0; i < 4096; i++) machine.ram[DATA + i] = (i >> 3) & 0xff
    const wrote = await request(machine, 1, 8, [
      header,
      { address: DATA, length: 1000 },
      { address: DATA + 1000, length: 3096 },
      status,
    ])
    expect(wrote.status).toBe(OK)
    const views = buffersOf(wrote.calls[0]?.buffers as Uint8Array)
    expect(views.map((view) => view.byteOffset)).toEqual([DATA, DATA + 1000, 0x3_0400])
    expect(views.every((view) => view.buffer === buffer)).toBe(true)
    expect(machine.disk.data.subarray(4096, 8192)).toEqual(new Uint8Array(machine.ram.slice(DATA, DATA + 4096)))
    machine.ram.fill(0, DATA, DATA + 4096)
    const read = await request(machine, 0, 8, [
      header,
      { address: DATA + 7, length: 1025, writable: true },
      { address: DATA + 1032, length: 3071, writable: true },
      status,
    ])
    expect([read.status, read.used]).toEqual([OK, 4097])
    expect(new Uint8Array(machine.ram.slice(DATA + 7, DATA + 4103))).toEqual(machine.disk.data.slice(4096, 8192))
  })
})

describe('reads and writes', () => {
  test.each([
    ['sector 2^64-1', 0xffff_ffff, 0xffff_ffff, 512],
    ['sector 2^55', 0x80_0000, 0, 512],
    ['product 2^53', 0x1000, 0, 512],
    ['capacity', 0, 512, 512],
    ['capacity-1 with two sectors', 0, 511, 1024],
    ['not a multiple of the block size', 0, 0, 513],
    ['less than a block', 0, 0, 100],
  ])('D04 D05 %s: I/O error, the backend is not called', async (_name, high, low, bytes) => {
    for (const type of [0, 1]) {
      const machine = new BlkMachine()
      const got = await request(machine, type, { high, low }, [
        header,
        { address: DATA, length: bytes, writable: type === 0 },
        status,
      ])
      expect(got).toEqual({ status: IOERR, used: type === 0 ? 0 : 1, calls: [] })
    }
  })

  test('the last sector is on the disk; sectors are 512 bytes whatever the block size', async () => {
    const machine = new BlkMachine({ logicalBlockSize: 4096 })
    const data = { address: DATA, length: 4096, writable: true }
    expect((await request(machine, 0, 504, [header, data, status])).calls).toMatchObject([{ offset: 504 * 512 }])
    expect((await request(machine, 0, 505, [header, data, status])).status).toBe(IOERR)
    expect((await request(machine, 0, 504, [header, { ...data, length: 512 }, status])).status).toBe(IOERR)
  })

  test('D06 read with readable data, write with writable data only: nothing transferred', async () => {
    const machine = new BlkMachine()
    const readable = { address: DATA, length: 512 }
    const writable = { address: DATA + 512, length: 512, writable: true }
    expect(await request(machine, 0, 0, [header, readable, status])).toEqual({ status: IOERR, used: 1, calls: [] })
    expect(await request(machine, 0, 0, [header, readable, writable, status])).toEqual({
      status: IOERR,
      used: 0,
      calls: [],
    })
    expect(await request(machine, 1, 0, [header, writable, status])).toEqual({ status: IOERR, used: 0, calls: [] })
  })

  test('D11 a read that fails: the used length covers nothing, the policy reports', async () => {
    const machine = new BlkMachine()
    machine.disk.fault = () => new BlockError('EIO', 'bad sector')
    const data = { address: DATA, length: 512, writable: true }
    expect(await request(machine, 0, 0, [header, data, status])).toMatchObject({ status: IOERR, used: 0 })
    machine.disk.held = []
    machine.header(0, 0)
    await machine.send([header, data, status])
    machine.disk.held[0]?.settle(new BlockError('ENOSPC', 'no'))
    await machine.settle()
    expect(machine.usedElement(1)).toEqual({ id: 0, length: 0 })
    expect([machine.disk.root.accounting.read.failed, machine.disk.root.inFlight]).toEqual([2, 0])
  })

  test('D13 a read-only device: writes fail, flushes do not, discard and write zeroes are not offered', async () => {
    const machine = new BlkMachine({ disk: { writable: false } })
    expect(machine.device.readFeatures(0) & ((1 << 5) | (1 << 13) | (1 << 14))).toBe(1 << 5)
    expect(await request(machine, 1, 0, [header, { address: DATA, length: 512 }, status])).toEqual({
      status: IOERR,
      used: 1,
      calls: [],
    })
    expect((await request(machine, 4, 0, [header, status])).status).toBe(OK)
    for (const type of [11, 13]) {
      expect((await request(machine, type, 0, [header, { address: DATA, length: 16 }, status])).status).toBe(UNSUPP)
    }
    expect(
      (await request(machine, 0, 0, [header, { address: DATA, length: 512, writable: true }, status])).status,
    ).toBe(OK)
  })

  test('D14 overlapping writes from two queues: the range ends as one of them', async () => {
    const machine = new BlkMachine({ queues: 2 })
    const second = new GuestBlkDriver({
      device: machine.device,
      memory: machine.memory,
      address: 0x80000,
      queueIndex: 1,
      queueSize: 8,
    })
    second.features = machine.driver.features
    second.startQueue()
    machine.disk.held = []
    machine.ram.fill(1, DATA, DATA + 4096)
    machine.ram.fill(2, DATA + 4096, DATA + 8192)
    machine.driver.submitWrite(0, DATA, 4096)
    second.submitWrite(0, DATA + 4096, 4096)
    machine.driver.kick()
    second.kick()
    await machine.settle()
    expect(machine.disk.held).toHaveLength(2)
    for (const held of machine.disk.held.reverse()) held.settle()
    await machine.settle()
    expect(machine.reap().map((done) => done.status)).toEqual([OK])
    expect(second.poll((_head, result) => expect(result).toBe(OK))).toBe(1)
    expect(machine.notifications.sort()).toEqual([0, 1])
    expect(new Set(machine.disk.data.subarray(0, 4096)).size).toBe(1)
  })
})

describe('other requests', () => {
  test('D13 flush with data: the data is ignored', async () => {
    const machine = new BlkMachine()
    await request(machine, 1, 0, [header, { address: DATA, length: 512 }, status])
    const got = await request(machine, 4, 0, [
      header,
      { address: DATA, length: 512 },
      { address: DATA, length: 7, writable: true },
      status,
    ])
    expect([got.status, got.used, got.calls.map((call) => call.kind)]).toEqual([OK, 0, ['flush']])
  })

  test.each([0, 1, 19, 20, 21, 100])('D13 get-id with a buffer of %i bytes', async (bytes) => {
    const machine = new BlkMachine({ serial: 'disk-0001' })
    machine.ram.fill(0xcc, DATA, DATA + 128)
    const buffers = bytes === 0 ? [header, status] : [header, { address: DATA, length: bytes, writable: true }, status]
    const got = await request(machine, 8, 0, buffers)
    const filled = Math.min(bytes, 20)
    expect([got.status, got.used]).toEqual([OK, bytes > 20 ? 20 : bytes + 1])
    const text = [...machine.ram.subarray(DATA, DATA + filled)]
    expect(text).toEqual(
      [...'disk-0001']
        .map((char) => char.charCodeAt(0))
        .concat(Array(11).fill(0))
        .slice(0, filled),
    )
    expect(machine.ram[DATA + filled]).toBe(0xcc)
  })

  test('a serial of 20 bytes or more has no terminator', async () => {
    const machine = new BlkMachine({ serial: '0123456789abcdefghijKLM' })
    await request(machine, 8, 0, [header, { address: DATA, length: 20, writable: true }, status])
    expect(String.fromCharCode(...machine.ram.subarray(DATA, DATA + 20))).toBe('0123456789abcdefghij')
  })

  test('D10 unknown types are unsupported; the barrier flag is ignored', async () => {
    for (const type of [2, 3, 5, 6, 10, 12, 14, 15, 16, 18, 26, 0x7fff_ffff, 0xffff_ffff]) {
      const machine = new BlkMachine()
      const got = await request(machine, type, 0, [header, { address: DATA, length: 512 }, status])
      expect(got).toEqual({ status: UNSUPP, used: 1, calls: [] })
    }
    const barrier = await request(new BlkMachine(), 0x8000_0001, 0, [header, { address: DATA, length: 512 }, status])
    expect(barrier.status).toBe(OK)
    expect(barrier.calls).toMatchObject([{ kind: 'write' }])
  })
})

describe('discard and write zeroes', () => {
  test('good ones reach the backend with their flags', async () => {
    const discard = await segmentRequest(11, { sector: 8, sectors: 16 })
    expect([discard.status, discard.used]).toEqual([OK, 1])
    expect(discard.calls).toMatchObject([{ kind: 'discard', offset: 4096, bytes: 8192 }])
    const zero = await segmentRequest(13, { sector: 8, sectors: 16 })
    expect(zero.calls).toMatchObject([{ kind: 'write-zeroes', offset: 4096, bytes: 8192, flags: 0 }])
    expect(zero.machine.disk.data.subarray(4096, 12288).every((byte) => byte === 0)).toBe(true)
    const unmap = await segmentRequest(13, { flags: 1 })
    expect(unmap.calls).toMatchObject([{ flags: BDRV_REQ_MAY_UNMAP }])
    expect((await segmentRequest(11, { sectors: 0 })).status).toBe(OK)
  })

  test.each([11, 13])('D07 type %i with no segment, a broken one, more than the maximum', async (type) => {
    for (const [bytes, expected] of [
      [0, IOERR],
      [8, IOERR],
      [17, IOERR],
      [17 * 16, UNSUPP],
    ] as const) {
      const got = await segmentRequest(type, {}, { bytes })
      expect([bytes, got.status, got.calls]).toEqual([bytes, expected, []])
    }
  })

  test.each([11, 13])('D08 type %i with a range that is not on the disk', async (type) => {
    const bad = [
      { high: 0xffff_ffff, sector: 0xffff_ffff, sectors: 1 },
      { high: 0xffff_ffff, sector: 0xffff_fff8, sectors: 16 },
      { sectors: 0xffff_ffff },
      { sector: 505, sectors: 8 },
      { sector: 513, sectors: 0 },
      { high: 0x1000, sectors: 1 },
    ]
    for (const segment of bad) expect(await segmentRequest(type, segment)).toMatchObject({ status: IOERR, calls: [] })
  })

  test('D08 more than the maximum of the configuration space; not a block', async () => {
    expect((await segmentRequest(11, { sectors: 9 }, { maxDiscardSectors: 8 })).status).toBe(IOERR)
    expect((await segmentRequest(13, { sectors: 9 }, { maxWriteZeroesSectors: 8 })).status).toBe(IOERR)
    expect((await segmentRequest(11, { sectors: 8 }, { maxDiscardSectors: 8 })).status).toBe(OK)
    expect((await segmentRequest(11, { sector: 8, sectors: 4 }, { logicalBlockSize: 4096 })).status).toBe(IOERR)
  })

  test('D09 flags and features', async () => {
    const unsupported = { status: UNSUPP, used: 1, calls: [] }
    expect(await segmentRequest(11, { flags: 1 })).toMatchObject(unsupported)
    expect(await segmentRequest(11, { flags: 2 })).toMatchObject(unsupported)
    expect(await segmentRequest(13, { flags: 2 })).toMatchObject(unsupported)
    expect(await segmentRequest(13, { flags: 0x8000_0001 })).toMatchObject(unsupported)
    const without = { features: ~((1n << 13n) | (1n << 14n)) }
    expect(await segmentRequest(11, {}, without)).toMatchObject(unsupported)
    expect(await segmentRequest(13, {}, without)).toMatchObject(unsupported)
    expect(await segmentRequest(11, {}, { discard: false })).toMatchObject(unsupported)
    expect(await segmentRequest(13, {}, { writeZeroes: false })).toMatchObject(unsupported)
  })
})

describe('stable writes', () => {
  const FLUSH = 1n << 9n
  const WCE = 1n << 11n
  const write: RawBuffer[] = [header, { address: DATA, length: 512 }, status]

  test.each([
    ['cache toggle and flush agreed', -1n, 0],
    ['flush alone', ~WCE, 0],
    ['neither', ~(WCE | FLUSH), BDRV_REQ_FUA],
    ['cache toggle without flush: writethrough from the start', ~FLUSH, BDRV_REQ_FUA],
  ])('%s', async (_name, features, flags) => {
    const machine = new BlkMachine({ features })
    expect((await request(machine, 1, 0, write)).calls).toMatchObject([{ kind: 'write', flags }])
  })

  test('D12 the driver flips the cache mode', async () => {
    const machine = new BlkMachine()
    const generation = machine.device.configGeneration
    machine.device.writeConfig(32, new Uint8Array([0]))
    expect(machine.driver.config().writeback).toBe(0)
    expect(machine.device.configGeneration).not.toBe(generation)
    expect((await request(machine, 1, 0, write)).calls).toMatchObject([{ flags: BDRV_REQ_FUA }])
    machine.device.writeConfig(30, new Uint8Array([9, 9, 1, 9]))
    expect(machine.driver.config().writeback).toBe(1)
    expect((await request(machine, 1, 0, write)).calls).toMatchObject([{ flags: 0 }])
  })
})
