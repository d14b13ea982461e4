import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { HashName } from '../../../../src/common/host-services.js'
import { afMerge, afSplit } from '../../../../src/drivers/luks/af-split.js'
import { nodeCrypto } from '../../../../src/platform/crypto.js'

describe('the anti-forensic splitter', () => {
  // Reckoned from the specification's formulas by another program.
  test.each<[HashName, number, number, string]>([
    ['sha1', 24, 3, 'c324d16e38216630ac2bcbba701504ce5d42bc7f0c647f39'],
    [
      'sha256',
      64,
      4,
      '9a4c5c232dcac2e6cd3f091da4e58969ee04d83c64059071fe1d68c672e21caf286e139f413e4a3dda63213d62af237ebff552db69ec1d3f9d966802690f012a',
    ],
    ['sha512', 16, 2, '42a05a959859c04b303fbab85916273a'],
    ['sha256', 32, 1, '030a11181f262d343b424950575e656c737a81888f969da4abb2b9c0c7ced5dc'],
  ])('merges by %s a key of %i bytes from %i stripes', (hash, bytes, stripes, key) => {
    const split = Uint8Array.from({ length: bytes * stripes }, (_, index) => index * 7 + 3)
    expect(Buffer.from(afMerge(nodeCrypto, hash, split, bytes)).toString('hex')).toBe(key)
  })

  const call = fc.record({
    hash: fc.constantFrom<HashName>('sha1', 'sha256', 'sha512'),
    key: fc.uint8Array({ minLength: 16, maxLength: 64 }),
    stripes: fc.integer({ min: 1, max: 20 }),
    at: fc.nat(),
  })

  test('gives a key back, and another where one bit of any stripe is lost', () => {
    fc.assert(
      fc.property(call, ({ hash, key, stripes, at }) => {
        const split = afSplit(nodeCrypto, hash, key, stripes)
        expect(split).toHaveLength(key.length * stripes)
        expect(afMerge(nodeCrypto, hash, split, key.length)).toEqual(key)
        const index = at % split.length
        split[index] = (split[index] ?? 0) ^ 1
        expect(afMerge(nodeCrypto, hash, split, key.length)).not.toEqual(key)
      }),
      { numRuns: 60 },
    )
  })
})
