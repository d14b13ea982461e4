import { describe, expect, test } from 'vitest'
import type { Clock } from '../../../../src/common/clock.js'
import type { BackendDevice } from '../../../../src/exports/vhost-user/backend-device.js'
import { RingPoller } from '../../../../src/exports/vhost-user/ring-poller.js'

/** A world in which a turn takes 5 us, and the test says what is found. */
class World {
  now = 1000
  found = 0
  armed = 0
  atArming = false
  whole = true
  hasUnkicked = false
  underWay = 0
  readonly poller: RingPoller
  private turns: (() => void)[] = []
  private timers: { at: number; call: () => void }[] = []

  constructor() {
    const world = this
    const device = {
      get requestsInFlight() {
        return world.underWay
      },
      poll: () => {
        this.now += 0.001
        if (this.found === 0) return false
        this.found--
        return true
      },
      armNotifications: () => {
        this.armed++
        const came = this.atArming
        this.atArming = false
        return came
      },
    } as unknown as BackendDevice
    const clock: Clock = {
      now: () => this.now,
      nextTurn: (call) => this.turns.push(call),
      after: (ms, call) => {
        const timer = { at: this.now + ms, call }
        this.timers.push(timer)
        return { cancel: () => this.timers.splice(this.timers.indexOf(timer), 1) }
      },
    }
    this.poller = new RingPoller(device, clock, {
      check: () => world.whole,
      get hasUnkicked() {
        return world.hasUnkicked
      },
    })
  }

  get idle(): boolean {
    return this.turns.length === 0
  }

  get pendingTimers(): number {
    return this.timers.length
  }

  /** Runs turns until none is due; how many milliseconds that took. */
  settle(): number {
    const before = this.now
    for (let turn = this.turns.shift(); turn !== undefined; turn = this.turns.shift()) {
      this.now += 0.005
      turn()
    }
    return this.now - before
  }

  sleep(ms: number): void {
    this.now += ms
    const due = this.timers.filter(({ at }) => at <= this.now)
    this.timers = this.timers.filter(({ at }) => at > this.now)
    for (const { call } of due) call()
  }

  kick(): void {
    this.found++
    this.poller.kicked()
  }
}

describe('a poller', () => {
  test('looks for a while after a find, then asks for kicks and does nothing', () => {
    const world = new World()
    world.kick()
    const looked = world.settle()
    expect(looked).toBeGreaterThan(0.02)
    expect(looked).toBeLessThan(0.3)
    expect(world.armed).toBe(1)
    expect(world.idle).toBe(true)
    expect(world.pendingTimers).toBe(0)
  })

  test('goes on while there is something', () => {
    const world = new World()
    world.found = 1000
    world.poller.kicked()
    world.settle()
    expect(world.found).toBe(0)
    expect(world.poller.counts.finds).toBe(1000)
    expect(world.armed).toBe(1)
  })

  test('looks for a short time only while requests are under way', () => {
    const world = new World()
    const looked = (underWay: number): number => {
      world.underWay = underWay
      world.kick()
      const ms = world.settle()
      world.sleep(0.05)
      return ms
    }
    // Kicks come so soon that its window is at its longest.
    for (let i = 0; i < 4; i++) looked(0)
    expect(looked(0)).toBeGreaterThan(0.19)
    const armed = world.armed
    expect(looked(1)).toBeLessThan(0.07)
    expect(world.armed).toBe(armed + 1)
    expect(looked(0)).toBeGreaterThan(0.19)
  })

  test('what comes while kicks are asked for is found', () => {
    const world = new World()
    world.atArming = true
    world.kick()
    world.settle()
    expect(world.armed).toBe(2)
  })

  test('looks longer where kicks come soon after, up to a limit, and not at all where they do not', () => {
    const world = new World()
    const looked: number[] = []
    for (let i = 0; i < 4; i++) {
      world.kick()
      const ms = world.settle()
      looked.push(ms)
      world.sleep(Math.max(0.15 - ms, 0))
    }
    // A kick after 0.15 ms is too late for the first, and would be found by the last.
    expect(looked[0]).toBeLessThan(0.1)
    expect(looked[2]).toBeGreaterThan(0.19)
    expect(looked[3]).toBeLessThan(0.25)
    for (let i = 0; i < 6; i++) {
      world.sleep(50)
      world.kick()
      world.settle()
    }
    world.sleep(50)
    world.kick()
    expect(world.settle()).toBeLessThan(0.02)
  })

  test('leaves it to the driver to kick where looking is in vain again and again', () => {
    const world = new World()
    const looked: number[] = []
    for (let i = 0; i < 70; i++) {
      // Each kick comes right after the looking has ended, as of a driver that waits for this processor.
      world.kick()
      looked.push(world.settle())
    }
    expect(Math.max(...looked.slice(0, 9))).toBeGreaterThan(0.05)
    expect(Math.max(...looked.slice(12))).toBeLessThan(0.02)
    // It is tried again later.
    for (let i = 0; i < 10; i++) {
      world.kick()
      looked.push(world.settle())
    }
    expect(Math.max(...looked.slice(70))).toBeGreaterThan(0.04)
  })

  test('a driver that was told of something is expected to answer', () => {
    const world = new World()
    world.kick()
    world.settle()
    world.sleep(0.1)
    world.poller.expect()
    world.found = 1
    world.settle()
    expect(world.found).toBe(0)
  })

  test('rings without kicks are looked at by one timer', () => {
    const world = new World()
    world.hasUnkicked = true
    world.kick()
    world.settle()
    for (let i = 0; i < 5; i++) {
      world.kick()
      world.settle()
      expect(world.pendingTimers).toBe(1)
    }
    world.found = 1
    world.sleep(2)
    world.settle()
    expect(world.found).toBe(0)
    expect(world.pendingTimers).toBe(1)
    world.poller.stop()
    expect(world.pendingTimers).toBe(0)
  })

  test('ends where what has to hold does not, and when it is stopped', () => {
    const broken = new World()
    broken.whole = false
    broken.kick()
    broken.settle()
    expect(broken.found).toBe(1)
    const stopped = new World()
    stopped.kick()
    stopped.poller.stop()
    stopped.found = 5
    stopped.settle()
    stopped.poller.kicked()
    stopped.poller.expect()
    expect(stopped.found).toBe(5)
    expect(stopped.idle).toBe(true)
  })
})
