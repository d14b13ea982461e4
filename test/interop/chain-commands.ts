// Command lines about images with backing files that blockgraph-img and qemu-img are given alike, and the images.

import type { ImgCase } from '../support/tool-pair.js'

/** A shell script that makes the images, by the real tools. */
export const CHAIN_IMAGES = `
img() { qemu-img create -q -f qcow2 "$@"; }
img base.qcow2 4M
qemu-io -c 'write -P 9 0 1M' -c 'write -P 8 3M 64k' base.qcow2
img -b base.qcow2 -F qcow2 mid.qcow2
qemu-io -c 'write -P 1 64k 64k' -c 'write -P 2 2M 100k' mid.qcow2
img -b mid.qcow2 -F qcow2 top.qcow2
qemu-io -c 'write -P 3 1M 200k' -c 'write -z 0 64k' -c 'write -P 4 3500k 10k' -c 'write -P 3 64k 64k' top.qcow2
img -b base.qcow2 -F qcow2 -o compat=0.10 old.qcow2
img -b base.qcow2 -F qcow2 -o cluster_size=512 tiny.qcow2
img -b base.qcow2 -F qcow2 -o extended_l2=on,lazy_refcounts=on sub.qcow2
img -b base.qcow2 -F qcow2 snap.qcow2
img -b base.qcow2 -F qcow2 bitmap.qcow2
img -b base.qcow2 -F qcow2 grown.qcow2
for each in old tiny sub snap bitmap grown; do qemu-io -c 'write -P 5 200k 300k' -c 'discard 64k 64k' $each.qcow2; done
qemu-img snapshot -c one snap.qcow2
qemu-img bitmap --add bitmap.qcow2 dirty
qemu-img resize -q grown.qcow2 1100M
qemu-img create -q -f raw flat.img 1M
qemu-io -f raw -c 'write -P 7 0 1M' flat.img
img -b flat.img -F raw onflat.qcow2 2M
qemu-io -c 'write -P 2 1M 200k' -c 'write -z 128k 64k' onflat.qcow2
img -b flat.img -F raw short.qcow2 512k
head -c 1000k /dev/zero | tr '\\0' a > odd.img
img -b odd.img -F raw onodd.qcow2 8M
img lone.qcow2 1M
img -u -b gone.qcow2 -F qcow2 broken.qcow2 1M
cp base.qcow2 other.qcow2
qemu-io -c 'write -P 6 512k 700k' -c 'write -z 3M 64k' other.qcow2
img -b other.qcow2 -F qcow2 onother.qcow2
img wide.qcow2 8M
img narrow.qcow2 1M
qemu-io -c 'write -P 9 0 1M' -c 'write -P 7 6M 64k' wide.qcow2
qemu-img convert -c -O qcow2 top.qcow2 packed.qcow2
img -o preallocation=metadata ahead.qcow2 1M
img -o data_file=apart.raw apart.qcow2 1M
qemu-io -c 'write -P 3 64k 100k' -c 'write -z 512k 64k' apart.qcow2
`

const COMMIT: ImgCase[] = [
  { args: ['commit', 'top.qcow2'], files: ['top.qcow2'], images: ['mid.qcow2', 'top.qcow2'] },
  { args: ['commit', '-f', 'qcow2', '-p', 'top.qcow2'], progress: 'ends', images: ['mid.qcow2', 'top.qcow2'] },
  { args: ['commit', '-q', '-p', 'top.qcow2'], images: ['mid.qcow2', 'top.qcow2'] },
  { args: ['commit', '-d', 'top.qcow2'], files: ['top.qcow2'], images: ['mid.qcow2', 'top.qcow2'] },
  { args: ['commit', '-b', 'mid.qcow2', 'top.qcow2'], files: ['top.qcow2'], images: ['mid.qcow2'] },
  { args: ['commit', '-b', 'base.qcow2', 'top.qcow2'], files: ['top.qcow2', 'mid.qcow2'], images: ['base.qcow2'] },
  { args: ['commit', '-b', './base.qcow2', '-r', '100M', 'top.qcow2'], images: ['base.qcow2', 'top.qcow2'] },
  { args: ['commit', '-t', 'none', 'top.qcow2'], images: ['mid.qcow2', 'top.qcow2'] },
  { args: ['commit', '-t', 'writethrough', 'old.qcow2'], files: ['old.qcow2'], images: ['base.qcow2'] },
  { args: ['commit', 'tiny.qcow2'], files: ['tiny.qcow2'], images: ['base.qcow2'] },
  { args: ['commit', 'sub.qcow2'], files: ['sub.qcow2'], images: ['base.qcow2'] },
  { args: ['commit', 'snap.qcow2'], images: ['base.qcow2', 'snap.qcow2'] },
  { args: ['commit', 'bitmap.qcow2'], images: ['base.qcow2', 'bitmap.qcow2'] },
  { args: ['commit', 'grown.qcow2'], files: ['grown.qcow2'], images: ['base.qcow2'] },
  { args: ['commit', 'onflat.qcow2'], files: ['flat.img', 'onflat.qcow2'] },
  { args: ['commit', 'short.qcow2'], files: ['flat.img', 'short.qcow2'] },
  { args: ['commit', '--image-opts', 'driver=qcow2,file.filename=top.qcow2'], images: ['mid.qcow2'] },
  { args: ['commit'] },
  { args: ['commit', 'top.qcow2', 'mid.qcow2'] },
  { args: ['commit', 'lone.qcow2'] },
  { args: ['commit', '-f', 'raw', 'flat.img'] },
  { args: ['commit', 'broken.qcow2'] },
  { args: ['commit', 'nope.qcow2'] },
  { args: ['commit', '-b', 'nope', 'top.qcow2'] },
  { args: ['commit', '-b', 'top.qcow2', 'top.qcow2'] },
  { args: ['commit', '-b', 'file:base.qcow2', 'top.qcow2'] },
  { args: ['commit', '-t', 'bad', 'top.qcow2'] },
  { args: ['commit', '-r', 'bad', 'top.qcow2'] },
  { args: ['commit', '-f', 'foo', 'top.qcow2'] },
  { args: ['commit', '--image-opts', 'top.qcow2'] },
  { args: ['commit', '--image-opts', '-f', 'qcow2', 'driver=qcow2,file.filename=top.qcow2'] },
  { args: ['commit', '-Z', 'top.qcow2'] },
]

