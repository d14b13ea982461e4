// Allocations on their way: who waits for whom.

import { describe, expect, test } from 'vitest'
import { guest, host } from '../../../../../src/drivers/qcow2/format/layout.js'
import { type Allocation, AllocationsInFlight } from '../../../../../src/drivers/qcow2/refcounts/allocations.js'
import { drainMicrotasks } from '../../../../support/virtual-clock.js'

const allocation = (start: number, end: number): Allocation => ({
  guestStart: guest(start),
  guestEnd: guest(end),
  host: host(0x10000),
  keepsHost: false,
  validStart: guest(start),
  validEnd: guest(end),
})

describe('allocations in flight', () => {
  test('overlap where they share a byte; those that only touch do not', () => {
    const all = new AllocationsInFlight()
    all.enter(allocation(1024, 2048))
    const meets = (start: number, end: number) => all.conflict(guest(start), guest(end)) !== undefined
    expect([meets(0, 1024), meets(0, 1025), meets(1500, 1600), meets(2047, 4096), meets(2048, 4096)]).toEqual([
      false,
      true,
      true,
      true,
      false,
    ])
  })

  test('of several the one that begins first is told', () => {
    const all = new AllocationsInFlight()
    all.enter(allocation(4096, 8192))
    all.enter(allocation(1024, 2048))
    expect(all.conflict(guest(0), guest(10_000))?.start).toBe(1024)
    expect(all.conflict(guest(3000), guest(10_000))?.start).toBe(4096)
  })

  test('all who wait go on when it ends, whether linked or given up', async () => {
    const all = new AllocationsInFlight()
    const end = all.enter(allocation(1024, 2048))
    const woken: string[] = []
    for (const name of ['a', 'b']) void all.conflict(guest(1024), guest(1025))?.ended.then(() => woken.push(name))
    await drainMicrotasks()
    expect([woken, all.count]).toEqual([[], 1])
    end()
    await drainMicrotasks()
    expect([woken, all.count]).toEqual([['a', 'b'], 0])
    expect(all.conflict(guest(1024), guest(2048))).toBeUndefined()
  })
})
