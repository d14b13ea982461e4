// blockgraph-io against the real qemu-io on raw images, and the launcher.

import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { builtProgram } from '../support/built-program.js'
import { peer } from '../support/peers.js'
import { IO_CASES, ioFixtures } from './io-commands.js'
import { IoPair, lineOf, renamed } from './io-pair.js'

const launcher = builtProgram('blockgraph-io')
let root = ''
let pair: IoPair

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'blockgraph-io-'))
  pair = new IoPair(root, ioFixtures())
})

afterAll(() => {
  rmSync(root, { recursive: true, force: true })
})

test.each(IO_CASES.map((each) => ({ each, line: lineOf(each) })))('$line', ({ each }) => pair.compare(each))

test.each([
  ['a command that fails', ['-c', 'foo'], 1],
  ['a signal', ['-c', 'sigraise 15', '-c', 'length'], 'SIGTERM'],
  ['a signal that is not taken', ['-c', 'sigraise 10', '-c', 'sigraise 13', '-c', 'sigraise 65', '-c', 'sleep 1'], 0],
  ['a crash', ['-c', 'abort'], 'SIGABRT'],
] as const)('the launcher ends as the real tool does: %s', (_name, args, how) => {
  const theirs = spawnSync(peer('qemu-io').path, args, { encoding: 'utf8' })
  const ours = spawnSync(process.execPath, [launcher, ...args], { encoding: 'utf8' })
  expect(ours.signal ?? ours.status).toBe(how)
  expect(theirs.signal ?? theirs.status).toBe(how)
  expect(renamed(ours.stderr)).toBe(renamed(theirs.stderr))
})

test('the launcher prompts for the lines of standard input', () => {
  const run = spawnSync(process.execPath, [launcher], { input: 'help length\nfoo\n', encoding: 'utf8' })
  expect(run).toMatchObject({ status: 1, stderr: 'command "foo" not found\n' })
  expect(run.stdout).toBe(
    'blockgraph-io> length -- gets the length of the current file\nblockgraph-io> blockgraph-io> ',
  )
})

test('a request that nobody is left to resume ends the tool with a message', () => {
  const image = 'driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename=p.img'
  const args = ['-c', 'break write_aio a', '-c', 'write 0 512', '--image-opts', image]
  const run = spawnSync(process.execPath, [launcher, ...args], { cwd: pair.ours, encoding: 'utf8' })
  expect(run).toMatchObject({ status: 1, stdout: "blkdebug: Suspended request 'a'\n" })
  expect(run.stderr).toMatch(/^blockgraph-io: requests are suspended/)
})
