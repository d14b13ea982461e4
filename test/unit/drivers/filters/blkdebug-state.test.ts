import { describe, expect, it } from 'vitest'
import { BlkdebugState, type InjectErrorRule } from '../../../../src/drivers/filters/blkdebug/debug-state.js'

const rule = (over: Partial<InjectErrorRule>): InjectErrorRule => ({
  event: 'none',
  state: 0,
  iotype: undefined,
  errno: 'EIO',
  sector: undefined,
  once: false,
  immediately: true,
  nth: 1,
  ...over,
})

const fails = (state: BlkdebugState, ...request: Parameters<BlkdebugState['check']>): string | undefined => {
  try {
    expect(state.check(...request)).toBeUndefined()
    return undefined
  } catch (error) {
    return (error as { code: string }).code
  }
}

describe('inject-error', () => {
  it('holds from the start for the event none, for all but block status', () => {
    const state = new BlkdebugState([rule({ errno: 'ENOSPC' })], [])
    for (const type of ['read', 'write', 'write-zeroes', 'discard', 'flush'] as const) {
      expect(fails(state, type, 0, 512)).toBe('ENOSPC')
    }
    expect(fails(state, 'block-status', 0, 512)).toBeUndefined()
  })

  it('waits for its event', () => {
    const state = new BlkdebugState([rule({ event: 'l2_load' })], [])
    expect(fails(state, 'read', 0, 512)).toBeUndefined()
    state.event('l2_load')
    expect(fails(state, 'read', 0, 512)).toBe('EIO')
  })

  it('fails only requests that cover the sector', () => {
    const state = new BlkdebugState([rule({ sector: 10 })], [])
    expect(fails(state, 'read', 0, 5120)).toBeUndefined()
    expect(fails(state, 'read', 0, 5121)).toBe('EIO')
    expect(fails(state, 'read', 5120, 1)).toBe('EIO')
    expect(fails(state, 'read', 5632, 512)).toBe(undefined)
    expect(fails(state, 'read', 5121, 1)).toBeUndefined()
    expect(fails(state, 'flush', 0, 0)).toBeUndefined()
  })

  it('fails one type only where asked to', () => {
    const state = new BlkdebugState([rule({ iotype: 'block-status' })], [])
    expect(fails(state, 'read', 0, 512)).toBeUndefined()
    expect(fails(state, 'block-status', 0, 512)).toBe('EIO')
  })

  it('fails once', () => {
    const state = new BlkdebugState([rule({ once: true, event: 'write_aio' })], [])
    state.event('write_aio')
    expect(fails(state, 'write', 0, 512)).toBe('EIO')
    state.event('write_aio')
    expect(fails(state, 'write', 0, 512)).toBeUndefined()
  })

  it('fails the n-th request that it covers', () => {
    const state = new BlkdebugState([rule({ nth: 3, once: true, iotype: 'write' })], [])
    expect(fails(state, 'write', 0, 512)).toBeUndefined()
    expect(fails(state, 'read', 0, 512)).toBeUndefined()
    expect(fails(state, 'write', 0, 512)).toBeUndefined()
    expect(fails(state, 'write', 0, 512)).toBe('EIO')
    expect(fails(state, 'write', 0, 512)).toBeUndefined()
  })

  it('fails later unless told to fail immediately', async () => {
    const state = new BlkdebugState([rule({ immediately: false })], [])
    await expect(state.check('read', 0, 512)).rejects.toMatchObject({ code: 'EIO' })
  })

  it('ends when another event makes other rules active', () => {
    const state = new BlkdebugState([rule({ event: 'l2_load' }), rule({ event: 'l2_update', errno: 'ENOSPC' })], [])
    state.event('l2_load')
    state.event('read_aio')
    expect(fails(state, 'read', 0, 512)).toBe('EIO')
    state.event('l2_update')
    expect(fails(state, 'read', 0, 512)).toBe('ENOSPC')
  })
})

describe('set-state', () => {
  it('changes the state after all rules of the event were matched', () => {
    const state = new BlkdebugState(
      [rule({ event: 'flush_to_disk', state: 2 })],
      [
        { event: 'flush_to_disk', state: 1, newState: 2 },
        { event: 'flush_to_disk', state: 2, newState: 3 },
      ],
    )
    expect(state.state).toBe(1)
    state.event('flush_to_disk')
    expect(state.state).toBe(2)
    expect(fails(state, 'flush', 0, 0)).toBeUndefined()
    state.event('flush_to_disk')
    expect(state.state).toBe(3)
    expect(fails(state, 'flush', 0, 0)).toBe('EIO')
  })
})

describe('breakpoints', () => {
  it('suspends one request until it is resumed', async () => {
    const state = new BlkdebugState([], [])
    state.breakpoint('write_aio', 'a')
    const held = state.event('write_aio')
    expect(held).toBeInstanceOf(Promise)
    expect(state.event('write_aio')).toBeUndefined()
    expect(state.isSuspended('a')).toBe(true)
    state.resume('a')
    await held
    expect(state.isSuspended('a')).toBe(false)
    expect(() => state.resume('a')).toThrow(expect.objectContaining({ code: 'ENOENT' }))
  })

  it('is removed together with what it holds', async () => {
    const state = new BlkdebugState([], [])
    state.breakpoint('read_aio', 'a')
    state.breakpoint('read_aio', 'a')
    const held = state.event('read_aio')
    state.removeBreakpoint('a')
    await held
    expect(state.event('read_aio')).toBeUndefined()
    expect(() => state.removeBreakpoint('a')).toThrow(expect.objectContaining({ code: 'ENOENT' }))
  })

  it('holds a request under every tag of its event, and tells so', async () => {
    const told: string[] = []
    const state = new BlkdebugState([], [], (what, tag) => told.push(`${what} ${tag}`))
    state.breakpoint('pwritev', 'a')
    state.breakpoint('flush_to_os', 'c')
    state.breakpoint('pwritev', 'b')
    let ended = false
    const held = state.event('pwritev')?.then(() => {
      ended = true
    })
    expect(state.event('pwritev')).toBeUndefined()
    state.resume('b')
    await new Promise((turn) => setImmediate(turn))
    expect(ended).toBe(false)
    state.resume('a')
    await held
    expect(told).toEqual(['suspended b', 'suspended a', 'resumed b', 'resumed a'])
  })
})
