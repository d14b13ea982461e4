import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type ThrottleSettings, throttleLimits } from '../../../../src/drivers/filters/throttle/limits.js'
import {
  type Direction,
  ThrottleGroup,
  type ThrottleMember,
} from '../../../../src/drivers/filters/throttle/throttle-group.js'
import { VirtualClock } from '../../../../src/testing/virtual-clock.js'

function makeGroup(settings: ThrottleSettings) {
  const clock = new VirtualClock()
  const group = new ThrottleGroup('g', throttleLimits(settings), clock)
  const log: { who: string; at: number }[] = []
  const submit = (member: ThrottleMember, who: string, bytes = 512, direction: Direction = 'write') => {
    const pending = group.admit(member, direction, bytes)
    if (pending === undefined) log.push({ who, at: clock.now() })
    else void pending.then(() => log.push({ who, at: clock.now() }))
    return pending
  }
  return { clock, group, log, submit }
}

describe('limits', () => {
  const refused: [ThrottleSettings, RegExp][] = [
    [{ 'bps-total': 1, 'bps-read': 1 }, /together/],
    [{ 'iops-total': 10, 'iops-total-max': 5 }, /lower/],
    [{ 'iops-read-max': 5 }, /needs iops-read/],
    [{ 'iops-read': 5, 'iops-read-max-length': 2 }, /needs iops-read-max/],
    [{ 'iops-size': 4096 }, /needs a limit/],
    [{ 'bps-write': 2e15 }, /integers/],
    [{ 'bps-write': -1 }, /integers/],
    [{ 'bps-write': 1, 'bps-write-max': 1e15, 'bps-write-max-length': 2 }, /too long/],
    [{ 'bps-write': 1, 'bps-write-max': 10, 'bps-write-max-length': 0 }, /at least 1/],
  ]
  it.each(refused)('refuses %j', (settings, message) => {
    expect(() => throttleLimits(settings)).toThrow(
      expect.objectContaining({ code: 'EINVAL', message: expect.stringMatching(message) }),
    )
  })
})

