// The cache of tables alone, over a file in memory: what is read, kept, let go and forgotten.

import { describe, expect, test } from 'vitest'
import { BlockError } from '../../../../../src/common/error.js'
import { host } from '../../../../../src/drivers/qcow2/format/layout.js'
import type { CacheEntry } from '../../../../../src/drivers/qcow2/metadata/cache-entries.js'
import { codeOf } from '../../../../support/code-of.js'
import { TABLE, TwoCaches, use } from '../../../../support/two-caches.js'
import { drainMicrotasks } from '../../../../support/virtual-clock.js'

describe('looking up', () => {
  test('a table is read once, in pieces of the size of an entry, and then found without a promise', async () => {
    const { l2, io, log } = new TwoCaches()
    io.bytes.fill(7, 0x8200, 0x8400)
    expect(l2.peek(host(0x8200))).toBeUndefined()
    const loaded = await l2.get(host(0x8200))
    expect(loaded.table.bytes).toEqual(new Uint8Array(512).fill(7))
    const again = l2.get(host(0x8200))
    expect(again).toBe(loaded)
    expect(l2.peek(host(0x8200))).toBe(loaded)
    // The piece beside it is another entry.
    expect(l2.peek(host(0x8000))).toBeUndefined()
    expect(io.calls.map(({ op, offset, bytes }) => [op, offset, bytes])).toEqual([['read', 0x8200, 512]])
    expect(log).toEqual(['read 8200'])
  })

  test('two who want the same table wait for one read', async () => {
    const { l2, io } = new TwoCaches()
    io.mode = 'async'
    const [a, b] = await Promise.all([l2.get(host(0x8000)), l2.get(host(0x8000))])
    expect(a).toBe(b)
    expect((a as CacheEntry).pins).toBe(2)
    expect(io.calls).toHaveLength(1)
  })

  test('a read that fails leaves nothing behind', async () => {
    const { l2, io } = new TwoCaches()
    io.failure = () => new BlockError('EIO', 'unreadable')
    expect(await codeOf(() => l2.get(host(0x8000)))).toBe('EIO')
    expect(l2.size).toBe(0)
    io.failure = undefined
    await use(l2, 0x8000)
    expect(l2.size).toBe(1)
  })

  test('a new table is zeroes and dirty, and nothing is read for it', async () => {
    const { l2, io } = new TwoCaches()
    io.bytes.fill(7, 0x8000, 0x8200)
    const entry = await l2.getEmpty(host(0x8000))
    expect(entry.table.bytes).toEqual(new Uint8Array(512))
    expect([entry.dirty, entry.pins, io.calls.length]).toEqual([true, 1, 0])
  })
})

describe('a full cache', () => {
  test('lets the table go that was not used for longest, without a write where it is clean', async () => {
    const caches = new TwoCaches(3)
    await use(caches.l2, 0x8000, 0x8200, 0x8400, 0x8000, 0x8600)
    const present = [0x8000, 0x8200, 0x8400, 0x8600].map((offset) => caches.l2.peek(host(offset)) !== undefined)
    expect(present).toEqual([true, false, true, true])
    expect(caches.written()).toEqual([])
  })

  test('writes a changed table first, behind what it depends on, and reads it anew when it is wanted', async () => {
    const caches = new TwoCaches(2)
    const { l2, refcounts } = caches
    await caches.change(refcounts, 0x1000)
    await l2.dependOn(refcounts)
    await caches.change(l2, 0x8000, 9)
    await caches.change(l2, 0x8200, 8)
    await use(l2, 0x8400)
    expect(caches.written()).toEqual(['write 1000', 'barrier', 'write 8000'])
    expect([l2.size, l2.dirtyCount, l2.peek(host(0x8000))]).toEqual([2, 1, undefined])
    const entry = await l2.get(host(0x8000))
    expect(entry.table.bytes[0]).toBe(9)
  })

  test('writes an eighth of its tables out at once', async () => {
    const caches = new TwoCaches(16)
    for (let at = 0; at < 16; at++) await caches.change(caches.l2, 0x8000 + at * TABLE)
    caches.log.length = 0
    await use(caches.l2, 0x8000 + 16 * TABLE)
    expect(caches.written()).toEqual(['write 8000', 'write 8200'])
  })

  test('keeps what is held, and is over its size as long as that', async () => {
    const { l2 } = new TwoCaches(2)
    const held = [await l2.get(host(0x8000)), await l2.get(host(0x8200)), await l2.get(host(0x8400))]
    expect(l2.size).toBe(3)
    for (const entry of held) expect(l2.peek(entry.offset)).toBe(entry)
    for (const entry of held) l2.release(entry)
    await use(l2, 0x8600)
    expect(l2.size).toBe(2)
  })

  test('that cannot write a table fails who wants another, and loses nothing', async () => {
    const caches = new TwoCaches(1)
    const { l2, io } = caches
    await caches.change(l2, 0x8000, 5)
    io.failure = ({ op }) => (op === 'write' ? new BlockError('ENOSPC', 'full') : undefined)
    expect(await codeOf(() => l2.get(host(0x8200)))).toBe('ENOSPC')
    expect([l2.dirtyCount, l2.peek(host(0x8000))?.table.bytes[0]]).toEqual([1, 5])
    io.failure = undefined
    await use(l2, 0x8200)
    expect(io.bytes[0x8000]).toBe(5)
  })
})

