import { describe, expect, it } from 'vitest'
import { VirtualClock } from '../../../src/testing/virtual-clock.js'

describe('VirtualClock', () => {
  it('fires timers in the order of their times, then of their making, and not before', async () => {
    const clock = new VirtualClock()
    const fired: string[] = []
    clock.after(10, () => fired.push('b'))
    clock.after(5, () => fired.push('a'))
    clock.after(10, () => fired.push('c'))
    clock.after(11, () => fired.push('d'))
    await clock.advance(4)
    expect(fired).toEqual([])
    await clock.advance(6)
    expect(fired).toEqual(['a', 'b', 'c'])
    expect(clock.now()).toBe(10)
    expect(clock.pendingTimers).toBe(1)
  })

  it('fires what a timer sets within the same advance, at its own time', async () => {
    const clock = new VirtualClock()
    const at: number[] = []
    const again = () => {
      at.push(clock.now())
      if (at.length < 3) clock.after(2, again)
    }
    clock.after(2, again)
    await clock.advance(100)
    expect(at).toEqual([2, 4, 6])
    expect(clock.now()).toBe(100)
  })

  it('cancels', async () => {
    const clock = new VirtualClock()
    let fired = false
    const timer = clock.after(1, () => {
      fired = true
    })
    timer.cancel()
    timer.cancel()
    await clock.advance(5)
    expect(fired).toBe(false)
  })

  it('gives a turn after the microtasks that are due, without time passing', async () => {
    const clock = new VirtualClock()
    const order: string[] = []
    clock.nextTurn(() => order.push('turn'))
    for (let i = 0; i < 10; i++) await undefined
    order.push('microtasks')
    await clock.advance(0)
    expect(order).toEqual(['microtasks', 'turn'])
    expect(clock.now()).toBe(0)
  })
})
