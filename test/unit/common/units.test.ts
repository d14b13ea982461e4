import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { defaultLimits, MAX_LENGTH, mergeLimits, minNonZero } from '../../../src/common/limits.js'
import {
  alignDown,
  alignUp,
  highHalf,
  isAligned,
  isPowerOfTwo,
  lowHalf,
  offsetFromHalves,
} from '../../../src/common/units.js'

const offset = fc.integer({ min: 0, max: MAX_LENGTH })
const alignment = fc.nat(30).map((bits) => 2 ** bits)

describe('alignment', () => {
  it('rounds to the nearest multiples', () => {
    fc.assert(
      fc.property(offset, alignment, (value, align) => {
        const [down, up] = [alignDown(value, align), alignUp(value, align)]
        expect([BigInt(down) % BigInt(align), BigInt(up) % BigInt(align)]).toEqual([0n, 0n])
        expect(down <= value && value - down < align).toBe(true)
        expect(up >= value && up - value < align).toBe(true)
        expect(isAligned(value, align)).toBe(BigInt(value) % BigInt(align) === 0n)
      }),
    )
  })

  it('knows powers of two', () => {
    expect([1, 2, 512, 2 ** 52].map(isPowerOfTwo)).toEqual([true, true, true, true])
    expect([0, 3, -4, 0.5, 2 ** 52 + 1, Number.NaN, Infinity].map(isPowerOfTwo)).toEqual(new Array(7).fill(false))
  })
})

describe('u64 halves', () => {
  it('come back from an offset', () => {
    fc.assert(
      fc.property(offset, (value) => {
        expect(offsetFromHalves(highHalf(value), lowHalf(value))).toBe(value)
      }),
    )
  })

  it('beyond the largest length are refused', () => {
    expect(offsetFromHalves(highHalf(MAX_LENGTH), lowHalf(MAX_LENGTH))).toBe(MAX_LENGTH)
    expect(offsetFromHalves(highHalf(MAX_LENGTH), lowHalf(MAX_LENGTH) + 1)).toBeUndefined()
    expect(offsetFromHalves(0x200000, 0)).toBeUndefined()
    expect(offsetFromHalves(0xffffffff, 0xffffffff)).toBeUndefined()
  })

  it('allow for one largest alignment below 2^53', () => {
    expect(MAX_LENGTH).toBe(2 ** 53 - 2 ** 30)
  })
})

describe('limits', () => {
  it('merge to the stricter: maxima the smaller that is set, wishes and memory the larger', () => {
    const a = { ...defaultLimits(), maxTransfer: 0, optTransfer: 4096, minMemAlignment: 512, maxIov: 16 }
    const b = { ...defaultLimits(), maxTransfer: 65536, optTransfer: 512, minMemAlignment: 4096, maxIov: 64 }
    const stricter = { maxTransfer: 65536, optTransfer: 4096, minMemAlignment: 4096, maxIov: 16 }
    expect(mergeLimits(a, b)).toMatchObject(stricter)
    expect(mergeLimits(b, a)).toMatchObject(stricter)
  })

  it('take 0 for none', () => {
    expect([minNonZero(0, 5), minNonZero(5, 0), minNonZero(0, 0), minNonZero(3, 5)]).toEqual([5, 5, 0, 3])
  })
})
