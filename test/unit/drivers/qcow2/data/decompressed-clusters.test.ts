// Contents of compressed clusters that are kept for small reads.

import { expect, test } from 'vitest'
import { DecompressedClusters } from '../../../../../src/drivers/qcow2/data/decompressed-clusters.js'

test('the last eight are kept, by their place', () => {
  const clusters = new DecompressedClusters()
  for (let place = 0; place < 10; place++) clusters.keep(place, Uint8Array.of(place), clusters.generation)
  expect([0, 1, 2, 9].map((place) => clusters.get(place)?.[0])).toEqual([undefined, undefined, 2, 9])
})

test('what was begun to be read before host clusters changed hands is not kept', () => {
  const clusters = new DecompressedClusters()
  const { generation } = clusters
  clusters.keep(1, Uint8Array.of(1), generation)
  clusters.clear()
  clusters.keep(2, Uint8Array.of(2), generation)
  expect([clusters.get(1), clusters.get(2)]).toEqual([undefined, undefined])
  clusters.keep(2, Uint8Array.of(3), clusters.generation)
  expect(clusters.get(2)?.[0]).toBe(3)
})
