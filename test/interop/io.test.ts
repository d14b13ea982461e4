// blockgraph-io against the real qemu-io: the same commands in two folders with the same files give the same output, exit
// code and files; only the digits of times and rates, the tool's name and generated node names may differ.

import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { main } from '../../src/cli/io/main.js'
import { type PeerRun, peer } from '../support/peers.js'
import { recordingHost } from '../unit/cli/io/recording-host.js'
import { IO_CASES, type IoCase, ioFixtures } from './io-commands.js'

const launcher = fileURLToPath(new URL('../../bin/blockgraph-io.js', import.meta.url))
const home = process.cwd()
const fixtures = ioFixtures()
let root = ''
let theirs = ''
let ours = ''

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'blockgraph-io-'))
  theirs = join(root, 'theirs')
  ours = join(root, 'ours')
  for (const folder of [theirs, ours]) {
    mkdirSync(folder)
    restore(folder)
  }
})

afterAll(() => {
  process.chdir(home)
  rmSync(root, { recursive: true, force: true })
})

const named = IO_CASES.map((each) => ({ each, line: lineOf(each) }))

test.each(named)('$line', async ({ each }) => {
  const qemu = peer('qemu-io')
  const args = [...(each.commands ?? []).flatMap((command) => ['-c', command]), ...each.args]
  const expected = qemu.run(args, { cwd: theirs, input: each.input ?? '' })
  const actual = await runOurs(args, ours, each.input ?? '')
  const [theirFiles, ourFiles] = [restore(theirs), restore(ours)]
  if (each.out !== 'any') expect(output(each, actual.stdout)).toBe(output(each, expected.stdout))
  if (each.err !== 'any') expect(errors(each, actual.stderr)).toBe(errors(each, expected.stderr))
  expect(actual.status).toBe(expected.status)
  expect(ourFiles).toEqual(theirFiles)
})

function lineOf({ args, commands = [], input }: IoCase): string {
  const said = input === undefined ? '' : ` <<< ${JSON.stringify(input)}`
  return [...args, '|', commands.join('; ')].join(' ') + said
}

async function runOurs(args: readonly string[], cwd: string, input: string): Promise<PeerRun> {
  const host = recordingHost('blockgraph-io', input)
  process.chdir(cwd)
  const status = await main(args, host)
  process.chdir(home)
  return { status, stdout: host.stdout, stderr: host.stderr }
}

const RATES =
  /; (\d\d\.\d\d sec|\d+:\d\d:\d\d\.\d\d) \(\d+(\.\d{3}|\.\d{6})? (bytes|[KMGTPE]iB)\/sec and \d+\.\d{4} ops\/sec\)/g
const MACHINE_RATES = /^(\d+,\d+),\d+:\d\d:\d\d\.\d\d,\d+\.\d{3},\d+\.\d{3}$/gm

function output({ out }: IoCase, text: string): string {
  const masked = renamed(text).replace(RATES, '; T (R/sec and N ops/sec)').replace(MACHINE_RATES, '$1,T,R,N')
  return out === 'sorted' ? masked.split('\n').sort().join('\n') : masked
}

function errors({ err }: IoCase, text: string): string {
  const said = renamed(text)
    .replaceAll(/#block\d+/g, '#block')
    .replace(/^\/.*\/blockgraph-io:/, 'blockgraph-io:')
    .replaceAll('\t', '\\x09')
  return err === 'until' ? said.replace(/(can't open[^:]*: ).*/, '$1') : said
}

function renamed(text: string): string {
  return text.replaceAll('qemu-io', 'blockgraph-io')
}

/** Puts the fixtures back where a run has changed them; gives what had changed, as text. */
function restore(folder: string): Record<string, string> {
  const changed: Record<string, string> = {}
  const found = new Set(readdirSync(folder))
  for (const [name, content] of Object.entries(fixtures)) {
    const now = found.delete(name) ? readFileSync(join(folder, name)) : undefined
    if (now?.equals(content) === true) continue
    writeFileSync(join(folder, name), content)
    if (now !== undefined) changed[name] = now.toString('latin1')
  }
  for (const name of found) {
    changed[name] = readFileSync(join(folder, name), 'latin1')
    rmSync(join(folder, name))
  }
  return changed
}

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
  const run = spawnSync(process.execPath, [launcher, ...args], { cwd: ours, encoding: 'utf8' })
  expect(run).toMatchObject({ status: 1, stdout: "blkdebug: Suspended request 'a'\n" })
  expect(run.stderr).toMatch(/^blockgraph-io: requests are suspended/)
})
