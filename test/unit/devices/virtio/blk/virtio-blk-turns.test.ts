import { describe, expect, test } from 'vitest'
import { BlockError } from '../../../../../src/common/error.js'
import { drained } from '../../../../../src/io/drained.js'
import { BlkMachine, DATA } from '../../../../support/blk-machine.js'

describe('turns', () => {
  test('at most 256 requests of one kick in one turn; the rest goes on by itself', async () => {
    const machine = new BlkMachine({ queueSize: 1024, driverQueueSize: 1024 })
    for (let i = 0; i < 340; i++) machine.driver.submitRead(0, 0xf0000, 512)
    machine.driver.kick()
    expect(machine.driver.queue.pending()).toBe(256)
    machine.device.kick(0)
    expect(machine.driver.queue.pending()).toBe(256)
    await machine.settle()
    expect(machine.reap()).toHaveLength(340)
  })

  test('1 ms of one kick in one turn', async () => {
    const machine = new BlkMachine({ queueSize: 512, driverQueueSize: 512, clock: undefined as never })
    let now = 0
    machine.clock.now = () => now
    machine.disk.onCall = () => {
      now += 0.02
    }
    for (let i = 0; i < 150; i++) machine.driver.submitRead(0, 0xf0000, 512)
    machine.driver.kick()
    expect(machine.driver.queue.pending()).toBe(64)
    await machine.settle()
    expect(machine.reap()).toHaveLength(150)
  })

  test('of large requests the clock is read more often, and what is done is shown before the turn ends', async () => {
    const bytes = 128 * 1024
    const machine = new BlkMachine({
      queueSize: 64,
      driverQueueSize: 64,
      diskBytes: 2 * bytes,
      clock: undefined as never,
    })
    let now = 0
    const shown: number[] = []
    machine.clock.now = () => now
    machine.disk.onCall = () => {
      shown.push(machine.usedIndex)
      now += 0.06
    }
    for (let i = 0; i < 20; i++) machine.driver.submitRead(0, DATA, bytes)
    machine.driver.kick()
    // Each is begun when the next has been taken. Small ones would all have been served before the first was shown.
    expect(shown.slice(0, 7)).toEqual([0, 0, 2, 2, 4, 4, 6])
    expect(machine.driver.queue.pending()).toBe(18)
    await machine.settle()
    expect(machine.reap()).toHaveLength(20)
  })

  test('completions of one turn: one index update, one notification', async () => {
    const machine = new BlkMachine()
    machine.disk.held = []
    machine.driver.queue.enableNotifications(1)
    for (let i = 0; i < 5; i++) machine.driver.submitRead(i, DATA + 512 * i, 512)
    machine.driver.kick()
    await machine.settle()
    for (const held of machine.disk.held) held.settle()
    await Promise.resolve()
    expect(machine.usedIndex).toBe(0)
    await machine.settle()
    expect(machine.usedIndex).toBe(5)
    expect(machine.notifications).toEqual([0])
  })

  test('a guest that submits and kicks from its notification neither recurses nor starves the loop', async () => {
    let depth = 0
    let deepest = 0
    let left = 5000
    const machine: BlkMachine = new BlkMachine({
      notifyQueue: () => {
        depth++
        deepest = Math.max(deepest, depth)
        machine.driver.poll(() => {})
        machine.driver.queue.enableNotifications()
        if (left-- > 0) {
          machine.driver.submitRead(0, DATA, 512)
          machine.driver.kick()
        }
        depth--
      },
    })
    machine.disk.record = false
    machine.driver.submitRead(0, DATA, 512)
    machine.driver.kick()
    expect(left).toBeGreaterThan(4700)
    for (let i = 0; i < 100 && left > 0; i++) await machine.settle()
    expect(left).toBe(-1)
    expect(deepest).toBe(1)
  })
})

describe('the stop policy', () => {
  test('parks what fails, counts it nowhere, and runs it again on resume', async () => {
    const machine = new BlkMachine({ disk: { onError: 'stop' } })
    machine.disk.fault = () => new BlockError('ENOSPC', 'full')
    machine.ram.fill(4, DATA, DATA + 512)
    machine.driver.submitWrite(0, DATA, 512)
    expect(await machine.run()).toEqual([])
    expect(machine.device.parkedRequests).toBe(1)
    expect(machine.disk.root.status).toBe('nospace')
    const section = await drained(machine.disk.node)
    machine.disk.fault = undefined
    machine.device.resume()
    await machine.settle()
    expect(machine.disk.data[0]).toBe(0)
    section.end()
    await machine.settle()
    expect(machine.reap()).toMatchObject([{ status: 0 }])
    expect(machine.disk.data[0]).toBe(4)
    expect(machine.device.parkedRequests).toBe(0)
  })

  test('D11 a read that went again and was refused claims nothing of its first attempt', async () => {
    const machine = new BlkMachine({ disk: { onError: 'stop' } })
    machine.disk.fault = () => new BlockError('EIO', 'no')
    machine.driver.submitRead(8, DATA, 512)
    await machine.run()
    machine.disk.root.client?.resized?.(512)
    machine.device.resume()
    await machine.settle()
    expect(machine.reap()).toMatchObject([{ status: 1, used: 0 }])
  })

  test('a reset drops what is parked', async () => {
    const machine = new BlkMachine({ disk: { onError: 'stop' } })
    machine.disk.fault = () => new BlockError('EIO', 'no')
    machine.driver.submitRead(0, DATA, 512)
    await machine.run()
    machine.disk.fault = undefined
    await machine.restart()
    expect(machine.device.parkedRequests).toBe(0)
    machine.device.resume()
    expect(await machine.works()).toBe(true)
  })

  test('ignore: the guest is told that all went well', async () => {
    const machine = new BlkMachine({ disk: { onError: 'ignore' } })
    machine.disk.fault = () => new BlockError('EIO', 'no')
    machine.driver.submitWrite(0, DATA, 512)
    machine.driver.submitRead(0, DATA, 512)
    expect(await machine.run()).toMatchObject([
      { status: 0, used: 1 },
      { status: 0, used: 0 },
    ])
  })
})
