import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { AssertionFailure } from '../../../src/common/assert.js'
import { HBitmap, mergedBitmap } from '../../../src/common/hbitmap.js'
import { MAX_LENGTH } from '../../../src/common/limits.js'
import { KiB, PiB, TiB } from '../../../src/common/units.js'

const GRANULARITY = 4

/** The naive twin: a set of granule indices. */
class Model {
  readonly dirty = new Set<number>()
  length: number
  readonly granularity: number

  constructor(length: number, granularity: number) {
    this.length = length
    this.granularity = granularity
  }

  get granules(): number {
    return Math.ceil(this.length / this.granularity)
  }

  set(offset: number, bytes: number): void {
    for (let byte = offset; byte < offset + bytes; byte++) this.dirty.add(Math.floor(byte / this.granularity))
  }

  reset(offset: number, bytes: number): void {
    for (let granule = 0; granule < this.granules; granule++) {
      const from = granule * this.granularity
      const to = Math.min(from + this.granularity, this.length)
      if (from >= offset && to <= offset + bytes) this.dirty.delete(granule)
    }
  }

  truncate(length: number): void {
    this.length = length
    for (const granule of this.dirty) if (granule >= this.granules) this.dirty.delete(granule)
  }

  bytes(): boolean[] {
    return Array.from({ length: this.length }, (_, byte) => this.dirty.has(Math.floor(byte / this.granularity)))
  }
}

const bytesOf = (bitmap: HBitmap) => Array.from({ length: bitmap.length }, (_, byte) => bitmap.get(byte))
const dirtyCount = (bytes: boolean[]) => bytes.filter(Boolean).length

function runsOf(bytes: boolean[]): { offset: number; bytes: number }[] {
  const runs: { offset: number; bytes: number }[] = []
  bytes.forEach((dirty, offset) => {
    const last = runs.at(-1)
    if (!dirty) return
    if (last !== undefined && last.offset + last.bytes === offset) last.bytes += 1
    else runs.push({ offset, bytes: 1 })
  })
  return runs
}

type Step = { kind: 'set' | 'reset' | 'truncate' | 'reset-all' | 'set-all' | 'part'; a: number; b: number }

const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom('set', 'set', 'set', 'reset', 'reset', 'truncate', 'reset-all', 'set-all', 'part'),
  a: fc.nat(),
  b: fc.nat(),
})

function apply(bitmap: HBitmap, model: Model, { kind, a, b }: Step): void {
  const offset = a % (model.length + 1)
  const bytes = b % (model.length - offset + 1)
  if (kind === 'set') {
    bitmap.set(offset, bytes)
    model.set(offset, bytes)
  } else if (kind === 'reset') {
    bitmap.reset(offset, bytes)
    model.reset(offset, bytes)
  } else if (kind === 'truncate') {
    bitmap.truncate(a % 2000)
    model.truncate(a % 2000)
  } else if (kind === 'reset-all') {
    bitmap.resetAll()
    model.dirty.clear()
  } else if (kind === 'set-all') {
    bitmap.setAll()
    model.set(0, model.length)
  } else {
    // A part that is written out and read back changes nothing.
    const align = bitmap.serializationAlign
    const start = offset - (offset % align)
    bitmap.deserializePart(bitmap.serializePart(start, model.length - start), start, model.length - start)
  }
}

