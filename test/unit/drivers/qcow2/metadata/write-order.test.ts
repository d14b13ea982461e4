// The order in which two caches write their tables, what of that survives failures, and tables that change meanwhile.

import { describe, expect, test } from 'vitest'
import { BlockError } from '../../../../../src/common/error.js'
import { host } from '../../../../../src/drivers/qcow2/format/layout.js'
import { codeOf } from '../../../../support/code-of.js'
import { TwoCaches, use } from '../../../../support/two-caches.js'
import { drainMicrotasks } from '../../../../support/virtual-clock.js'

describe('the order of writing', () => {
  test('without dependencies: all changed tables, by their place, and none of the others', async () => {
    const caches = new TwoCaches()
    const { l2 } = caches
    for (const offset of [0x8600, 0x8000, 0x8200]) await caches.change(l2, offset)
    await use(l2, 0x8400)
    expect([l2.dirtyCount, l2.isClean]).toEqual([3, false])
    caches.log.length = 0
    await l2.flush()
    expect(caches.written()).toEqual(['write 8000', 'write 8200', 'write 8600'])
    expect([l2.dirtyCount, l2.isClean]).toEqual([0, true])
    await l2.flush()
    expect(caches.written()).toEqual([])
  })

  test('A before B: the tables of the other cache, then a barrier, then those of this one', async () => {
    const caches = new TwoCaches()
    const { l2, refcounts } = caches
    await caches.change(refcounts, 0x1000)
    expect(l2.dependOn(refcounts)).toBeUndefined()
    await caches.change(l2, 0x8000)
    await caches.change(l2, 0x8200)
    // Declaring writes nothing.
    expect(caches.written()).toEqual([])
    await l2.flush()
    expect(caches.written()).toEqual(['write 1000', 'barrier', 'write 8000', 'write 8200'])
  })

  test('B alone does not wait: a dependency has one direction', async () => {
    const caches = new TwoCaches()
    const { l2, refcounts } = caches
    await caches.change(l2, 0x8000)
    expect(l2.dependOn(refcounts)).toBeUndefined()
    await caches.change(refcounts, 0x1000)
    await refcounts.flush()
    expect(caches.written()).toEqual(['write 1000'])
  })

  test('data before tables: a barrier first', async () => {
    const caches = new TwoCaches()
    await caches.change(caches.l2, 0x8000)
    caches.l2.dependOnFlush()
    await caches.l2.flush()
    expect(caches.written()).toEqual(['barrier', 'write 8000'])
    // It is done with: the next table needs none.
    await caches.change(caches.l2, 0x8200)
    await caches.l2.flush()
    expect(caches.written()).toEqual(['write 8200'])
  })

  test('both at once: the other tables, and one barrier for them and the data', async () => {
    const caches = new TwoCaches()
    await caches.change(caches.refcounts, 0x1000)
    caches.l2.dependOnFlush()
    expect(caches.l2.dependOn(caches.refcounts)).toBeUndefined()
    caches.l2.dependOnFlush()
    await caches.change(caches.l2, 0x8000)
    await caches.l2.flush()
    expect(caches.written()).toEqual(['write 1000', 'barrier', 'write 8000'])
  })

  test('a cycle is broken by writing what was declared first, and does not hang', async () => {
    const caches = new TwoCaches()
    const { l2, refcounts } = caches
    await caches.change(refcounts, 0x1000, 1)
    expect(l2.dependOn(refcounts)).toBeUndefined()
    await caches.change(l2, 0x8000, 1)
    expect([refcounts.mayDependOn(l2), l2.mayDependOn(refcounts)]).toEqual([false, true])
    // The tables wait for the counts; now counts are to wait for the tables.
    await refcounts.dependOn(l2)
    expect(caches.written()).toEqual(['write 1000', 'barrier'])
    await caches.change(refcounts, 0x1000, 2)
    await refcounts.flush()
    expect(caches.written()).toEqual(['write 8000', 'barrier', 'write 1000'])
  })

  test('declared anew while it is being made good, it is made good anew', async () => {
    const caches = new TwoCaches()
    const { l2, refcounts, io } = caches
    await caches.change(refcounts, 0x1000)
    await l2.dependOn(refcounts)
    await caches.change(l2, 0x8000)
    io.mode = 'held'
    const flushing = l2.flush()
    await drainMicrotasks()
    expect(io.held.map(({ call }) => call.offset)).toEqual([0x1000])
    // While the first table of counts is being written, another one changes on which a table is to depend.
    await l2.dependOn(refcounts)
    const entry = await refcounts.getEmpty(host(0x1200))
    refcounts.release(entry)
    io.mode = 'sync'
    io.releaseAll()
    await flushing
    expect(caches.written()).toEqual(['write 1000', 'barrier', 'write 1200', 'barrier', 'write 8000'])
  })
})

