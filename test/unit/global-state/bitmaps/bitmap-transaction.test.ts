import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { BlockError } from '../../../../src/common/error.js'
import { KiB, MiB } from '../../../../src/common/units.js'
import {
  type BitmapAction,
  prepareBitmapActions,
  runBitmapTransaction,
} from '../../../../src/global-state/bitmaps/bitmap-transaction.js'
import { addDirtyBitmap, requireDirtyBitmap, setBitmapBusy } from '../../../../src/global-state/bitmaps/bitmaps.js'
import { markDirty } from '../../../../src/io/dirty-bitmap.js'
import { inMainLoop, stubNode } from '../../../support/stub-node.js'

function world() {
  const nodes = new Map(['n', 'm'].map((name) => [name, stubNode(name, MiB)]))
  const graph = {
    node(name: string) {
      const node = nodes.get(name)
      if (node === undefined) throw new BlockError('ENODEV', `no node ${name}`)
      return node
    },
  }
  const snapshot = () =>
    [...nodes.values()].map((node) =>
      node.state.bitmaps.map(({ bits, ...flags }) => ({
        ...flags,
        granularity: bits.granularity,
        runs: [...bits.runs()],
      })),
    )
  return { graph, snapshot }
}

describe('bitmap transactions', () => {
  it('let later actions see earlier ones', () =>
    inMainLoop(async (main) => {
      const { graph } = world()
      const old = addDirtyBitmap(main, graph.node('n'), { name: 'old', granularity: 512 })
      markDirty(old, 0, 512)
      await runBitmapTransaction(main, graph, [
        { type: 'add', node: 'n', name: 'new', disabled: true },
        { type: 'merge', node: 'n', name: 'new', sources: [{ node: 'n', name: 'old' }] },
        { type: 'clear', node: 'n', name: 'old' },
        { type: 'disable', node: 'n', name: 'old' },
        { type: 'enable', node: 'n', name: 'new' },
        { type: 'remove', node: 'n', name: 'old' },
      ])
      const fresh = requireDirtyBitmap(graph.node('n'), 'new')
      expect(graph.node('n').state.bitmaps).toEqual([fresh])
      expect([fresh.enabled, fresh.bits.granularity, fresh.bits.count]).toEqual([true, 64 * KiB, 64 * KiB])
    }))

  it('remove nothing before the commit, and the bitmap records until then', () =>
    inMainLoop(async (main) => {
      const { graph } = world()
      const bitmap = addDirtyBitmap(main, graph.node('n'), { name: 'b', granularity: 512 })
      const prepared = await prepareBitmapActions(main, graph, [{ type: 'remove', node: 'n', name: 'b' }])
      for (const each of graph.node('n').state.bitmaps) markDirty(each, 0, 1)
      prepared.abort()
      expect([bitmap.bits.count, bitmap.busy, bitmap.skipStore]).toEqual([512, false, false])
    }))

  it('that fail leave everything as it was', () => {
    const name = fc.constantFrom('a', 'b', 'c', 'busy')
    const node = fc.constantFrom('n', 'm')
    const action: fc.Arbitrary<BitmapAction> = fc.oneof(
      fc.record({ type: fc.constant('add' as const), node, name, granularity: fc.constantFrom(512, 4096) }),
      fc.record({
        type: fc.constantFrom('remove' as const, 'clear' as const, 'enable' as const, 'disable' as const),
        node,
        name,
      }),
      fc.record({
        type: fc.constant('merge' as const),
        node,
        name,
        sources: fc.array(fc.record({ node, name }), { maxLength: 2 }),
      }),
    )
    return fc.assert(
      fc.asyncProperty(fc.array(action, { maxLength: 6 }), (actions) =>
        inMainLoop(async (main) => {
          const { graph, snapshot } = world()
          for (const each of ['a', 'b', 'busy']) {
            const bitmap = addDirtyBitmap(main, graph.node('n'), { name: each, granularity: 512 })
            markDirty(bitmap, each.length * 4096, 4096)
          }
          addDirtyBitmap(main, graph.node('m'), { name: 'a', granularity: 1024, disabled: true })
          setBitmapBusy(main, graph.node('n'), requireDirtyBitmap(graph.node('n'), 'busy'), true)
          const before = snapshot()
          try {
            const prepared = await prepareBitmapActions(main, graph, actions)
            prepared.abort()
          } catch (error) {
            expect(error).toBeInstanceOf(BlockError)
          }
          expect(snapshot()).toEqual(before)
        }),
      ),
      { numRuns: 300 },
    )
  })
})
