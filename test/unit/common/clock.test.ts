import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { hostClock } from '../../../src/common/clock.js'

/** The longest time the host's timers take; they fire at once for more. */
const LONGEST = 2 ** 31 - 1

describe('hostClock.after', () => {
  beforeEach(() => {
    vi.useFakeTimers()
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  it('waits longer than one timer of the host can', () => {
    const fired = vi.fn()
    hostClock.after(2.5 * LONGEST, fired)
    vi.advanceTimersByTime(2 * LONGEST)
    expect(fired).not.toHaveBeenCalled()
    vi.advanceTimersByTime(LONGEST)
    expect(fired).toHaveBeenCalledOnce()
  })

  it('cancels a wait in any part of it', () => {
    const fired = vi.fn()
    const timer = hostClock.after(2.5 * LONGEST, fired)
    vi.advanceTimersByTime(LONGEST + 1)
    timer.cancel()
    expect(vi.getTimerCount()).toBe(0)
    vi.advanceTimersByTime(3 * LONGEST)
    expect(fired).not.toHaveBeenCalled()
  })

  it('leaves nothing behind for a wait without end that is cancelled', () => {
    hostClock.after(Number.POSITIVE_INFINITY, () => {}).cancel()
    expect(vi.getTimerCount()).toBe(0)
  })
})