describe('a table that changes while it is written', () => {
  test('stays dirty, the disk gets what it was, and the next flush the rest', async () => {
    const caches = new TwoCaches()
    const { l2, io } = caches
    await caches.change(l2, 0x8000, 1)
    io.mode = 'held'
    const first = l2.flush()
    await drainMicrotasks()
    await caches.change(l2, 0x8000, 2)
    expect([l2.dirtyCount, l2.isClean]).toEqual([1, false])
    io.releaseAll()
    await first
    expect([io.bytes[0x8000], l2.isClean]).toEqual([1, false])
    io.mode = 'sync'
    await l2.flush()
    expect([io.bytes[0x8000], l2.isClean]).toEqual([2, true])
  })

  test('a flush waits for a write that another one has begun', async () => {
    const caches = new TwoCaches()
    const { l2, io } = caches
    await caches.change(l2, 0x8000)
    io.mode = 'held'
    const first = l2.flush()
    await drainMicrotasks()
    let done = false
    const second = l2.flush().then(() => {
      done = true
    })
    await drainMicrotasks()
    expect([done, l2.dirtyCount, l2.isClean]).toEqual([false, 0, false])
    io.releaseAll()
    await first
    await second
    expect(io.calls.filter(({ op }) => op === 'write')).toHaveLength(1)
  })
})

describe('a write that fails', () => {
  test('leaves the table dirty; others are written, and the next flush tries again', async () => {
    const caches = new TwoCaches()
    const { l2, io } = caches
    for (const offset of [0x8000, 0x8200, 0x8400]) await caches.change(l2, offset, 3)
    io.failure = ({ op, offset }) => (op === 'write' && offset === 0x8200 ? new BlockError('EIO', 'bad') : undefined)
    expect(await codeOf(() => l2.flush())).toBe('EIO')
    expect([l2.dirtyCount, l2.isClean]).toEqual([1, false])
    expect([io.bytes[0x8000], io.bytes[0x8200], io.bytes[0x8400]]).toEqual([3, 0, 3])
    // Reported again as long as it is so.
    expect(await codeOf(() => l2.flush())).toBe('EIO')
    io.failure = undefined
    await l2.flush()
    expect([l2.isClean, io.bytes[0x8200]]).toEqual([true, 3])
  })

  test('of what a table depends on keeps the table from being written', async () => {
    const caches = new TwoCaches()
    const { l2, refcounts, io } = caches
    await caches.change(refcounts, 0x1000)
    await l2.dependOn(refcounts)
    await caches.change(l2, 0x8000)
    io.failure = ({ op, offset }) => (op === 'write' && offset < 0x8000 ? new BlockError('EIO', 'bad') : undefined)
    expect(await codeOf(() => l2.flush())).toBe('EIO')
    expect(caches.written()).toEqual([])
    expect([l2.dirtyCount, refcounts.dirtyCount]).toEqual([1, 1])
    io.failure = undefined
    await l2.flush()
    expect(caches.written()).toEqual(['write 1000', 'barrier', 'write 8000'])
  })

  test('of a barrier leaves the dependency in place', async () => {
    const caches = new TwoCaches()
    const { l2 } = caches
    await caches.change(l2, 0x8000)
    l2.dependOnFlush()
    caches.failBarrier = true
    expect(await codeOf(() => l2.flush())).toBe('EIO')
    expect(caches.written()).toEqual(['barrier'])
    caches.failBarrier = false
    await l2.flush()
    expect(caches.written()).toEqual(['barrier', 'write 8000'])
  })

  test('refused before it begins, it leaves the table dirty, too', async () => {
    const caches = new TwoCaches()
    const { l2 } = caches
    await caches.change(l2, 0x8000)
    caches.refuse = host(0x8000)
    expect(await codeOf(() => l2.flush())).toBe('EPERM')
    expect([caches.written(), l2.dirtyCount, l2.isClean]).toEqual([[], 1, false])
  })
})
