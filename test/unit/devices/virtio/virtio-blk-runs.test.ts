import { describe, expect, test } from 'vitest'
import { BlockError } from '../../../../src/common/error.js'
import type { IoVector } from '../../../../src/common/io-vector.js'
import { defaultLimits } from '../../../../src/common/limits.js'
import { BDRV_REQ_FUA } from '../../../../src/common/request.js'
import { drained } from '../../../../src/io/drained.js'
import { featureSet, VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_FLUSH } from '../../../../src/protocols/virtio/features.js'
import { GuestBlkDriver } from '../../../../src/testing/virtio/guest-blk-driver.js'
import { BlkMachine, DATA, HEADER, type MachineOptions, STATUS } from '../../../support/blk-machine.js'
import type { DiskCall } from '../../../support/flat-disk.js'

/** A machine whose sector n is full of bytes n + 1. */
function numbered(options: MachineOptions = {}): BlkMachine {
  const machine = new BlkMachine({ queueSize: 256, driverQueueSize: 256, ...options })
  const { data } = machine.disk
  for (let i = 0; i < data.byteLength; i++) data[i] = ((i >>> 9) + 1) & 0xff
  return machine
}

/** Where request `i` has its data. */
const at = (i: number) => DATA + 1024 * i

function read(machine: BlkMachine, sector: number, count: number): void {
  for (let i = 0; i < count; i++) machine.driver.submitRead(sector + i, at(i), 512)
}

/** Writes `count` sectors, each full of bytes 0x80 + i. */
function write(machine: BlkMachine, sector: number, count: number): void {
  for (let i = 0; i < count; i++) {
    machine.ram.fill(0x80 + i, at(i), at(i) + 512)
    machine.driver.submitWrite(sector + i, at(i), 512)
  }
}

const shape = ({ kind, offset, bytes }: DiskCall) => `${kind} ${offset / 512}+${bytes / 512}`
const shapes = (machine: BlkMachine) => machine.disk.calls.map(shape)
const touches = (call: DiskCall, sector: number) =>
  call.offset <= sector * 512 && sector * 512 < call.offset + call.bytes
const bad = (sector: number) => (call: DiskCall) =>
  touches(call, sector) ? new BlockError('EIO', `sector ${sector}`) : undefined

describe('sequential requests of one batch', () => {
  test('reads: one call of the backend over all buffers; each has its own status, length and data', async () => {
    const machine = numbered()
    read(machine, 4, 8)
    expect((await machine.run()).map(({ status, used }) => [status, used])).toEqual(Array(8).fill([0, 513]))
    expect(shapes(machine)).toEqual(['read 4+8'])
    const { buffers } = machine.disk.calls[0] as DiskCall
    expect((buffers as IoVector).buffers.map((view) => view.byteOffset)).toEqual([0, 1, 2, 3, 4, 5, 6, 7].map(at))
    for (let i = 0; i < 8; i++) expect([machine.ram[at(i)], machine.ram[at(i) + 511]]).toEqual([5 + i, 5 + i])
    expect(machine.disk.root.accounting.read).toMatchObject({ operations: 8, merged: 7, bytes: 4096, failed: 0 })
  })

  test.each([false, true])('writes (answered later: %s)', async (later) => {
    const machine = numbered()
    if (later) machine.disk.held = []
    write(machine, 4, 8)
    const early = await machine.run()
    expect(early).toHaveLength(later ? 0 : 8)
    expect(machine.disk.root.inFlight).toBe(later ? 1 : 0)
    machine.disk.held?.[0]?.settle()
    await machine.settle()
    const done = [...early, ...machine.reap()]
    expect(done.map(({ status, used }) => [status, used])).toEqual(Array(8).fill([0, 1]))
    expect(shapes(machine)).toEqual(['write 4+8'])
    for (let i = 0; i < 8; i++) expect(machine.disk.data[(4 + i) * 512]).toBe(0x80 + i)
    expect(machine.disk.root.accounting.write).toMatchObject({ operations: 8, merged: 7, bytes: 4096, failed: 0 })
    expect(machine.disk.root.busy()).toBe(false)
  })

  test('one alone is given to the backend as the buffer it is', async () => {
    const machine = numbered()
    read(machine, 4, 1)
    await machine.run()
    const { buffers } = machine.disk.calls[0] as DiskCall
    expect(buffers).toBeInstanceOf(Uint8Array)
    expect((buffers as Uint8Array).byteOffset).toBe(DATA)
    expect(machine.disk.root.accounting.read).toMatchObject({ operations: 1, merged: 0 })
  })

  test('kicks are batches of their own: nothing waits for a later one', async () => {
    const machine = numbered()
    machine.disk.held = []
    for (let i = 0; i < 3; i++) {
      machine.driver.submitRead(i, at(i), 512)
      machine.driver.kick()
    }
    expect(shapes(machine)).toEqual(['read 0+1', 'read 1+1', 'read 2+1'])
  })

  test('at most 256 requests in one turn, joined or not', async () => {
    const machine = numbered({ queueSize: 1024, driverQueueSize: 1024 })
    for (let i = 0; i < 300; i++) machine.driver.submitRead(i, at(0), 512)
    machine.driver.kick()
    expect(machine.driver.queue.pending()).toBe(256)
    expect(machine.disk.calls).toHaveLength(8)
    await machine.settle()
    expect(machine.reap()).toHaveLength(300)
  })

  test('writes of a driver that cannot flush are stable when they complete', async () => {
    const features = ~featureSet(VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_CONFIG_WCE)
    const machine = numbered({ features })
    write(machine, 0, 3)
    await machine.run()
    expect(machine.disk.calls.map((call) => [shape(call), call.flags])).toEqual([['write 0+3', BDRV_REQ_FUA]])
  })
})

