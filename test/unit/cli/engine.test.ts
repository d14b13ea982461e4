import { expect, test } from 'vitest'
import { engineFlags, paysTuning } from '../../../src/cli/engine.js'

test('the optimiser is held back only where it would take a processor from the data', () => {
  expect(engineFlags(1)).toEqual(engineFlags(2))
  expect(engineFlags(2)).toContain('--interrupt-budget=800000')
  expect(engineFlags(3)).toEqual(['--always-sparkplug'])
})

test('a command that moves little is left as it is', () => {
  expect(paysTuning(0)).toBe(false)
  expect(paysTuning(64 * 1024 * 1024)).toBe(true)
})
