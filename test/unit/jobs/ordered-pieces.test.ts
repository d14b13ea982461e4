import fc from 'fast-check'
import { expect, test } from 'vitest'
import { workInOrder } from '../../../src/jobs/ordered-pieces.js'

test('no more than the limit at once, and turns come in order', async () => {
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), fc.integer({ min: 1, max: 5 }), fc.nat(12), async (scheduler, limit, count) => {
      let running = 0
      let most = 0
      const ended: number[] = []
      const pieces = Array.from({ length: count }, (_, index) => index)
      const all = workInOrder(pieces, limit, async (piece, turn) => {
        running++
        most = Math.max(most, running)
        await scheduler.schedule(Promise.resolve(), `piece ${piece}`)
        await turn
        ended.push(piece)
        running--
      })
      await scheduler.waitFor(all)
      expect(ended).toEqual(pieces)
      expect(most).toBeLessThanOrEqual(limit)
      expect(most).toBe(Math.min(limit, count))
    }),
    { numRuns: 50 },
  )
})

test('the first failure is the one reported, when nothing is under way any more', async () => {
  const log: string[] = []
  const all = workInOrder([0, 1, 2, 3], 2, async (piece, turn) => {
    log.push(`begin ${piece}`)
    await turn
    if (piece === 0) await new Promise((resolve) => setTimeout(resolve, 1))
    if (piece === 0) throw new Error('first')
    log.push(`end ${piece}`)
    throw new Error('second')
  })
  await expect(all).rejects.toThrow('first')
  expect(log).toEqual(['begin 0', 'begin 1', 'end 1'])
})

test('a failure of the source waits for the pieces under way', async () => {
  let ended = false
  async function* source() {
    yield 1
    throw new Error('no more')
  }
  const all = workInOrder(source(), 4, async () => {
    await Promise.resolve()
    await Promise.resolve()
    ended = true
  })
  await expect(all).rejects.toThrow('no more')
  expect(ended).toBe(true)
})
