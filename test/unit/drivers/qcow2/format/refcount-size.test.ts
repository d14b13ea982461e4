// How much room refcount structures take: every cluster, theirs too, has its count.

import { describe, expect, test } from 'vitest'
import { createLayout } from '../../../../../src/drivers/qcow2/format/layout.js'
import { refcountStructures } from '../../../../../src/drivers/qcow2/format/refcount-size.js'

describe('refcount structures of clusters of 512 bytes and counts of 64 bits', () => {
  // 64 counts a block, 64 blocks a cluster of the table.
  const layout = createLayout(9, 6, false)

  test.each([
    [1, 1, 1],
    [62, 1, 1],
    [63, 2, 1],
    [125, 2, 1],
    [126, 3, 1],
    // 64 blocks and one cluster of table describe themselves and 4031 more; one more takes a second cluster.
    [4031, 64, 1],
    [4032, 65, 2],
  ])('%i clusters: %i blocks, %i clusters of table', (clusters, blocks, tableClusters) => {
    expect(refcountStructures(layout, clusters, false)).toEqual({ blocks, tableClusters })
  })

  test('describe themselves, and no block is one too many', () => {
    for (let clusters = 1; clusters < 10_000; clusters += 37) {
      const { blocks, tableClusters } = refcountStructures(layout, clusters, false)
      const all = clusters + blocks + tableClusters
      expect(blocks * 64).toBeGreaterThanOrEqual(all)
      expect((blocks - 1) * 64).toBeLessThan(all)
      expect(tableClusters).toBe(Math.ceil(blocks / 64))
    }
  })

  test('with room for half as many blocks again, where growth is to be rare', () => {
    for (let clusters = 1; clusters < 10_000; clusters += 37) {
      const { blocks, tableClusters } = refcountStructures(layout, clusters, true)
      expect(tableClusters * 64).toBeGreaterThanOrEqual(Math.floor(blocks * 1.5))
      expect(blocks * 64).toBeGreaterThanOrEqual(clusters + blocks + tableClusters)
    }
  })
})
