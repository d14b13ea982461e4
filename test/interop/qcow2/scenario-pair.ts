// Command lines given to blockgraph-img and to the real qemu-img on the same image, and what comes of it compared.

import { spawnSync } from 'node:child_process'
import { cpSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { type Peer, peer } from '../../support/peers.js'
import { ImageBytes } from '../../support/qcow2-bytes.js'
import { comparableImage, firstDifferentCluster } from '../../support/qcow2-compare.js'
import { compareErrors, type ImgCase, runOurs } from '../../support/tool-pair.js'

/** `make` is a shell script that makes `a.qcow2`; `steps` are command lines of the tool. */
export interface ToolScenario {
  name: string
  make: string
  steps: readonly (readonly string[] | ImgCase)[]
  /** What the image holds is beyond comparison, since it was damaged before. */
  damaged?: boolean
}

/** A line of shell that makes the image. */
export function createLine(options: string, size: string): string {
  return `qemu-img create -q -f qcow2 ${options} a.qcow2 ${size}\n`
}

/** A line of shell that runs commands on the image. */
export function ioLine(...commands: readonly string[]): string {
  return `qemu-io ${commands.map((command) => `-c '${command}'`).join(' ')} a.qcow2 > /dev/null\n`
}

/**
 * Lines of shell that write numbers into the image: each edit is place, format of Python's struct, value. A place counts from
 * the start, or from `snapshots` or `bitmaps`: the snapshot table, the bitmap directory, or from `extension`: the data of the
 * bitmaps extension.
 */
export function patchLine(...edits: readonly string[]): string {
  return `python3 - ${edits.map((edit) => `'${edit}'`).join(' ')} <<'P'
import sys, struct
image = bytearray(open('a.qcow2', 'rb').read())
number = lambda at: struct.unpack('>Q', image[at:at + 8])[0]
word = lambda at: struct.unpack('>I', image[at:at + 4])[0]
snapshots = number(64)
extension = 112
while word(extension) not in (0, 0x23852875):
    extension += 8 + (word(extension + 4) + 7) // 8 * 8
extension += 8
bitmaps = number(extension + 16)
table = number(bitmaps) if bitmaps < len(image) else 0
for edit in sys.argv[1:]:
    at, form, value = edit.split(',')
    at = eval(at)
    image[at:at + struct.calcsize(form)] = struct.pack(form, int(value, 0))
open('a.qcow2', 'wb').write(image)
P
`
}

/** Two folders with the same image, one for each tool. */
export interface Pair {
  qemu: Peer
  io: Peer
  ours: string
  theirs: string
}

/** Makes both folders below `root` by the shell script `make`. */
export function makePair(root: string, name: string, make: string): Pair {
  const [qemu, io] = [peer('qemu-img'), peer('qemu-io')]
  const folder = name.replaceAll(/\W/g, '-')
  const theirs = join(root, `${folder}-theirs`)
  const made = spawnSync('sh', ['-ec', `mkdir ${theirs}; cd ${theirs}\n${make}`], { encoding: 'utf8' })
  expect(made).toMatchObject({ status: 0 })
  const ours = join(root, `${folder}-ours`)
  cpSync(theirs, ours, { recursive: true })
  return { qemu, io, ours, theirs }
}

/** One command of the tool, by both: the same output but for dates, the same messages, the same exit code. */
export async function both({ qemu, ours, theirs }: Pair, step: readonly string[] | ImgCase): Promise<void> {
  const each: ImgCase = 'args' in step ? step : { args: step }
  const { args } = each
  const expected = qemu.run(args, { cwd: theirs })
  const actual = await runOurs(args, ours)
  const line = args.join(' ')
  expect(actual.status, `${line}: ${actual.stderr}`).toBe(expected.status)
  expect(withoutDates(actual.stdout), line).toBe(withoutDates(expected.stdout))
  compareErrors(each, actual.stderr, expected.stderr)
}

function withoutDates(text: string): string {
  return text.replaceAll(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/g, 'DATE').replaceAll(/"date-n?sec": \d+/g, '"date"')
}

/** The images are the same in all that is in use, and ours is clean in their eyes. */
export function compareFiles({ qemu, ours, theirs }: Pair): void {
  const [mine, other] = [ours, theirs].map((folder) => readFileSync(join(folder, 'a.qcow2'))) as [Buffer, Buffer]
  const { clusterSize } = new ImageBytes(other)
  expect(firstDifferentCluster(comparableImage(mine), comparableImage(other), clusterSize)).toBeUndefined()
  expect(qemu.run(['check', 'a.qcow2'], { cwd: ours })).toMatchObject({ status: 0, stderr: '' })
}
