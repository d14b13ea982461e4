// info of qcow2 images, and check as a command line, beside the real qemu-img: the same words for the same images.

import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { findProgram } from '../support/find-program.js'
import { peer } from '../support/peers.js'
import { ImageBytes } from '../support/qcow2-bytes.js'
import { compareErrors, compareOutput, type ImgCase, runOurs } from '../support/tool-pair.js'

const FIXTURES = `
qemu-img create -q -f raw base.raw 1M
qemu-img create -q -f qcow2 plain.qcow2 1M
qemu-img create -q -f qcow2 -o compat=0.10 old.qcow2 1M
qemu-img create -q -f qcow2 -b base.raw -F raw over.qcow2
qemu-img create -q -f qcow2 -b over.qcow2 -F qcow2 top.qcow2
qemu-img create -q -f qcow2 -o data_file=outer.data outer.qcow2 1M
qemu-img create -q -f qcow2 -o data_file=raw.data,data_file_raw=on raw.qcow2 1M
qemu-img create -q -f qcow2 -o extended_l2=on,lazy_refcounts=on,compression_type=zstd,refcount_bits=64 wide.qcow2 1M
qemu-img create -q -f qcow2 marked.qcow2 1M
qemu-img bitmap --add marked.qcow2 first
qemu-img bitmap --add -g 128k marked.qcow2 second
qemu-img bitmap --disable marked.qcow2 second
qemu-img create -q -f qcow2 kept.qcow2 1M
qemu-img snapshot -c one kept.qcow2
qemu-img snapshot -c 'a snapshot with a long name' kept.qcow2
qemu-img create -q -f qcow2 -u -b nowhere.raw -F raw missing.qcow2 1M
qemu-img create -q -f qcow2 -u -b ring2.qcow2 -F qcow2 ring1.qcow2 1M
qemu-img create -q -f qcow2 -u -b ring1.qcow2 -F qcow2 ring2.qcow2 1M
qemu-img create -q -f qcow2 -o cluster_size=512 small.qcow2 1M
qemu-io -c 'write 0 4k' small.qcow2 >/dev/null
mkdir folder; cp over.qcow2 folder/
for name in dirty corrupt leaky broken rebuilt unread; do cp small.qcow2 $name.qcow2; done
`

const IMAGES = [
  'plain',
  'old',
  'over',
  'top',
  'outer',
  'raw',
  'wide',
  'marked',
  'kept',
  'missing',
  'ring1',
  'dirty',
  'corrupt',
  'folder/over',
]

const DAMAGED = ['plain', 'small', 'dirty', 'corrupt', 'leaky', 'broken', 'rebuilt', 'unread']

const JSON_NAME = 'json:{"driver":"qcow2","file":{"driver":"file","filename":"folder/over.qcow2"}}'

