// Limits of a node, possible ones: powers of two for alignments, maxima that are multiples of them.

import * as fc from 'fast-check'
import { type BlockLimits, defaultLimits } from '../../common/limits.js'

/** Limits that a driver may state. Alignments go up to `maxAlignment` (a power of two). */
export function blockLimits(maxAlignment = 4096): fc.Arbitrary<BlockLimits> {
  const powers = fc.integer({ min: 0, max: Math.log2(maxAlignment) }).map((exponent) => 2 ** exponent)
  return fc
    .record({
      requestAlignment: powers,
      discardFactor: fc.constantFrom(0, 1, 2, 8),
      zeroFactor: fc.constantFrom(0, 1, 2, 8),
      transferFactor: fc.constantFrom(0, 1, 3, 16),
      bulkFactor: fc.constantFrom(0, 1, 5),
      maxIov: fc.constantFrom(1, 2, 16, 1024),
    })
    .map(({ requestAlignment, discardFactor, zeroFactor, transferFactor, bulkFactor, maxIov }) => {
      const discardAlignment = requestAlignment * discardFactor
      const writeZeroesAlignment = requestAlignment * zeroFactor
      return {
        ...defaultLimits(),
        requestAlignment,
        discardAlignment,
        writeZeroesAlignment,
        maxTransfer: requestAlignment * transferFactor,
        maxDiscard: Math.max(discardAlignment, requestAlignment) * bulkFactor,
        maxWriteZeroes: Math.max(writeZeroesAlignment, requestAlignment) * bulkFactor,
        maxIov,
      }
    })
}
