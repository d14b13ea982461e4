// blockgraph-img against the real qemu-img where images are made, measured, resized and amended: the same command line in two
// folders with the same files gives the same output and exit code, and the same images, byte by byte.

import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { findProgram } from '../support/find-program.js'
import { type Peer, peer } from '../support/peers.js'
import { compareErrors, compareOutput, runOurs } from '../support/tool-pair.js'
import { FORM_CASES, FORM_IMAGES } from './form-commands.js'

let root = ''

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'blockgraph-form-'))
  if (findProgram('qemu-img') !== undefined) makeFixtures(join(root, 'fixtures'))
})

afterAll(() => {
  rmSync(root, { recursive: true, force: true })
})

test.each(FORM_CASES.map((each, index) => ({ each, index, line: each.args.join(' ') })))(
  '$line',
  async ({ each, index }) => {
    const qemu = peer('qemu-img')
    const [theirs, ours] = [join(root, `${index}-theirs`), join(root, `${index}-ours`)]
    for (const folder of [theirs, ours]) copyFixtures(join(root, 'fixtures'), folder, each.args)
    const expected = qemu.run(each.args, { cwd: theirs })
    const actual = await runOurs(each.args, ours)
    expect(actual.status, actual.stderr).toBe(expected.status)
    compareOutput(each, actual.stdout, expected.stdout)
    compareErrors(each, actual.stderr, expected.stderr)
    for (const image of each.images ?? []) compareImages(qemu, image, ours, theirs)
    for (const file of each.files ?? []) {
      expect(sameBytes(readFileSync(join(ours, file)), readFileSync(join(theirs, file))), file).toBe('the same')
    }
    for (const folder of [theirs, ours]) rmSync(folder, { recursive: true })
  },
)

/** What the command line names, and what an image may need beside it. */
function copyFixtures(from: string, folder: string, args: readonly string[]): void {
  mkdirSync(join(folder, 'folder'), { recursive: true })
  const line = args.join(' ')
  const beside = ['base.img', ...(line.includes('ext') ? ['data.raw', 'plain.raw'] : [])]
  for (const name of readdirSync(from)) {
    if (name !== 'folder' && (line.includes(name) || beside.includes(name)))
      cpSync(join(from, name), join(folder, name))
  }
}

/** A file may end in zeroes that the other does not have. */
function sameBytes(ours: Buffer, theirs: Buffer): string {
  for (let at = 0; at < Math.max(ours.length, theirs.length); at++) {
    if ((ours[at] ?? 0) !== (theirs[at] ?? 0)) return `different at ${at.toString(16)}`
  }
  return 'the same'
}

/** Theirs looks for a data file in its working folder, so that two images of one name cannot be compared by it. */
function compareImages(qemu: Peer, image: string, ours: string, theirs: string): void {
  expect(qemu.run(['check', image], { cwd: ours }), image).toMatchObject({ status: 0, stderr: '' })
  if (image.startsWith('ext')) return
  expect(qemu.run(['compare', join(ours, image), join(theirs, image)]), image).toMatchObject({ status: 0 })
}

function makeFixtures(folder: string): void {
  const made = spawnSync('sh', ['-ec', `mkdir ${folder}; cd ${folder}\n${FORM_IMAGES}`], { encoding: 'utf8' })
  expect(made).toMatchObject({ status: 0 })
}