describe('limits', () => {
  test('32 at the most', async () => {
    const machine = numbered()
    read(machine, 0, 70)
    expect(await machine.run()).toHaveLength(70)
    expect(shapes(machine)).toEqual(['read 0+32', 'read 32+32', 'read 64+6'])
    expect(machine.disk.root.accounting.read).toMatchObject({ operations: 70, merged: 67 })
  })

  test.each([
    ['maxTransfer', { maxTransfer: 2048 }, ['read 0+4', 'read 4+4', 'read 8+1']],
    ['maxTransfer of one request', { maxTransfer: 512 }, Array.from({ length: 9 }, (_, i) => `read ${i}+1`)],
    ['maxIov', { maxIov: 3 }, ['read 0+3', 'read 3+3', 'read 6+3']],
  ])('of the node: %s', async (_name, limits, calls) => {
    const machine = numbered()
    machine.disk.node.state.limits = { ...defaultLimits(), ...limits }
    read(machine, 0, 9)
    expect((await machine.run()).every(({ status }) => status === 0)).toBe(true)
    expect(shapes(machine)).toEqual(calls)
  })

  test('buffers are counted as they are, without header and status', async () => {
    const machine = numbered()
    machine.disk.node.state.limits = { ...defaultLimits(), maxIov: 4 }
    // Each has two data buffers, the second of which holds the status, too.
    for (let i = 0; i < 3; i++) {
      machine.header(0, i, HEADER + 16 * i)
      machine.offer(
        machine.chain(
          [
            { address: HEADER + 16 * i, length: 16 },
            { address: at(i), length: 200, writable: true },
            { address: at(i) + 200, length: 313, writable: true },
          ],
          3 * i,
        ),
      )
    }
    machine.device.kick(0)
    expect(machine.usedIndex).toBe(3)
    expect(shapes(machine)).toEqual(['read 0+2', 'read 2+1'])
    for (let i = 0; i < 3; i++) {
      expect([machine.ram[at(i) + 511], machine.ram[at(i) + 512]]).toEqual([i + 1, 0])
    }
  })
})

