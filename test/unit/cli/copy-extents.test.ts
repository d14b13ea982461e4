import fc from 'fast-check'
import { expect, test } from 'vitest'
import { asData, type CopyExtent, cutExtents, wholeClusters } from '../../../src/cli/img/copy-extents.js'

const kinds = fc.constantFrom('data' as const, 'zero' as const, 'backing' as const)
/** Extents in a row, in units of a sector. */
const rows = fc.array(fc.record({ kind: kinds, sectors: fc.integer({ min: 1, max: 20 }) }), { maxLength: 20 })

async function* extentsOf(row: readonly { kind: CopyExtent['kind']; sectors: number }[]): AsyncGenerator<CopyExtent> {
  let offset = 0
  for (const { kind, sectors } of row) {
    yield { offset, bytes: sectors * 512, kind }
    offset += sectors * 512
  }
}

async function collect(extents: AsyncIterable<CopyExtent>): Promise<CopyExtent[]> {
  const all: CopyExtent[] = []
  for await (const extent of extents) all.push(extent)
  return all
}

/** The kind of each sector. */
function sectors(extents: readonly CopyExtent[]): string[] {
  return extents.flatMap(({ bytes, kind }) => Array.from({ length: bytes / 512 }, () => kind))
}

test('whole clusters: those of one kind keep it, all others are data', async () => {
  await fc.assert(
    fc.asyncProperty(rows, fc.constantFrom(512, 1024, 4096, 16384), async (row, clusterSize) => {
      const whole = await collect(wholeClusters(extentsOf(row), clusterSize))
      const before = sectors(await collect(extentsOf(row)))
      let at = 0
      for (const { offset, bytes } of whole) {
        expect(offset).toBe(at)
        expect(offset % clusterSize).toBe(0)
        expect(bytes).toBeGreaterThan(0)
        at += bytes
      }
      const perCluster = clusterSize / 512
      const expected = before.map((_kind, sector) => {
        const first = sector - (sector % perCluster)
        const cluster = new Set(before.slice(first, first + perCluster))
        return cluster.size === 1 ? [...cluster][0] : 'data'
      })
      expect(sectors(whole)).toEqual(expected)
    }),
  )
})

test('pieces tile what they are cut from', async () => {
  await fc.assert(
    fc.asyncProperty(rows, fc.constantFrom(512, 1536, 4096), async (row, most) => {
      const cut = await collect(cutExtents(extentsOf(row), most))
      expect(sectors(cut)).toEqual(sectors(await collect(extentsOf(row))))
      for (const { kind, bytes } of cut) if (kind === 'data') expect(bytes).toBeLessThanOrEqual(most)
    }),
  )
})

test('zeroes become data where all is to be written, and what the backing file has does not', async () => {
  const row = [
    { kind: 'zero' as const, sectors: 1 },
    { kind: 'backing' as const, sectors: 2 },
    { kind: 'data' as const, sectors: 1 },
  ]
  expect(sectors(await collect(asData(extentsOf(row))))).toEqual(['data', 'backing', 'backing', 'data'])
})