describe('HBitmap against a plain set', () => {
  it('agrees on content, count and searches after any steps', () => {
    fc.assert(
      fc.property(
        fc.nat(2000),
        fc.constantFrom(1, 2, 4, 64),
        fc.array(step, { maxLength: 12 }),
        fc.nat(2100),
        fc.nat(2100),
        fc.integer({ min: 1, max: 300 }),
        (length, granularity, steps, from, end, max) => {
          const bitmap = new HBitmap(length, granularity)
          const model = new Model(length, granularity)
          for (const each of steps) apply(bitmap, model, each)
          const bytes = model.bytes()
          expect(bytesOf(bitmap)).toEqual(bytes)
          expect(bitmap.count).toBe(dirtyCount(bytes))
          expect([...bitmap.runs()]).toEqual(runsOf(bytes))
          const limit = Math.min(end, bytes.length)
          const find = (value: boolean) => {
            const found = bytes.slice(0, limit).indexOf(value, from)
            return found < 0 ? undefined : found
          }
          expect(bitmap.nextDirty(from, end)).toBe(find(true))
          expect(bitmap.nextZero(from, end)).toBe(find(false))
          const first = runsOf(bytes.map((dirty, at) => dirty && at >= from && at < limit))[0]
          const area = first === undefined ? undefined : { offset: first.offset, bytes: Math.min(first.bytes, max) }
          expect(bitmap.nextDirtyArea(from, end, max)).toEqual(area)
        },
      ),
      { numRuns: 400 },
    )
  })

  it('agrees across chunk borders', () => {
    // Ranges of whole and partial chunks around multiples of 8192 and 8192 * 256 bits.
    const near = fc
      .tuple(fc.constantFrom(0, 8192, 16384, 8192 * 256, 8192 * 512), fc.integer({ min: -70, max: 70 }))
      .map(([base, delta]) => Math.max(base + delta, 0))
    const range = fc.tuple(near, near, fc.boolean())
    fc.assert(
      fc.property(fc.array(range, { minLength: 1, maxLength: 10 }), near, near, (ranges, probe, until) => {
        const bitmap = new HBitmap(8192 * 600, 1)
        // Interval arithmetic as the model: a sorted list of disjoint dirty intervals.
        let intervals: [number, number][] = []
        for (const [a, b, dirty] of ranges) {
          const [from, to] = a < b ? [a, b] : [b, a]
          if (dirty) bitmap.set(from, to - from)
          else bitmap.reset(from, to - from)
          intervals = intervals.flatMap(([x, y]): [number, number][] => [
            [x, Math.min(y, from)],
            [Math.max(x, to), y],
          ])
          if (dirty) intervals.push([from, to])
          intervals = intervals.filter(([x, y]) => x < y).sort((p, q) => p[0] - q[0])
        }
        const joined: { offset: number; bytes: number }[] = []
        for (const [x, y] of intervals) {
          const last = joined.at(-1)
          if (last !== undefined && last.offset + last.bytes === x) last.bytes += y - x
          else joined.push({ offset: x, bytes: y - x })
        }
        expect([...bitmap.runs()]).toEqual(joined)
        expect(bitmap.count).toBe(joined.reduce((sum, run) => sum + run.bytes, 0))
        const hit = joined.find((run) => run.offset + run.bytes > probe)
        const dirtyAt = hit === undefined ? undefined : Math.max(hit.offset, probe)
        expect(bitmap.nextDirty(probe, until)).toBe(dirtyAt !== undefined && dirtyAt < until ? dirtyAt : undefined)
      }),
      { numRuns: 300 },
    )
  })

  it('merges as the union, whatever the granularities', () => {
    const ranges = fc.array(fc.tuple(fc.nat(), fc.nat()), { maxLength: 6 })
    const size = fc.constantFrom(1, 2, 4, 8, 32)
    fc.assert(
      fc.property(fc.nat(700), size, size, size, ranges, ranges, (length, ga, gb, gr, ra, rb) => {
        const make = (granularity: number, list: [number, number][]) => {
          const bitmap = new HBitmap(length, granularity)
          const model = new Model(length, granularity)
          for (const [a, b] of list) apply(bitmap, model, { kind: 'set', a, b })
          return bitmap
        }
        const a = make(ga, ra)
        const b = make(gb, rb)
        const before = [bytesOf(a), bytesOf(b)]
        const merged = mergedBitmap(a, b, gr)
        const model = new Model(length, gr)
        for (const part of before) {
          for (const [at, dirty] of part.entries()) if (dirty) model.set(at, 1)
        }
        expect(bytesOf(merged)).toEqual(model.bytes())
        expect(merged.count).toBe(dirtyCount(model.bytes()))
        expect([bytesOf(a), bytesOf(b)]).toEqual(before)
        // The merged bitmap shares nothing with its sources.
        merged.resetAll()
        expect([bytesOf(a), bytesOf(b)]).toEqual(before)
      }),
      { numRuns: 200 },
    )
  })

  it('serialises into bits that another bitmap reads back, in any split', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 10 }), fc.integer({ min: 1, max: 9 }), (steps, units) => {
        const bitmap = new HBitmap(1999, GRANULARITY)
        const model = new Model(1999, GRANULARITY)
        for (const each of steps) apply(bitmap, model, each)
        const copy = new HBitmap(model.length, GRANULARITY)
        copy.setAll()
        const part = units * bitmap.serializationAlign
        for (let at = 0; at < model.length; at += part) {
          const bytes = Math.min(part, model.length - at)
          const data = bitmap.serializePart(at, bytes)
          expect(data.byteLength).toBe(bitmap.serializationSize(at, bytes))
          for (let granule = 0; granule < data.byteLength * 8; granule++) {
            const bit = ((data[granule >>> 3] ?? 0) >>> (granule & 7)) & 1
            expect(bit === 1).toBe(model.dirty.has(at / GRANULARITY + granule))
          }
          copy.deserializePart(data, at, bytes)
        }
        expect(bytesOf(copy)).toEqual(bytesOf(bitmap))
        expect(copy.count).toBe(bitmap.count)
      }),
      { numRuns: 60 },
    )
  })
})