describe('forgetting', () => {
  test('a changed table of a cluster that is free is not written', async () => {
    const caches = new TwoCaches()
    const { l2 } = caches
    for (const offset of [0x8000, 0x8200, 0x8400]) await caches.change(l2, offset)
    // A cluster of two pieces.
    l2.forget(host(0x8000), 1024)
    expect([l2.size, l2.dirtyCount]).toEqual([1, 1])
    caches.log.length = 0
    await l2.flush()
    expect(caches.written()).toEqual(['write 8400'])
  })

  test('a table that is being read then is not kept', async () => {
    const { l2, io } = new TwoCaches()
    io.mode = 'held'
    const loading = Promise.resolve(l2.get(host(0x8000)))
    await drainMicrotasks()
    l2.forget(host(0x8000), TABLE)
    io.mode = 'sync'
    io.releaseAll()
    l2.release(await loading)
    expect([l2.size, l2.peek(host(0x8000))]).toEqual([0, undefined])
  })

  test('a table that is made anew while the old one is read is the one that stays', async () => {
    const { l2, io } = new TwoCaches()
    io.bytes.fill(7, 0x8000, 0x8200)
    io.mode = 'held'
    const loading = Promise.resolve(l2.get(host(0x8000)))
    await drainMicrotasks()
    const fresh = await l2.getEmpty(host(0x8000))
    io.mode = 'sync'
    io.releaseAll()
    expect(await loading).toBe(fresh)
    expect(fresh.table.bytes[0]).toBe(0)
  })

  test('a write that fails after its table was forgotten does not bring it back', async () => {
    const caches = new TwoCaches()
    const { l2, io } = caches
    await caches.change(l2, 0x8000)
    io.mode = 'held'
    const flushing = codeOf(() => l2.flush())
    await drainMicrotasks()
    l2.forget(host(0x8000), TABLE)
    io.held.splice(0)[0]?.finish(new BlockError('EIO', 'bad'))
    expect(await flushing).toBe('EIO')
    expect([l2.size, l2.isClean]).toEqual([0, true])
  })

  test('everything: what was changed is lost, and dependencies with it', async () => {
    const caches = new TwoCaches()
    const { l2, refcounts } = caches
    await caches.change(l2, 0x8000)
    await l2.dependOn(refcounts)
    l2.invalidate()
    expect([l2.size, l2.isClean]).toEqual([0, true])
    await caches.change(l2, 0x8200)
    caches.log.length = 0
    await l2.flush()
    expect(caches.written()).toEqual(['write 8200'])
  })
})

describe('what was not used between two cleanings', () => {
  test('goes where it is clean and nobody holds it', async () => {
    const caches = new TwoCaches()
    const { l2 } = caches
    await use(l2, 0x8000, 0x8200)
    await caches.change(l2, 0x8400)
    const held = await l2.get(host(0x8600))
    l2.dropUnused()
    expect(l2.size).toBe(4)
    await use(l2, 0x8000)
    l2.dropUnused()
    const present = [0x8000, 0x8200, 0x8400, 0x8600].map((offset) => l2.peek(host(offset)) !== undefined)
    expect(present).toEqual([true, false, true, true])
    l2.release(held)
  })
})
