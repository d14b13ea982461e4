import { describe, expect, it } from 'vitest'
import { BlockGraph } from '../../../src/global-state/graph.js'
import { isWellFormedNodeName } from '../../../src/global-state/node-name.js'

describe('names of nodes and backends', () => {
  it.each(['a', 'Z9', 'disk0', 'a-b.c_d', 'x'.repeat(31)])('takes %s', (name) => {
    expect(isWellFormedNodeName(name)).toBe(true)
  })

  it.each(['', '0disk', '-a', '.a', '_a', '#block001', 'a b', 'a/b', 'ä', 'a\n', 'x'.repeat(32)])(
    'refuses %j',
    (name) => {
      expect(isWellFormedNodeName(name)).toBe(false)
    },
  )

  it('are generated so that nobody can type them, and never twice', async () => {
    const graph = new BlockGraph({ drivers: [] })
    await graph.mainLoop(async (main) => {
      const names = [1, 2, 3].map(() => graph.reserveName(main, undefined))
      expect(new Set(names).size).toBe(3)
      for (const name of names) {
        expect(name).toMatch(/^#block\d+$/)
        expect(isWellFormedNodeName(name)).toBe(false)
      }
      expect(graph.reserveName(main, 'mine')).toBe('mine')
      expect(() => graph.reserveName(main, 'mine')).toThrow(expect.objectContaining({ code: 'EEXIST' }))
      expect(() => graph.reserveName(main, '#block001')).toThrow(expect.objectContaining({ code: 'EINVAL' }))
      graph.releaseName(main, 'mine')
      expect(graph.reserveName(main, 'mine')).toBe('mine')
    })
  })
})