describe('HBitmap', () => {
  it('counts only the bytes of the last granule that exist', () => {
    const bitmap = new HBitmap(100, 64)
    bitmap.set(99, 1)
    expect(bitmap.count).toBe(36)
    bitmap.truncate(128)
    expect(bitmap.count).toBe(64)
    expect([...bitmap.runs()]).toEqual([{ offset: 64, bytes: 64 }])
  })

  it('forgets what lay past a smaller end', () => {
    const bitmap = new HBitmap(1024, 64)
    bitmap.setAll()
    bitmap.truncate(128)
    bitmap.truncate(1024)
    expect([...bitmap.runs()]).toEqual([{ offset: 0, bytes: 128 }])
  })

  it('keeps a granule dirty that a reset covers in part', () => {
    const bitmap = new HBitmap(1000, 64)
    bitmap.set(0, 192)
    bitmap.reset(32, 128)
    expect([...bitmap.runs()]).toEqual([
      { offset: 0, bytes: 64 },
      { offset: 128, bytes: 64 },
    ])
    bitmap.set(960, 40)
    bitmap.reset(960, 40)
    expect(bitmap.get(999)).toBe(false)
  })

  it('ignores bits past the end in a part that is read', () => {
    const bitmap = new HBitmap(10, 1)
    bitmap.deserializePart(new Uint8Array(8).fill(0xff), 0, 10)
    expect(bitmap.count).toBe(10)
    bitmap.truncate(64)
    expect(bitmap.count).toBe(10)
  })

  it('reads parts of zeroes and of ones', () => {
    const bitmap = new HBitmap(300, 1)
    bitmap.deserializeOnes(64, 236)
    bitmap.deserializeZeroes(128, 64)
    expect([...bitmap.runs()]).toEqual([
      { offset: 64, bytes: 64 },
      { offset: 192, bytes: 108 },
    ])
  })

  it('costs little on a huge disk, empty, sparse and full', () => {
    const bitmap = new HBitmap(PiB, 64 * KiB)
    expect(bitmap.chunks).toBe(0)
    bitmap.set(0, PiB)
    expect(bitmap.chunks).toBeLessThan(4)
    expect(bitmap.count).toBe(PiB)
    bitmap.reset(512 * TiB, 64 * KiB)
    expect(bitmap.nextZero(0)).toBe(512 * TiB)
    expect(bitmap.nextDirty(512 * TiB)).toBe(512 * TiB + 64 * KiB)
    expect(bitmap.count).toBe(PiB - 64 * KiB)
    expect(bitmap.chunks).toBeLessThan(8)
    bitmap.resetAll()
    for (let at = 0; at < PiB; at += TiB) bitmap.set(at, 1)
    expect(bitmap.count).toBe(1024 * 64 * KiB)
    expect([...bitmap.runs()]).toHaveLength(1024)
    expect(bitmap.chunks).toBeLessThan(2200)
  })

  it('reaches the largest length at the smallest granularity', () => {
    const bitmap = new HBitmap(MAX_LENGTH, 512)
    bitmap.set(MAX_LENGTH - 1, 1)
    expect(bitmap.nextDirty(0)).toBe(MAX_LENGTH - 512)
    expect(bitmap.copy().nextDirty(0)).toBe(MAX_LENGTH - 512)
    bitmap.setAll()
    expect(bitmap.count).toBe(MAX_LENGTH)
  })

  it('sees what is set ahead of an iteration', () => {
    const bitmap = new HBitmap(1000, 2)
    bitmap.set(0, 10)
    const runs = bitmap.runs()
    expect(runs.next().value).toEqual({ offset: 0, bytes: 10 })
    bitmap.set(500, 10)
    expect(runs.next().value).toEqual({ offset: 500, bytes: 10 })
    expect(runs.next().done).toBe(true)
  })

  it('asserts on ranges outside, odd granularities and unaligned parts', () => {
    expect(() => new HBitmap(100, 3)).toThrow(AssertionFailure)
    expect(() => new HBitmap(-1, 4)).toThrow(AssertionFailure)
    const bitmap = new HBitmap(1000, 4)
    expect(() => bitmap.set(999, 2)).toThrow(AssertionFailure)
    expect(() => bitmap.reset(-4, 4)).toThrow(AssertionFailure)
    expect(() => bitmap.get(1000)).toThrow(AssertionFailure)
    expect(() => bitmap.serializePart(4, 256)).toThrow(AssertionFailure)
    expect(() => bitmap.deserializePart(new Uint8Array(7), 0, 256)).toThrow(AssertionFailure)
    expect(() => bitmap.merge(new HBitmap(999, 4))).toThrow(AssertionFailure)
  })
})
