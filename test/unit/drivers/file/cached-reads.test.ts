import { describe, expect, it } from 'vitest'
import { IoVector } from '../../../../src/common/io-vector.js'
import { CachedReads } from '../../../../src/drivers/file/cached-reads.js'
import { READ_UNSUPPORTED, READ_WOULD_WAIT } from '../../../../src/platform/native/cached-transfer.js'

function counting(answer: () => number): { tries: () => number; reads: CachedReads } {
  let tries = 0
  const reads = new CachedReads(() => {
    tries++
    return answer()
  })
  return { tries: () => tries, reads }
}

const buffer = new Uint8Array(4096)

describe('when cached reads are tried', () => {
  it('tries every time while they hit', () => {
    const { tries, reads } = counting(() => 4096)
    for (let i = 0; i < 100; i++) expect(reads.tryRead(3, buffer, 0)).toBe(4096)
    expect(tries()).toBe(100)
  })

  it('tries seldom where all miss, and every time again after a hit', () => {
    let answer = READ_WOULD_WAIT
    const { tries, reads } = counting(() => answer)
    for (let i = 0; i < 10_000; i++) expect(reads.tryRead(3, buffer, 0)).toBe(0)
    expect(tries()).toBeLessThan(40)
    answer = 4096
    for (let i = 0; i < 1100; i++) reads.tryRead(3, buffer, 0)
    const before = tries()
    for (let i = 0; i < 100; i++) reads.tryRead(3, buffer, 0)
    expect(tries() - before).toBe(100)
  })

  it('keeps trying where a part of them misses', () => {
    let turn = 0
    const { tries, reads } = counting(() => (turn++ % 4 === 0 ? 4096 : READ_WOULD_WAIT))
    for (let i = 0; i < 1000; i++) reads.tryRead(3, buffer, 0)
    expect(tries()).toBe(1000)
  })

  it('gives up for good where the file cannot be read so, and leaves large and long requests to the pool', () => {
    const unsupported = counting(() => READ_UNSUPPORTED)
    for (let i = 0; i < 10; i++) expect(unsupported.reads.tryRead(3, buffer, 0)).toBe(0)
    expect(unsupported.tries()).toBe(1)
    const { tries, reads } = counting(() => 1)
    expect(reads.tryRead(3, new Uint8Array(1 << 20), 0)).toBe(0)
    expect(reads.tryRead(3, new IoVector(Array.from({ length: 257 }, () => new Uint8Array(1))), 0)).toBe(0)
    expect(tries()).toBe(0)
  })

  it('hands on what was partly there', () => {
    const { reads } = counting(() => 100)
    expect(reads.tryRead(3, buffer, 0)).toBe(100)
  })
})
