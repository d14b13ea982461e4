import { describe, expect, it } from 'vitest'
import { setWriteThreshold, writeThreshold } from '../../../src/global-state/write-threshold.js'
import { inMainLoop, stubNode } from '../../support/stub-node.js'

describe('write threshold', () => {
  it('is armed and disarmed, and sends writes through the careful path', () =>
    inMainLoop((main) => {
      const node = stubNode('n', 4096)
      expect(writeThreshold(node)).toBe(0)
      setWriteThreshold(main, node, 2048)
      expect(writeThreshold(node)).toBe(2048)
      expect(node.state.writeGates).not.toBe(0)
      setWriteThreshold(main, node, 0)
      expect([writeThreshold(node), node.state.writeGates]).toEqual([0, 0])
    }))

  it.each([-1, 1.5, Number.NaN, 2 ** 53])('refuses %d', (bytes) =>
    inMainLoop((main) => {
      const node = stubNode('n', 4096)
      expect(() => setWriteThreshold(main, node, bytes)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
      expect(writeThreshold(node)).toBe(0)
    }),
  )
})