describe('what is not joined', () => {
  test('other directions, flushes, discards, zero writes, gaps and steps back; the order stays', async () => {
    const machine = numbered({ serial: 'x' })
    const { driver } = machine
    driver.submitRead(0, at(0), 512)
    driver.submitRead(1, at(1), 512)
    driver.submitWrite(2, at(2), 512)
    driver.submitWrite(3, at(3), 512)
    driver.submitFlush()
    driver.submitWrite(4, at(4), 512)
    driver.submitDiscard(5, 1)
    driver.submitWrite(5, at(5), 512)
    driver.submitWriteZeroes(6, 1)
    driver.submitWrite(7, at(6), 512)
    driver.submitGetId(at(7))
    driver.submitWrite(8, at(8), 512)
    driver.submitWrite(10, at(9), 512)
    driver.submitWrite(9, at(10), 512)
    driver.submitWrite(9, at(11), 512)
    const done = await machine.run()
    expect(done.map(({ status }) => status)).toEqual(Array(15).fill(0))
    // Discards and zero writes never complete in the step that issues them.
    expect(shapes(machine).filter((call) => !/discard|zeroes/.test(call))).toEqual([
      'read 0+2',
      'write 2+2',
      'flush 0+0',
      'write 4+1',
      'write 5+1',
      'write 7+1',
      'write 8+1',
      'write 10+1',
      'write 9+1',
      'write 9+1',
    ])
    expect(machine.disk.root.accounting.write.merged).toBe(1)
  })

  test('a neighbour that breaks a rule fails alone', async () => {
    const machine = numbered({ diskBytes: 4 * 512 })
    const { driver } = machine
    driver.submitRead(1, at(0), 512)
    driver.submitRead(2, at(1), 512)
    driver.submitRead(3, at(2), 512)
    driver.submitRead(4, at(3), 512)
    driver.submitRead(0, at(4), 100)
    driver.submitRead(0, at(5), 512)
    expect((await machine.run()).map(({ status, used }) => [status, used])).toEqual([
      [0, 513],
      [0, 513],
      [0, 513],
      [1, 0],
      [1, 0],
      [0, 513],
    ])
    expect(shapes(machine)).toEqual(['read 1+3', 'read 0+1'])
  })

  test('a read with readable data, and one with an empty buffer, next to good ones', async () => {
    const machine = numbered()
    const header = (i: number) => ({ address: HEADER + 32 * i, length: 16 })
    const data = (i: number) => ({ address: at(i), length: 512, writable: true })
    const status = (i: number) => ({ address: STATUS + i, length: 1, writable: true })
    const chains = [
      [header(0), data(0), status(0)],
      [header(1), { address: DATA, length: 16 }, data(1), status(1)],
      [header(2), { address: at(2), length: 0, writable: true }, data(2), status(2)],
      [header(3), data(3), status(3)],
    ]
    chains.forEach((chain, i) => {
      machine.header(0, i, HEADER + 32 * i)
      machine.offer(machine.chain(chain, 4 * i))
    })
    machine.device.kick(0)
    expect([...machine.ram.subarray(STATUS, STATUS + 4)]).toEqual([0, 1, 1, 0])
    expect(shapes(machine)).toEqual(['read 0+1', 'read 3+1'])
  })

  test('neighbours in two queues', async () => {
    const machine = numbered({ queues: 2 })
    const { device, memory } = machine
    const other = new GuestBlkDriver({ device, memory, address: 0x80000, queueSize: 16, queueIndex: 1 })
    other.features = machine.driver.features
    other.startQueue()
    machine.driver.submitRead(0, at(0), 512)
    other.submitRead(1, at(1), 512)
    machine.driver.kick()
    other.kick()
    expect(shapes(machine)).toEqual(['read 0+1', 'read 1+1'])
  })

  test('what came before a broken chain is served', async () => {
    const machine = numbered()
    read(machine, 0, 2)
    machine.driver.queue.publish()
    machine.offer(machine.chain([{ address: 0xffff_ffff, length: 16 }], 100))
    machine.device.kick(0)
    expect(machine.device.resetReason).toMatch(/outside/)
    expect(shapes(machine)).toEqual(['read 0+2'])
    expect([0, 1, 2].map((i) => machine.usedElement(i).length)).toEqual([513, 513, 0])
  })
})

