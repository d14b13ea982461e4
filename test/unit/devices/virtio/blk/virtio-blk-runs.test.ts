import { describe, expect, test } from 'vitest'
import type { IoVector } from '../../../../../src/common/io-vector.js'
import { defaultLimits } from '../../../../../src/common/limits.js'
import { BDRV_REQ_FUA } from '../../../../../src/common/request.js'
import {
  featureSet,
  VIRTIO_BLK_F_CONFIG_WCE,
  VIRTIO_BLK_F_FLUSH,
} from '../../../../../src/protocols/virtio/features.js'
import { GuestBlkDriver } from '../../../../../src/testing/virtio/guest-blk-driver.js'
import { DATA, HEADER, STATUS } from '../../../../support/blk-machine.js'
import { at, numbered, read, shape, shapes, write } from '../../../../support/blk-runs.js'
import type { DiskCall } from '../../../../support/flat-disk.js'

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

  test('512 KiB at the most', async () => {
    const bytes = 160 * 1024
    const machine = numbered({ diskBytes: 8 * bytes })
    for (let i = 0; i < 5; i++) machine.driver.submitRead((i * bytes) / 512, DATA, bytes)
    expect((await machine.run()).map(({ status }) => status)).toEqual(Array(5).fill(0))
    expect(shapes(machine)).toEqual(['read 0+960', 'read 960+640'])
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

  test('maxIov counts no headers of writes', async () => {
    const machine = numbered()
    machine.disk.node.state.limits = { ...defaultLimits(), maxIov: 3 }
    write(machine, 0, 7)
    expect((await machine.run()).every(({ status }) => status === 0)).toBe(true)
    expect(shapes(machine)).toEqual(['write 0+3', 'write 3+3', 'write 6+1'])
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

  test('sectors that differ by 2^32 and one', async () => {
    const machine = numbered()
    machine.disk.node.state.length = 2 ** 42
    machine.disk.root.client?.resized?.(2 ** 42)
    machine.driver.submitRead(0, at(0), 512)
    machine.driver.submitRead(2 ** 32 + 1, at(1), 512)
    machine.driver.submitRead(2 ** 32 + 2, at(2), 512)
    await machine.run()
    expect(shapes(machine)).toEqual(['read 0+1', 'read 4294967297+2'])
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