const CASES: ImgCase[] = [
  ...IMAGES.flatMap((name): ImgCase[] => [
    { args: ['info', `${name}.qcow2`] },
    { args: ['info', '--output=json', `${name}.qcow2`], out: 'json' },
    { args: ['info', '--backing-chain', `${name}.qcow2`] },
  ]),
  { args: ['info', '--backing-chain', '--output=json', 'top.qcow2'], out: 'json' },
  { args: ['info', '--backing-chain', '-f', 'qcow2', '-U', 'top.qcow2'] },
  { args: ['info', '--backing-chain', '--image-opts', 'driver=qcow2,file.filename=top.qcow2'] },
  { args: ['info', '-f', 'raw', 'plain.qcow2'] },
  { args: ['info', '-f', 'qcow2', 'base.raw'] },
  { args: ['info', JSON_NAME] },
  ...DAMAGED.flatMap((name): ImgCase[] => [
    { args: ['check', `${name}.qcow2`] },
    { args: ['check', '--output=json', '-f', 'qcow2', `${name}.qcow2`], out: 'json' },
    { args: ['check', '-r', 'leaks', `${name}.qcow2`], err: name === 'unread' ? 'any' : 'same' },
    { args: ['check', '-q', `${name}.qcow2`] },
  ]),
  ...['small', 'dirty', 'corrupt', 'leaky', 'broken', 'rebuilt'].flatMap((name): ImgCase[] => [
    { args: ['check', '-r', 'all', `${name}.qcow2`], images: [`${name}.qcow2`] },
    { args: ['check', '-r', 'all', '--output=json', `${name}.qcow2`], out: 'json' },
  ]),
  { args: ['check'] },
  { args: ['check', 'small.qcow2', 'plain.qcow2'] },
  { args: ['check', '-f', 'raw', 'base.raw'] },
  { args: ['check', '-q', 'base.raw'] },
  { args: ['check', '-r', 'all', 'base.raw'] },
  { args: ['check', 'nowhere.qcow2'] },
  { args: ['check', ''] },
  { args: ['check', '.'] },
  { args: ['check', '-r', 'some', 'small.qcow2'] },
  { args: ['check', '-r'] },
  { args: ['check', '--output=xml', 'small.qcow2'] },
  { args: ['check', '-T', 'quick', 'small.qcow2'] },
  { args: ['check', '-T', 'none', 'small.qcow2'] },
  { args: ['check', '-f', 'qcow2', 'base.raw'] },
  { args: ['check', '-f', 'nothing', 'small.qcow2'] },
  { args: ['check', '--image-opts', 'driver=qcow2,file.filename=leaky.qcow2'] },
  { args: ['check', '--output=json', '--image-opts', 'driver=qcow2,file.filename=leaky.qcow2'], out: 'json' },
  { args: ['check', '-f', 'qcow2', '--image-opts', 'driver=qcow2,file.filename=leaky.qcow2'] },
  { args: ['check', '-U', 'leaky.qcow2'] },
  { args: ['check', '-U', '-r', 'all', 'leaky.qcow2'], err: 'until' },
  { args: ['check', JSON_NAME] },
  { args: ['check', 'missing.qcow2'], err: 'until' },
  { args: ['check', 'outer.qcow2'] },
  { args: ['check', 'kept.qcow2'] },
  { args: ['check', 'marked.qcow2'] },
  { args: ['check', '--object', 'secret,id=s0,data=x', 'small.qcow2'] },
  { args: ['check', '--object', 'nothing', 'small.qcow2'] },
  { args: ['check', 'null-co://'] },
]

let root = ''

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'blockgraph-info-'))
  if (findProgram('qemu-img') === undefined) return
  const folder = join(root, 'fixtures')
  const made = spawnSync('sh', ['-ec', `mkdir ${folder}; cd ${folder}\n${FIXTURES}`], { encoding: 'utf8' })
  expect(made).toMatchObject({ status: 0 })
  damage(join(folder, 'dirty.qcow2'), (image) => image.put64(72, 1))
  damage(join(folder, 'corrupt.qcow2'), (image) => image.put64(72, 3))
  damage(join(folder, 'leaky.qcow2'), (image) => image.setRefcount(12, 3n))
  damage(join(folder, 'broken.qcow2'), (image) => image.setEntry(1, image.entry(0)))
  damage(join(folder, 'rebuilt.qcow2'), (image) => image.setRefcount(7, 0n))
  damage(join(folder, 'unread.qcow2'), (image) => image.put64(image.refcountTableAt, 1n << 63n))
})

afterAll(() => {
  rmSync(root, { recursive: true, force: true })
})

function damage(path: string, change: (image: ImageBytes) => void): void {
  const image = new ImageBytes(new Uint8Array(readFileSync(path)))
  change(image)
  writeFileSync(path, image.bytes)
}

test.each(CASES.map((each, index) => ({ each, index, line: each.args.join(' ') })))(
  '$line',
  async ({ each, index }) => {
    const qemu = peer('qemu-img')
    // Most command lines change nothing and need no copies.
    const fixtures = join(root, 'fixtures')
    const repairs = each.args.includes('-r')
    const [theirs, ours] = repairs ? [join(root, `${index}-theirs`), join(root, `${index}-ours`)] : [fixtures, fixtures]
    if (repairs) for (const folder of [theirs, ours]) cpSync(fixtures, folder, { recursive: true })
    const expected = qemu.run(each.args, { cwd: theirs })
    const actual = await runOurs(each.args, ours)
    expect(actual.status, actual.stderr).toBe(expected.status)
    compareOutput(each, actual.stdout, expected.stdout)
    compareErrors(each, actual.stderr, expected.stderr)
    for (const image of each.images ?? []) {
      expect(qemu.run(['check', image], { cwd: ours })).toMatchObject({ status: 0, stderr: '' })
      expect(qemu.run(['compare', join(ours, image), join(theirs, image)])).toMatchObject({ status: 0 })
    }
    if (repairs) for (const folder of [theirs, ours]) rmSync(folder, { recursive: true })
  },
)
