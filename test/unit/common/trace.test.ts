import { describe, expect, it } from 'vitest'
import { Trace } from '../../../src/common/trace.js'

describe('Trace', () => {
  it('tells every listener until it leaves, and survives one that throws', () => {
    const trace = new Trace()
    const heard: string[] = []
    trace.listen(() => {
      throw new Error('its own fault')
    })
    const stop = trace.listen((name) => heard.push(name))
    trace.emit('resized', { node: 'n', length: 1 })
    stop()
    trace.emit('node-closed', { node: 'n', driver: 'raw' })
    expect(heard).toEqual(['resized'])
  })

  it('is active while anybody listens', () => {
    const trace = new Trace()
    expect(trace.active).toBe(false)
    const stop = trace.listen(() => {})
    expect(trace.active).toBe(true)
    stop()
    stop()
    expect(trace.active).toBe(false)
  })
})
