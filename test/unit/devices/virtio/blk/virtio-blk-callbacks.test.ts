import { describe, expect, test } from 'vitest'
import { drained } from '../../../../../src/io/drained.js'
import { numbered, read } from '../../../../support/blk-runs.js'

describe('a callback of the emulator that throws', () => {
  test('from a kick, and from a turn: reported, and the queue goes on', async () => {
    const reports: unknown[] = []
    const machine = numbered({
      notifyQueue: () => {
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
    expect(reports).toEqual(['background-error', 'virtio-status', 'background-error'])
    const section = await drained(machine.disk.node)
    section.end()
    await machine.restart()
    expect(await machine.works()).toBe(true)
  })
})
