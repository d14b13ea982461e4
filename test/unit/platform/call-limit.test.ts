import { describe, expect, it } from 'vitest'
import { createCallLimit } from '../../../src/platform/native/call-limit.js'

describe('a limit on native calls', () => {
  it('never has more than its number under way, and runs the rest in turn, failures included', async () => {
    const limit = createCallLimit(3)
    const order: number[] = []
    let running = 0
    let most = 0
    const calls = Array.from({ length: 20 }, (_, i) =>
      limit(async () => {
        order.push(i)
        most = Math.max(most, ++running)
        await Promise.resolve()
        running--
        if (i % 5 === 0) throw new Error(`call ${i}`)
        return i
      }).catch((error: Error) => error.message),
    )
    const results = await Promise.all(calls)
    expect(most).toBe(3)
    expect(order).toEqual(Array.from({ length: 20 }, (_, i) => i))
    expect(results).toEqual(Array.from({ length: 20 }, (_, i) => (i % 5 === 0 ? `call ${i}` : i)))
  })
})
