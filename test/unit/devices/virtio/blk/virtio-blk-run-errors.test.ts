import { describe, expect, test } from 'vitest'
import { BlockError } from '../../../../../src/common/error.js'
import { drained } from '../../../../../src/io/drained.js'
import { DATA, HEADER } from '../../../../support/blk-machine.js'
import { at, bad, numbered, read, shape, shapes, write } from '../../../../support/blk-runs.js'

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

  test('stop: a section that begins while the parked are issued again waits for all of them', async () => {
    const machine = numbered({ disk: { onError: 'stop' } })
    machine.disk.fault = () => new BlockError('EIO', 'no')
    write(machine, 0, 2)
    await machine.run()
    let open: { end(): void } | undefined
    const stop = machine.disk.root.environment.trace.listen((name) => {
      if (name !== 'io-error') return
      stop()
      machine.disk.held = []
      void drained(machine.disk.node).then((section) => {
        open = section
      })
    })
    machine.device.resume()
    await machine.settle()
    expect([machine.disk.held?.length, open]).toEqual([1, undefined])
    machine.disk.held?.[0]?.settle()
    await machine.settle()
    expect([machine.device.parkedRequests, open !== undefined]).toEqual([1, true])
    open?.end()
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
