import { expect, test } from 'vitest'
import { specificInfoLines } from '../../../src/cli/specific-info.js'

test('facts are lines, what is nested is indented, and nothing drives the terminal', () => {
  const facts = {
    compat: '1.1',
    'lazy-refcounts': false,
    bitmaps: [{ flags: ['in-use', 'auto'], name: 'b\x1b', granularity: 65536 }],
    encrypt: { format: 'luks', slots: [] },
    missing: undefined,
    'refcount-bits': 16,
  }
  expect(specificInfoLines(facts)).toEqual([
    '    compat: 1.1',
    '    lazy refcounts: false',
    '    bitmaps:',
    '        [0]:',
    '            flags:',
    '                [0]: in-use',
    '                [1]: auto',
    '            name: b\\x1b',
    '            granularity: 65536',
    '    encrypt:',
    '        format: luks',
    '        slots:',
    '    refcount bits: 16',
  ])
})
