// blockgraph-img against the real qemu-img on images with backing files: the same command line in two folders with the same
// chain gives the same output and exit code, and images that show the same, are sound in the eyes of both, and where the
// order of writes is no matter of time, are the same byte by byte.

import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { findProgram } from '../support/find-program.js'
import { type Peer, peer } from '../support/peers.js'
import { compareErrors, compareOutput, type ImgCase, runOurs } from '../support/tool-pair.js'
import { CHAIN_CASES, CHAIN_IMAGES } from './chain-commands.js'
import { QCOW2_CASES } from './qcow2-commands.js'

let root = ''

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'blockgraph-chain-'))
  if (findProgram('qemu-img') !== undefined) makeFixtures(join(root, 'fixtures'))
})

afterAll(() => {
  rmSync(root, { recursive: true, force: true })
})

test.each([...CHAIN_CASES, ...QCOW2_CASES].map(lineOf))('$line', async ({ each, index }) => {
  const qemu = peer('qemu-img')
  const [theirs, ours] = [join(root, `${index}-theirs`), join(root, `${index}-ours`)]
  for (const folder of [theirs, ours]) cpSync(join(root, 'fixtures'), folder, { recursive: true })
  const expected = qemu.run(each.args, { cwd: theirs })
  const actual = await runOurs(each.args, ours)
  expect(actual.status, actual.stderr).toBe(expected.status)
  compareOutput(each, actual.stdout, expected.stdout)
  compareErrors(each, actual.stderr, expected.stderr)
  for (const file of each.files ?? []) {
    expect(samePaddedBytes(readFileSync(join(ours, file)), readFileSync(join(theirs, file))), file).toBe(true)
  }
  for (const image of each.images ?? []) compareImages(qemu, join(ours, image), join(theirs, image))
  for (const folder of [theirs, ours]) rmSync(folder, { recursive: true })
})

function lineOf(each: ImgCase, index: number): { each: ImgCase; index: number; line: string } {
  return { each, index, line: each.args.join(' ') }
}

/** A cluster at the end of our files may be a hole as far as nothing was written there; theirs are whole. */
function samePaddedBytes(ours: Buffer, theirs: Buffer): boolean {
  return ours.equals(theirs.subarray(0, ours.length)) && theirs.subarray(ours.length).every((byte) => byte === 0)
}

function compareImages(qemu: Peer, ours: string, theirs: string): void {
  expect(qemu.run(['compare', ours, theirs]), ours).toMatchObject({ status: 0 })
  if (ours.endsWith('.qcow2')) expect(qemu.run(['check', ours]), ours).toMatchObject({ status: 0, stderr: '' })
}

function makeFixtures(folder: string): void {
  const made = spawnSync('sh', ['-ec', `mkdir ${folder}; cd ${folder}\n${CHAIN_IMAGES}`], { encoding: 'utf8' })
  expect(made).toMatchObject({ status: 0 })
}
