// blockgraph-img against the real qemu-img: the same command line in two folders with the same files gives the same standard
// output and exit code, the same words on standard error but for the tool's name, and the same files.

import { spawnSync } from 'node:child_process'
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { builtProgram } from '../support/built-program.js'
import { peer } from '../support/peers.js'
import { compareErrors, compareOutput, runOurs } from '../support/tool-pair.js'
import { IMG_CASES } from './img-commands.js'

const MiB = 1024 * 1024
const launcher = builtProgram('blockgraph-img')
let root = ''

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'blockgraph-img-'))
})

afterAll(() => {
  rmSync(root, { recursive: true, force: true })
})

test.each(IMG_CASES.map((each, index) => ({ each, index, line: each.args.join(' ') })))(
  '$line',
  async ({ each, index }) => {
    const qemu = peer('qemu-img')
    const [theirs, ours] = [join(root, `${index}-theirs`), join(root, `${index}-ours`)]
    makeFixtures(theirs)
    makeFixtures(ours)
    const expected = qemu.run(each.args, { cwd: theirs })
    const actual = await runOurs(each.args, ours)
    expect(actual.status).toBe(expected.status)
    compareOutput(each, actual.stdout, expected.stdout)
    compareErrors(each, actual.stderr, expected.stderr)
    for (const file of each.files ?? []) compareFiles(join(ours, file), join(theirs, file))
    for (const folder of [theirs, ours]) rmSync(folder, { recursive: true })
  },
)

test('the launcher prints, sets the exit code and ends', () => {
  const folder = join(root, 'launcher')
  makeFixtures(folder)
  const good = spawnSync(process.execPath, [launcher, 'info', 'd.img'], { cwd: folder, encoding: 'utf8' })
  expect(good).toMatchObject({ status: 0, stderr: '' })
  expect(good.stdout).toContain('virtual size: 1 MiB (1048576 bytes)')
  const bad = spawnSync(process.execPath, [launcher, 'compare', 'd.img', 'nope.img'], { cwd: folder, encoding: 'utf8' })
  expect(bad).toMatchObject({ status: 2, stdout: '' })
  expect(bad.stderr).toMatch(/^blockgraph-img: Could not open 'nope.img': /)
})

function compareFiles(ours: string, theirs: string): void {
  expect(readFileSync(ours).equals(readFileSync(theirs))).toBe(true)
  // Theirs has its first block written when it is created; a file system may take a block more here and there.
  expect(statSync(ours).blocks).toBeLessThanOrEqual(statSync(theirs).blocks + 8)
}

function makeFixtures(folder: string): void {
  mkdirSync(folder)
  const make = (name: string, length: number, parts: readonly (readonly [number, Uint8Array | string])[]) => {
    const fd = openSync(join(folder, name), 'w')
    for (const [offset, data] of parts) {
      const bytes = typeof data === 'string' ? new TextEncoder().encode(data) : data
      writeSync(fd, bytes, 0, bytes.byteLength, offset)
    }
    ftruncateSync(fd, length)
    closeSync(fd)
  }
  const noise = pattern(MiB)
  make('x.img', MiB, [[65536, 'hello']])
  make('x2.img', MiB, [
    [65536, 'hello'],
    [262144, new Uint8Array(8192)],
  ])
  make('d.img', MiB, [[0, noise]])
  make('e.img', MiB, [
    [0, noise],
    [70000, '\0\0\0'],
  ])
  make('y.img', 2 * MiB, [])
  make('long.img', 2 * MiB, [[65536, 'hello']])
  make('longer.img', 2 * MiB, [
    [65536, 'hello'],
    [1500000, 'z'],
  ])
  // Zero runs of many lengths inside allocated data.
  make('mixed.img', MiB, [[0, mixed(MiB)]])
  make('odd.img', 1001, [[0, noise.subarray(0, 900)]])
  make('zero.img', 0, [])
  make('small.img', MiB / 2, [])
  make('big.img', 1_500_000_000_000, [])
  make('near.img', 1_044_480, [])
}

function pattern(bytes: number): Uint8Array {
  const buffer = new Uint8Array(bytes)
  let state = 1
  for (let at = 0; at < bytes; at++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    buffer[at] = (state >>> 16) | 1
  }
  return buffer
}

function mixed(bytes: number): Uint8Array {
  const buffer = pattern(bytes)
  let at = 512
  for (let run = 512; at + run < bytes; run += 1536) {
    buffer.fill(0, at, at + run)
    at += run + 2048
  }
  return buffer
}
