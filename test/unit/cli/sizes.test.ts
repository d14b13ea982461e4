import { expect, test } from 'vitest'
import { countArgument, formatSize, sizeArgument } from '../../../src/cli/sizes.js'

test.each([
  [0, '0 B'],
  [512, '512 B'],
  [1024, '1 KiB'],
  [1_023_488, '1e+03 KiB'],
  [1_024_000, '0.977 MiB'],
  [1_044_480, '0.996 MiB'],
  [1_048_576, '1 MiB'],
  [1_179_648, '1.12 MiB'],
  [1_441_792, '1.38 MiB'],
  [1_500_160, '1.43 MiB'],
  [1_500_000_256, '1.4 GiB'],
  [10 * 1024 ** 3, '10 GiB'],
  [1_500_000_000_000, '1.36 TiB'],
])('%d bytes are %s', (bytes, text) => {
  expect(formatSize(bytes)).toBe(text)
})

test('a size argument has units, and a bound where the caller says so', () => {
  expect(sizeArgument('image size', '1.5M')).toBe(1572864)
  expect(sizeArgument('image size', '0x200')).toBe(512)
  expect(() => sizeArgument('image size', '1Z')).toThrow('Invalid image size specified. You may use k, M, G, T, P or E')
  expect(() => sizeArgument('image size', '-1')).toThrow('Invalid image size')
  expect(() => sizeArgument('image size', '8E')).toThrow('Must be between 0 and 9223372036854775807.')
  expect(sizeArgument('buffer size', '2147483647', 2147483647)).toBe(2147483647)
  expect(() => sizeArgument('buffer size', '2G', 2147483647)).toThrow('Must be between 0 and 2147483647.')
})

test('a count is a whole number inside its bounds', () => {
  expect(countArgument('16', 1, 16)).toBe(16)
  expect(countArgument('0x10', 1, 16)).toBe(16)
  for (const bad of ['0', '17', '-1', '1k', '', '1.5', 'abc']) expect(countArgument(bad, 1, 16)).toBeUndefined()
})
