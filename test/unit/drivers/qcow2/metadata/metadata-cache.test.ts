// The cache of tables alone, over a file in memory: what is read and written when, in which order, and what failures leave.

import { describe, expect, test } from 'vitest'
import { BlockError } from '../../../../../src/common/error.js'
import { type HostOffset, host } from '../../../../../src/drivers/qcow2/format/layout.js'
import { type CacheEntry, MetadataCache } from '../../../../../src/drivers/qcow2/metadata/metadata-cache.js'
import type { Completion } from '../../../../../src/io/node-io.js'
import { codeOf } from '../../../../support/code-of.js'
import { type Call, edgeOn, MemoryIo, StubNode } from '../../../../support/stub-graph.js'
import { drainMicrotasks } from '../../../../support/virtual-clock.js'

const TABLE = 512

/** A file that writes down what took effect. */
class LoggedIo extends MemoryIo {
  readonly #log: string[]

  constructor(log: string[]) {
    super(0x10000)
    this.#log = log
  }

  protected override run(call: Call, effect: () => void): Completion {
    return super.run(call, () => {
      effect()
      this.#log.push(`${call.op} ${call.offset.toString(16)}`)
    })
  }
}

/** Two caches of one image: refcount blocks below 0x8000, L2 tables above. What reaches the file is in `log`. */
class TwoCaches {
  readonly log: string[] = []
  readonly io = new LoggedIo(this.log)
  failBarrier = false
  refuse: HostOffset | undefined
  readonly refcounts: MetadataCache
  readonly l2: MetadataCache

  constructor(capacity = 8) {
    const file = edgeOn(new StubNode(this.io))
    const cacheHost = {
      file,
      barrier: async () => {
        this.log.push('barrier')
        await Promise.resolve()
        if (this.failBarrier) throw new BlockError('EIO', 'no barrier')
      },
      beforeWrite: (offset: HostOffset) => {
        if (offset === this.refuse) throw new BlockError('EPERM', 'refused')
      },
    }
    this.refcounts = new MetadataCache(cacheHost, TABLE, capacity)
    this.l2 = new MetadataCache(cacheHost, TABLE, capacity)
  }

  /** Changes the first byte of a table. */
  async change(cache: MetadataCache, offset: number, value = 1): Promise<void> {
    const entry = await cache.get(host(offset))
    entry.table.bytes[0] = value
    cache.markDirty(entry)
    cache.release(entry)
  }

  /** What was logged since the last call, reads left out. */
  written(): string[] {
    return this.log.splice(0).filter((line) => !line.startsWith('read'))
  }
}

async function use(cache: MetadataCache, ...offsets: number[]): Promise<void> {
  for (const offset of offsets) cache.release(await cache.get(host(offset)))
}

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