describe('ThrottleGroup', () => {
  it('lets everything through without limits and sets no timer', () => {
    const { clock, group, submit } = makeGroup({})
    const member = group.join()
    for (let i = 0; i < 100; i++) expect(submit(member, 'a', 1e9)).toBeUndefined()
    expect(clock.pendingTimers).toBe(0)
  })

  it('holds the average rate of requests', async () => {
    const { clock, group, log, submit } = makeGroup({ 'iops-total': 100 })
    const member = group.join()
    for (let i = 0; i < 500; i++) submit(member, 'a')
    await clock.advance(1000)
    // A tenth of a second's worth may come at once, and one that makes the bucket overflow.
    expect(log.length).toBeGreaterThanOrEqual(110)
    expect(log.length).toBeLessThanOrEqual(112)
    await clock.advance(1000)
    expect(log.length).toBeGreaterThanOrEqual(210)
    expect(log.length).toBeLessThanOrEqual(212)
  })

  it('holds the rate of bytes, reads and writes each their own', async () => {
    const { clock, group, log, submit } = makeGroup({ 'bps-read': 4096 * 10, 'bps-write': 4096 * 100 })
    const member = group.join()
    for (let i = 0; i < 500; i++) {
      submit(member, 'r', 4096, 'read')
      submit(member, 'w', 4096, 'write')
    }
    await clock.advance(2000)
    const count = (who: string) => log.filter((entry) => entry.who === who).length
    expect(count('r')).toBeGreaterThanOrEqual(21)
    expect(count('r')).toBeLessThanOrEqual(23)
    expect(count('w')).toBeGreaterThanOrEqual(210)
    expect(count('w')).toBeLessThanOrEqual(212)
  })

  it('counts a large request as several by iops-size', async () => {
    const { clock, group, log, submit } = makeGroup({ 'iops-total': 100, 'iops-size': 4096 })
    const member = group.join()
    for (let i = 0; i < 100; i++) submit(member, 'a', 40960)
    await clock.advance(1000)
    expect(log.length).toBeGreaterThanOrEqual(11)
    expect(log.length).toBeLessThanOrEqual(13)
  })

  it('lets a burst run for its length at its rate, then falls back', async () => {
    const { clock, group, log, submit } = makeGroup({
      'iops-total': 10,
      'iops-total-max': 100,
      'iops-total-max-length': 5,
    })
    const member = group.join()
    for (let i = 0; i < 2000; i++) submit(member, 'a')
    await clock.advance(4000)
    expect(log.length / 4).toBeGreaterThan(95)
    expect(log.length / 4).toBeLessThan(105)
    await clock.advance(6000)
    const before = log.length
    await clock.advance(10_000)
    expect(log.length - before).toBeGreaterThanOrEqual(99)
    expect(log.length - before).toBeLessThanOrEqual(101)
  })

  it('takes the members in turn', async () => {
    const { clock, group, log, submit } = makeGroup({ 'iops-total': 10 })
    const members = [group.join(), group.join(), group.join()]
    // The first member asks for far more than the others, and first.
    for (let i = 0; i < 100; i++) submit(members[0] as ThrottleMember, 'a')
    for (let i = 0; i < 20; i++) submit(members[1] as ThrottleMember, 'b')
    for (let i = 0; i < 20; i++) submit(members[2] as ThrottleMember, 'c')
    log.length = 0
    await clock.advance(3000)
    const counts = ['a', 'b', 'c'].map((who) => log.filter((entry) => entry.who === who).length)
    expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1)
    expect(Math.min(...counts)).toBeGreaterThanOrEqual(9)
  })

  it('serves reads and writes in turn where they share a rate', async () => {
    const { clock, group, log, submit } = makeGroup({ 'iops-total': 10 })
    const member = group.join()
    for (let i = 0; i < 10; i++) {
      submit(member, 'read', 512, 'read')
      submit(member, 'write', 512, 'write')
    }
    await clock.advance(1000)
    const count = (who: string) => log.filter((entry) => entry.who === who).length
    expect(log.length).toBeGreaterThanOrEqual(10)
    expect(Math.abs(count('read') - count('write'))).toBeLessThanOrEqual(2)
  })

  it('releases what waits of a lifted member at once, in order, and nobody else', async () => {
    const { clock, group, log, submit } = makeGroup({ 'iops-total': 1 })
    const [a, b] = [group.join(), group.join()]
    submit(a, 'first')
    submit(a, 'a1')
    submit(b, 'b1')
    submit(a, 'a2')
    log.length = 0
    group.lift(a)
    await clock.advance(0)
    expect(log.map((entry) => entry.who)).toEqual(['a1', 'a2'])
    expect(submit(a, 'a3')).toBeUndefined()
    group.lower(a)
    expect(submit(a, 'a4')).toBeInstanceOf(Promise)
    await clock.advance(1e6)
    expect(group.waiting).toBe(0)
    expect(clock.pendingTimers).toBe(0)
  })

  it('judges what waits anew when the limits change', async () => {
    const { clock, group, log, submit } = makeGroup({ 'iops-total': 1 })
    const member = group.join()
    for (let i = 0; i < 50; i++) submit(member, 'a')
    group.setLimits(throttleLimits({}))
    await clock.advance(0)
    expect(log.length).toBe(50)
    expect(clock.pendingTimers).toBe(0)
  })

  it('lets a member that leaves take its requests along, and the others go on', async () => {
    const { clock, group, log, submit } = makeGroup({ 'iops-total': 10 })
    const [a, b] = [group.join(), group.join()]
    for (let i = 0; i < 5; i++) submit(a, 'a')
    for (let i = 0; i < 5; i++) submit(b, 'b')
    group.leave(a)
    await clock.advance(10_000)
    expect(log.filter((entry) => entry.who === 'b').length).toBe(5)
    expect(clock.pendingTimers).toBe(0)
  })

  it('completes every request exactly once and never exceeds the rate', async () => {
    const step = fc.record({
      member: fc.nat(2),
      direction: fc.constantFrom<Direction>('read', 'write'),
      bytes: fc.integer({ min: 512, max: 65536 }),
      wait: fc.integer({ min: 0, max: 300 }),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const rate = 100_000
        const { clock, group, submit } = makeGroup({ 'bps-total': rate })
        const members = [group.join(), group.join(), group.join()]
        const done: { at: number; bytes: number }[] = []
        let submitted = 0
        for (const { member, direction, bytes, wait } of steps) {
          submitted++
          const pending = submit(members[member] as ThrottleMember, 'x', bytes, direction)
          if (pending === undefined) done.push({ at: clock.now(), bytes })
          else void pending.then(() => done.push({ at: clock.now(), bytes }))
          await clock.advance(wait)
        }
        await clock.runAll()
        expect(done.length).toBe(submitted)
        expect(clock.pendingTimers).toBe(0)
        // From any completion on: a tenth of a second's worth, one request of overflow, and the rate.
        for (const [index, first] of done.entries()) {
          let sum = 0
          for (const { at, bytes } of done.slice(index)) {
            expect(sum).toBeLessThanOrEqual(rate * 0.1 + 2 * 65536 + ((at - first.at) * rate) / 1000 + 1)
            sum += bytes
          }
        }
      }),
      { numRuns: 60 },
    )
  })
})