describe('an error in a run', () => {
  test.each(['read', 'write'] as const)('%s: only the bad part fails', async (kind) => {
    const machine = numbered()
    machine.disk.fault = bad(6)
    if (kind === 'read') read(machine, 4, 4)
    else write(machine, 4, 4)
    machine.ram.fill(0xee, at(2), at(2) + 512)
    const good = kind === 'read' ? 513 : 1
    expect((await machine.run()).map(({ status, used }) => [status, used])).toEqual([
      [0, good],
      [0, good],
      [1, kind === 'read' ? 0 : 1],
      [0, good],
    ])
    expect(shapes(machine)).toEqual([`${kind} 4+4`, ...[4, 5, 6, 7].map((sector) => `${kind} ${sector}+1`)])
    expect(machine.disk.root.accounting[kind]).toMatchObject({ operations: 3, failed: 1, invalid: 0, merged: 0 })
    // D11: nothing of another request shows in the buffer of the one that failed.
    expect(machine.ram[at(2)]).toBe(0xee)
    if (kind === 'write')
      expect([4, 5, 6, 7].map((sector) => machine.disk.data[sector * 512])).toEqual([0x80, 0x81, 7, 0x83])
  })

  test('answered later: parts stay in flight until all are answered, also for a drain', async () => {
    const machine = numbered()
    machine.disk.held = []
    write(machine, 0, 3)
    machine.driver.kick()
    let open: { end(): void } | undefined
    void drained(machine.disk.node).then((section) => {
      open = section
    })
    machine.disk.held.shift()?.settle(new BlockError('EIO', 'one of them'))
    await machine.settle()
    expect(machine.disk.held.map(({ call }) => shape(call))).toEqual(['write 0+1', 'write 1+1', 'write 2+1'])
    expect(open).toBeUndefined()
    const [first, second, third] = machine.disk.held
    second?.settle(new BlockError('EIO', 'this one'))
    third?.settle()
    await machine.settle()
    expect(open).toBeUndefined()
    first?.settle()
    await machine.settle()
    expect(open).toBeDefined()
    open?.end()
    const done = machine.reap().sort((a, b) => a.head - b.head)
    expect(done.map(({ status }) => status)).toEqual([0, 1, 0])
    expect(machine.disk.root.accounting.write).toMatchObject({ operations: 2, failed: 1, merged: 0 })
  })

  test('a medium that went away: refused once for each part', async () => {
    const machine = numbered()
    machine.disk.onCall = () => {
      machine.disk.root.edge = undefined
    }
    machine.driver.submitWrite(20, at(5), 512)
    read(machine, 0, 3)
    expect((await machine.run()).map(({ status }) => status)).toEqual([0, 1, 1, 1])
    expect(machine.disk.root.accounting.read).toMatchObject({ operations: 0, failed: 0, invalid: 3, merged: 0 })
  })

  test('stop: the bad part is parked, the others complete, and resume runs it again', async () => {
    const machine = numbered({ disk: { onError: 'stop' } })
    machine.disk.fault = bad(1)
    write(machine, 0, 3)
    expect((await machine.run()).map(({ status }) => status)).toEqual([0, 0])
    expect([machine.device.parkedRequests, machine.disk.root.busy()]).toEqual([1, false])
    machine.disk.fault = undefined
    machine.device.resume()
    await machine.settle()
    expect(machine.reap()).toMatchObject([{ status: 0 }])
    expect([0, 1, 2].map((sector) => machine.disk.data[sector * 512])).toEqual([0x80, 0x81, 0x82])
    expect(machine.disk.root.accounting.write).toMatchObject({ operations: 3, failed: 1 })
  })

  test('stop: all parts bad, all parked, in order; a reset drops them', async () => {
    const machine = numbered({ disk: { onError: 'stop' } })
    machine.disk.fault = () => new BlockError('ENOSPC', 'full')
    write(machine, 0, 3)
    expect(await machine.run()).toEqual([])
    expect(machine.device.parkedRequests).toBe(3)
    machine.disk.calls = []
    machine.device.resume()
    expect(shapes(machine)).toEqual(['write 0+1', 'write 1+1', 'write 2+1'])
    machine.disk.fault = undefined
    await machine.restart()
    expect(machine.device.parkedRequests).toBe(0)
    expect(await machine.works()).toBe(true)
  })

  test('ignore: all is told to be well, each part asked for by itself', async () => {
    const machine = numbered({ disk: { onError: 'ignore' } })
    machine.disk.fault = bad(1)
    read(machine, 0, 3)
    expect((await machine.run()).map(({ status, used }) => [status, used])).toEqual([
      [0, 513],
      [0, 0],
      [0, 513],
    ])
  })
})

