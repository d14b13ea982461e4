import { expect, test } from 'vitest'
import { specificInfoText } from '../../../src/cli/specific-info.js'

test('facts are lines, what is nested is indented, and nothing drives the terminal', () => {
  const facts = {
    compat: '1.1',
    'lazy-refcounts': false,
    bitmaps: [{ flags: ['in-use', 'auto'], name: 'b\x1b', granularity: 65536 }],
    encrypt: { format: 'luks', slots: [] },
    missing: undefined,
    'refcount-bits': 16,
  }
  const lines = [
    'Format specific information:',
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
    '',
  ]
  expect(specificInfoText(facts).split('\n')).toEqual(lines)
  expect(specificInfoText({ type: 'qcow2', data: facts }).split('\n')).toEqual(lines)
})
