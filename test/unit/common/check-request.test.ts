import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { checkOffsetBytes } from '../../../src/common/check-request.js'
import { BlockError } from '../../../src/common/error.js'
import { MAX_LENGTH } from '../../../src/common/limits.js'

function refusal(offset: number, bytes: number): BlockError | undefined {
  try {
    checkOffsetBytes(offset, bytes, { node: 'disk', op: 'read' })
    return undefined
  } catch (error) {
    if (error instanceof BlockError) return error
    throw error
  }
}

describe('checkOffsetBytes', () => {
  it.each([
    [0, 0, undefined],
    [MAX_LENGTH, 0, undefined],
    [0, MAX_LENGTH, undefined],
    [MAX_LENGTH - 1, 1, undefined],
    [MAX_LENGTH, 1, 'EFBIG'],
    [MAX_LENGTH + 1, 0, 'EFBIG'],
    [1, MAX_LENGTH, 'EFBIG'],
    [2 ** 63, 0, 'EFBIG'],
    [Number.MAX_VALUE, Number.MAX_VALUE, 'EFBIG'],
    [-1, 1, 'EINVAL'],
    [1, -1, 'EINVAL'],
    [0.5, 1, 'EINVAL'],
    [0, 0.5, 'EINVAL'],
    [Number.NaN, 0, 'EINVAL'],
    [0, Number.POSITIVE_INFINITY, 'EINVAL'],
  ])('%d + %d: %s', (offset, bytes, expected) => {
    expect(refusal(offset, bytes)?.code).toBe(expected)
  })

  it('says whose range it was', () => {
    expect(refusal(-1, 1)).toMatchObject({ node: 'disk', op: 'read' })
  })

  it('passes exactly the ranges whose end is an exact number within the cap', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), fc.maxSafeNat(), (offset, bytes) => {
        const fits = BigInt(offset) + BigInt(bytes) <= BigInt(MAX_LENGTH)
        expect(refusal(offset, bytes) === undefined).toBe(fits)
      }),
    )
  })
})
