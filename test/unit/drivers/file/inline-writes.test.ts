import { describe, expect, it } from 'vitest'
import { IoVector } from '../../../../src/common/io-vector.js'
import { KiB, MiB } from '../../../../src/common/units.js'
import { InlineWrites } from '../../../../src/drivers/file/inline-writes.js'

/** Writes that take as long as is said, in milliseconds. */
function timed(takes: (write: number) => number) {
  let now = 0
  let writes = 0
  const inline = new InlineWrites(
    (_fd, data) => {
      now += takes(writes++)
      return data.length
    },
    () => now,
  )
  const data = new Uint8Array(4 * KiB)
  return {
    inline,
    writes: () => writes,
    /** How many of `count` writes were made at once. */
    run(count: number): number {
      let made = 0
      for (let i = 0; i < count; i++) if (inline.tryWrite(3, data, 0) === data.length) made++
      return made
    },
  }
}

describe('when a write is made at once', () => {
  it('is always, while the host takes them quickly', () => {
    expect(timed(() => 0.05).run(10_000)).toBe(10_000)
  })

  it('is always, while a few of them are slow', () => {
    // A processor that is busy with others takes the thread's turn now and then.
    expect(timed((write) => (write % 100 === 0 ? 4 : 0.01)).run(10_000)).toBe(10_000)
  })

  it('ends for a while after one that waited, longer each time', () => {
    const { run, writes } = timed(() => 200)
    let tries = 0
    for (const rest of [64, 128, 256, 512]) {
      expect(run(1 + rest)).toBe(1)
      tries++
    }
    expect(writes()).toBe(tries)
    run(200_000)
    // Hardly ever, in the end: each of them holds everything up.
    expect(writes()).toBeLessThan(25)
  })

  it('ends where every write takes a little too long', () => {
    // 0.5 ms allowed beyond 4 KiB's 0.104, twenty times over: about 25 writes until 10 ms are used up.
    const made = timed(() => 0.5).run(64)
    expect(made).toBeGreaterThan(20)
    expect(made).toBeLessThan(30)
  })

  it('comes back, and forgives after many quick ones', () => {
    let slow = true
    const { run } = timed(() => (slow ? 50 : 0.01))
    for (let i = 0; i < 4; i++) run(1 + 64 * 2 ** i)
    slow = false
    expect(run(5000)).toBe(5000)
    slow = true
    // The next rest would be 1024 writes; four times a thousand quick ones have made it the first again.
    expect(run(1 + 64)).toBe(1)
    slow = false
    expect(run(100)).toBe(100)
  })

  it('may take longer the larger the write is', () => {
    let now = 0
    const inline = new InlineWrites(
      (_fd, data) => {
        now += 0.9
        return data.length
      },
      () => now,
    )
    const large = new Uint8Array(MiB)
    for (let i = 0; i < 1000; i++) expect(inline.tryWrite(3, large, 0)).toBe(MiB)
  })
})

describe('which writes are left to the pool', () => {
  const inline = new InlineWrites(
    (_fd, data) => data.length,
    () => 0,
  )
  it.each([
    ['a part of a page', new Uint8Array(512), 0],
    ['pages that begin in the middle of one', new Uint8Array(4096), 512],
    ['pages that begin in the middle of one, far away', new Uint8Array(4096), 2 ** 45 + 2048],
    ['a very large one', new Uint8Array(MiB + 4096), 0],
    ['more segments than a call takes', new IoVector(Array.from({ length: 512 }, () => new Uint8Array(8))), 0],
  ])('%s', (_name, data, offset) => {
    expect(inline.tryWrite(3, data, offset)).toBe(0)
  })

  it('no other', () => {
    expect(inline.tryWrite(3, new Uint8Array(4096), 2 ** 45)).toBe(4096)
    expect(inline.tryWrite(3, new Uint8Array(MiB), 4096)).toBe(MiB)
    expect(inline.tryWrite(3, new IoVector(Array.from({ length: 256 }, () => new Uint8Array(16))), 0)).toBe(4096)
  })
})
