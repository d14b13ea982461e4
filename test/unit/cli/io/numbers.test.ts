import { describe, expect, test } from 'vitest'
import { CommandFailure } from '../../../../src/cli/io/command.js'
import { byteCount, exactByteCount, patternByte, signedNumber } from '../../../../src/cli/io/numbers.js'
import { withShell } from './with-shell.js'

describe('offsets and lengths', () => {
  test.each([
    ['0', 0n],
    ['512', 512n],
    ['+5', 5n],
    ['010', 10n],
    ['0x10', 16n],
    ['0X1f', 31n],
    ['1k', 1024n],
    ['1.5K', 1536n],
    ['+1.5k', 1536n],
    ['1.', 1n],
    ['1b', 1n],
    ['0.1k', 102n],
    ['0.0015k', 2n],
    ['1.999999999999k', 2048n],
    ['1E', 2n ** 60n],
    ['9223372036854775807', 2n ** 63n - 1n],
  ])('%s', async (text, expected) => {
    await withShell(async (shell) => expect(exactByteCount(shell, text)).toBe(expected))
  })

  test.each(['', 'x', '-1', '-0', '1MB', '1kk', '.5k', '1.5', '1.5b', '0x', '0x1.8k', '1e3', 'nan', '1Z', ' 1'])(
    'not %j',
    async (text) => {
      const message = `Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- ${text}`
      await withShell(async (shell) => expect(() => byteCount(shell, text)).toThrow(new CommandFailure(message)))
    },
  )

  test.each(['9223372036854775808', '8E', '99999999999999999999999', '0xffffffffffffffff'])(
    'too large: %s',
    async (text) => {
      await withShell(async (shell) => {
        expect(() => byteCount(shell, text)).toThrow(`Parsing error: argument too large -- ${text}`)
      })
    },
  )

  test('a suffix behind hexadecimal digits is warned about, and what is shown is chosen', async () => {
    await withShell(async (shell, host) => {
      expect(byteCount(shell, '0x10k')).toBe(16384)
      expect(byteCount(shell, '0x10b')).toBe(0x10b)
      expect(host.stderr).toBe('tool: warning: Using a multiplier suffix on hex numbers is deprecated: 0x10k\n')
      expect(() => exactByteCount(shell, 'x', '-m')).toThrow('suffix -- -m')
    })
  })
})

test('signed numbers tell their base', () => {
  expect(['10', '-10', '+0x1F', '017', '0', '-0'].map(signedNumber)).toEqual([10n, -10n, 31n, 15n, 0n, 0n])
  for (const bad of ['', '09', '1k', '1.5', 'x', '--1', '0x', '"1"']) expect(signedNumber(bad)).toBeUndefined()
})

test('a pattern is a byte', () => {
  expect(['0', '255', '0xff', '010'].map(patternByte)).toEqual([0, 255, 255, 8])
  for (const bad of ['256', '-1', 'x', '1k', '99999999999999999999']) {
    expect(() => patternByte(bad)).toThrow(new CommandFailure(`${bad} is not a valid pattern byte`))
  }
})