describe('V17 a reset', () => {
  test.each([undefined, new BlockError('EIO', 'late')])('with a run in flight that ends with %s', async (error) => {
    const machine = numbered()
    machine.disk.held = []
    read(machine, 0, 4)
    machine.driver.kick()
    machine.device.writeStatus(0)
    expect(machine.device.readStatus()).not.toBe(0)
    const before = machine.ram.slice(0, DATA)
    machine.disk.held[0]?.settle(error)
    await machine.settle()
    expect(machine.device.readStatus()).toBe(0)
    expect(machine.ram.slice(0, DATA)).toEqual(before)
    expect(shapes(machine)).toEqual(['read 0+4'])
    const counts = { operations: error === undefined ? 4 : 0, failed: error === undefined ? 0 : 4 }
    expect(machine.disk.root.accounting.read).toMatchObject(counts)
    machine.disk.held = undefined
    machine.driver.initialise()
    expect(await machine.works()).toBe(true)
  })

  test('by a listener of the error, while parts are issued one by one: no more are', async () => {
    const machine = numbered()
    machine.disk.fault = bad(1)
    const stop = machine.disk.root.environment.trace.listen((name) => {
      if (name === 'io-error') machine.driver.reset()
    })
    read(machine, 0, 4)
    machine.driver.kick()
    expect(shapes(machine)).toEqual(['read 0+4', 'read 0+1', 'read 1+1'])
    expect(machine.device.readStatus()).toBe(0)
    stop()
    machine.disk.fault = undefined
    machine.driver.initialise()
    expect(await machine.works()).toBe(true)
  })

  test('by what was issued before a broken chain: the old ring is not touched', async () => {
    const machine = numbered()
    machine.disk.onCall = () => machine.driver.reset()
    machine.driver.submitRead(0, at(0), 512)
    machine.driver.queue.publish()
    machine.offer(machine.chain([{ address: HEADER, length: 8 }], 100))
    const used = machine.ram.slice(machine.driver.plan.used, machine.driver.plan.end)
    machine.device.kick(0)
    expect(machine.ram.slice(machine.driver.plan.used, machine.driver.plan.end)).toEqual(used)
    expect([machine.device.readStatus(), machine.device.resetReason]).toEqual([0, undefined])
  })

  test('while a fetched request waits for its neighbour: it is not issued any more', async () => {
    const machine = numbered()
    let resets = 0
    machine.disk.onCall = () => {
      if (resets++ === 0) machine.driver.reset()
    }
    for (const sector of [0, 10, 20]) machine.driver.submitRead(sector, at(0), 512)
    machine.driver.kick()
    expect(shapes(machine)).toEqual(['read 0+1'])
    expect(machine.device.readStatus()).toBe(0)
    machine.driver.initialise()
    expect(await machine.works()).toBe(true)
  })
})

describe('a callback of the emulator that throws', () => {
  test('from a kick, and from a turn: reported, and the queue goes on', async () => {
    const reports: unknown[] = []
    const machine = numbered({
      notifyGuest: () => {
        throw new Error('no interrupt controller')
      },
    })
    machine.disk.root.environment.trace.listen((name, event) => void reports.push([name, event]))
    for (const later of [false, true]) {
      machine.disk.held = later ? [] : undefined
      read(machine, 0, 2)
      expect(() => machine.driver.kick()).not.toThrow()
      machine.disk.held?.[0]?.settle()
      await machine.settle()
      expect(machine.reap().map(({ status }) => status)).toEqual([0, 0])
      machine.driver.queue.enableNotifications()
    }
    expect(reports).toMatchObject([
      ['background-error', { node: 'disk', message: 'no interrupt controller' }],
      ['background-error', { node: 'disk', message: 'no interrupt controller' }],
    ])
    machine.disk.held = undefined
    const section = await drained(machine.disk.node)
    section.end()
    await machine.settle()
    expect(await machine.works()).toBe(true)
  })

  test('of the configuration: a plea for a reset does not leave a drain waiting', async () => {
    const reports: string[] = []
    const machine = numbered({
      notifyConfig: () => {
        throw new Error('no')
      },
    })
    machine.disk.root.environment.trace.listen((name) => void reports.push(name))
    machine.disk.root.client?.resized?.(1 << 17)
    machine.offer(999)
    expect(() => machine.device.kick(0)).not.toThrow()
    expect(machine.device.resetReason).toMatch(/999/)
    expect(reports).toEqual(['background-error', 'background-error'])
    const section = await drained(machine.disk.node)
    section.end()
    await machine.restart()
    expect(await machine.works()).toBe(true)
  })
})
