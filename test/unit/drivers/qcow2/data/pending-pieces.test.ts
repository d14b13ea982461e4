// Pieces of one request that are under way at once.

import { describe, expect, test } from 'vitest'
import { PendingPieces } from '../../../../../src/drivers/qcow2/data/pending-pieces.js'
import { drainMicrotasks } from '../../../../support/virtual-clock.js'

interface Open {
  promise: Promise<void>
  resolve(): void
  reject(error: Error): void
}

/** Promises that a test settles. */
function open(count: number): Open[] {
  return Array.from({ length: count }, () => {
    const open: Open = { promise: Promise.resolve(), resolve: () => {}, reject: () => {} }
    open.promise = new Promise((resolve, reject) => Object.assign(open, { resolve, reject }))
    return open
  })
}

describe('pieces under way', () => {
  test('no more than 16 at once: room is there when they have ended', async () => {
    const pieces = new PendingPieces()
    const all = open(16)
    for (const { promise } of all.slice(0, 15)) pieces.add(promise)
    await pieces.room()
    pieces.add(all[15]?.promise)
    let roomy = false
    const waiting = pieces.room().then(() => {
      roomy = true
    })
    for (const { resolve } of all.slice(1)) resolve()
    await drainMicrotasks()
    expect(roomy).toBe(false)
    all[0]?.resolve()
    await waiting
    await pieces.settled()
  })

  test('the first error is thrown when every piece has ended', async () => {
    const pieces = new PendingPieces()
    const [slow, fast] = open(2)
    pieces.add(slow?.promise)
    pieces.add(fast?.promise)
    pieces.add(undefined)
    let ended: unknown
    const settled = pieces.settled().catch((error: unknown) => {
      ended = error
    })
    fast?.reject(new Error('first'))
    await drainMicrotasks()
    expect([pieces.failed, ended]).toEqual([true, undefined])
    slow?.reject(new Error('second'))
    await settled
    expect(ended).toEqual(new Error('first'))
  })

  test('an error of who begins them counts as one of theirs', async () => {
    const pieces = new PendingPieces()
    pieces.fail(new Error('outside'))
    pieces.add(Promise.reject(new Error('inside')))
    await expect(pieces.settled()).rejects.toThrow('outside')
  })
})