const OTHER_JSON = 'json:{"driver":"qcow2","file.filename":"other.qcow2"}'
const LONG = 'x'.repeat(500)

const REBASE: ImgCase[] = [
  { args: ['rebase', '-b', 'other.qcow2', '-F', 'qcow2', 'top.qcow2'], files: ['top.qcow2'], images: ['top.qcow2'] },
  { args: ['rebase', '-b', 'base.qcow2', '-F', 'qcow2', 'top.qcow2'], files: ['top.qcow2'], images: ['top.qcow2'] },
  { args: ['rebase', '-b', './mid.qcow2', '-F', 'qcow2', 'top.qcow2'], files: ['top.qcow2'], images: ['top.qcow2'] },
  { args: ['rebase', '-p', '-b', '', 'top.qcow2'], progress: 'ends', files: ['top.qcow2'], images: ['top.qcow2'] },
  { args: ['rebase', '-F', 'qcow2', '-b', '', 'top.qcow2'], files: ['top.qcow2'] },
  { args: ['rebase', '-q', '-p', '-b', 'base.qcow2', '-F', 'qcow2', 'lone.qcow2'], files: ['lone.qcow2'] },
  { args: ['rebase', '-b', 'wide.qcow2', '-F', 'qcow2', 'base.qcow2'], files: ['base.qcow2'], images: ['top.qcow2'] },
  { args: ['rebase', '-b', 'narrow.qcow2', '-F', 'qcow2', 'top.qcow2'], files: ['top.qcow2'], images: ['top.qcow2'] },
  { args: ['rebase', '-b', 'flat.img', '-F', 'raw', 'top.qcow2'], files: ['top.qcow2'], images: ['top.qcow2'] },
  { args: ['rebase', '-b', 'other.qcow2', '-F', 'raw', 'top.qcow2'], files: ['top.qcow2'] },
  { args: ['rebase', '-b', 'other.qcow2', '-F', 'qcow2', 'tiny.qcow2'], files: ['tiny.qcow2'], images: ['tiny.qcow2'] },
  { args: ['rebase', '-b', 'other.qcow2', '-F', 'qcow2', 'old.qcow2'], files: ['old.qcow2'], images: ['old.qcow2'] },
  { args: ['rebase', '-b', 'other.qcow2', '-F', 'qcow2', 'sub.qcow2'], files: ['sub.qcow2'], images: ['sub.qcow2'] },
  { args: ['rebase', '-b', 'other.qcow2', '-F', 'qcow2', 'snap.qcow2'], files: ['snap.qcow2'], images: ['snap.qcow2'] },
  { args: ['rebase', '-b', 'other.qcow2', '-F', 'qcow2', 'grown.qcow2'], files: ['grown.qcow2'] },
  { args: ['rebase', '-b', 'base.qcow2', '-F', 'qcow2', 'onflat.qcow2'], files: ['onflat.qcow2'] },
  { args: ['rebase', '-b', 'wide.qcow2', '-F', 'qcow2', 'onodd.qcow2'], files: ['onodd.qcow2'] },
  { args: ['rebase', '-b', '', 'onodd.qcow2'], files: ['onodd.qcow2'], images: ['onodd.qcow2'] },
  { args: ['rebase', '-U', '-b', 'base.qcow2', '-F', 'qcow2', 'top.qcow2'], files: ['top.qcow2'] },
  {
    args: ['rebase', '-t', 'none', '-T', 'none', '-b', 'other.qcow2', '-F', 'qcow2', 'top.qcow2'],
    files: ['top.qcow2'],
  },
  { args: ['rebase', '-b', OTHER_JSON, '-F', 'qcow2', 'top.qcow2'], files: ['top.qcow2'] },
  {
    args: ['rebase', '--image-opts', '-b', 'other.qcow2', '-F', 'qcow2', 'driver=qcow2,file.filename=top.qcow2'],
    files: ['top.qcow2'],
  },
  { args: ['rebase', '-u', '-b', 'nope.qcow2', '-F', 'qcow2', 'top.qcow2'], files: ['top.qcow2'] },
  { args: ['rebase', '-u', '-U', '-b', 'base.qcow2', '-F', 'raw', 'old.qcow2'], files: ['old.qcow2'] },
  { args: ['rebase', '-u', '-b', '', 'broken.qcow2'], files: ['broken.qcow2'] },
  { args: ['rebase', '-u', 'top.qcow2'], files: ['top.qcow2'] },
  { args: ['rebase', '-u', '-F', 'qcow2', '-b', '', 'tiny.qcow2'], files: ['tiny.qcow2'] },
  { args: ['rebase', '-u', '-b', 'top.qcow2', '-F', 'qcow2', 'top.qcow2'], files: ['top.qcow2'] },
  { args: ['rebase', '-u', '-b', 'json:{', '-F', 'qcow2', 'top.qcow2'], files: ['top.qcow2'] },
  { args: ['rebase', '-u', '-b', 'x'.repeat(1023), '-F', 'raw', 'top.qcow2'], files: ['top.qcow2'] },
  { args: ['rebase', '-u', '-b', 'x'.repeat(1024), '-F', 'raw', 'top.qcow2'], files: ['top.qcow2'] },
  { args: ['rebase', '-u', '-b', LONG, '-F', 'qcow2', 'tiny.qcow2'], files: ['tiny.qcow2'] },
  { args: ['rebase', '-b', 'top.qcow2', '-F', 'qcow2', 'top.qcow2'], files: ['top.qcow2'] },
  { args: ['rebase'] },
  { args: ['rebase', 'top.qcow2'] },
  { args: ['rebase', '-b'] },
  { args: ['rebase', '-b', 'base.qcow2', 'top.qcow2', 'mid.qcow2'] },
  { args: ['rebase', '-b', 'base.qcow2', 'top.qcow2'], images: ['top.qcow2'] },
  { args: ['rebase', '-u', '-b', 'flat.img', 'old.qcow2'], files: ['old.qcow2'] },
  { args: ['rebase', '-b', 'nope.qcow2', '-F', 'qcow2', 'top.qcow2'], files: ['top.qcow2'] },
  { args: ['rebase', '-b', 'foo:bar', '-F', 'qcow2', 'top.qcow2'] },
  { args: ['rebase', '-b', 'json:{', '-F', 'qcow2', 'top.qcow2'], err: 'any' },
  { args: ['rebase', '-b', '', 'broken.qcow2'] },
  { args: ['rebase', '-b', 'base.qcow2', '-F', 'foo', 'top.qcow2'] },
  { args: ['rebase', '-u', '-b', 'base.qcow2', '-F', 'foo', 'top.qcow2'] },
  { args: ['rebase', '-f', 'foo', '-b', 'base.qcow2', '-F', 'qcow2', 'top.qcow2'] },
  { args: ['rebase', '-t', 'bad', '-b', 'base.qcow2', '-F', 'qcow2', 'top.qcow2'] },
  { args: ['rebase', '-T', 'bad', '-b', 'base.qcow2', '-F', 'qcow2', 'top.qcow2'] },
  { args: ['rebase', '-u', '-b', 'base.qcow2', '-F', 'qcow2', 'flat.img'], files: ['flat.img'] },
  { args: ['rebase', '-f', 'raw', '-b', 'base.qcow2', '-F', 'qcow2', 'flat.img'], files: ['flat.img'] },
  { args: ['rebase', '--image-opts', '-b', 'base.qcow2', '-F', 'qcow2', 'top.qcow2'] },
  { args: ['rebase', '--image-opts', '-f', 'qcow2', '-b', 'base.qcow2', '-F', 'qcow2', 'driver=qcow2'] },
]

/** Every command line. */
export const CHAIN_CASES: readonly ImgCase[] = [...COMMIT, ...REBASE]
