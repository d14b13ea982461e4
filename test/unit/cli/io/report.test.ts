import { expect, test } from 'vitest'
import { dumpBuffer, exact, hexText, reportTransfer, sizeText } from '../../../../src/cli/io/report.js'
import { recordingTool } from '../recording-tool.js'

test.each([
  [0, '0 bytes'],
  [1, '1 bytes'],
  [1023, '1023 bytes'],
  [1024, '1 KiB'],
  [1025, '1.001 KiB'],
  [1536, '1.500 KiB'],
  [1048575, '1023.999 KiB'],
  [1048577, '1 MiB'],
  [1114112, '1.062 MiB'],
  [1245184, '1.188 MiB'],
  [10289152, '9.812 MiB'],
  [1073741823, '1024 MiB'],
  [1500000000000, '1.364 TiB'],
  [2 ** 60, '1 EiB'],
  [2 ** 63, '8 EiB'],
  [182.285064, '182.285064 bytes'],
  [0.000513, '0 bytes'],
  [7837057.1, '7.474 MiB'],
])('the size %d', (bytes, text) => {
  expect(sizeText(bytes)).toBe(text)
})

const report = (seconds: number, machine = false, bytes = 512) => {
  const tool = recordingTool()
  reportTransfer(tool, { done: 'wrote', offset: 1024, bytes, seconds }, machine)
  return tool.stdout
}

test('figures of a request', () => {
  expect(report(0.25)).toBe(
    'wrote 512/512 bytes at offset 1024\n512 bytes, 1 ops; 00.25 sec (2 KiB/sec and 4.0000 ops/sec)\n',
  )
  expect(report(1.5)).toContain('1 ops; 0:00:01.50 (341.333333 bytes/sec and 0.6667 ops/sec)\n')
  expect(report(3725.99)).toContain('1 ops; 1:02:05.98 (')
  expect(report(0.25, true)).toBe('512,1,0:00:00.25,2048.000,4.000\n')
  expect(report(0, false, 0)).toMatch(
    /^wrote 0\/0 bytes at offset 1024\n0 bytes, 1 ops; 00\.00 sec \(0 bytes\/sec and /,
  )
})

test('the content of a buffer', () => {
  const tool = recordingTool()
  dumpBuffer(tool, new TextEncoder().encode('Hello, world 123 {}'), 2 ** 33 + 3)
  expect(tool.stdout).toBe(
    '200000003:  48 65 6c 6c 6f 2c 20 77 6f 72 6c 64 20 31 32 33  Hello..world.123\n200000013:  20 7b 7d  ...\n',
  )
  dumpBuffer(tool, new Uint8Array(0), 0)
  expect(tool.stdout.split('\n')).toHaveLength(3)
})

test('large numbers keep their digits', () => {
  expect(exact(2 ** 70)).toBe('1180591620717411303424')
  expect([hexText(0), hexText(255), hexText(2 ** 60)]).toEqual(['0x0', '0xff', '0x1000000000000000'])
})
