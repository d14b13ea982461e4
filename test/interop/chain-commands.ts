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
img lone.qcow2 1M
img -u -b gone.qcow2 -F qcow2 broken.qcow2 1M
cp base.qcow2 other.qcow2
qemu-io -c 'write -P 6 512k 700k' -c 'write -z 3M 64k' other.qcow2
img -b other.qcow2 -F qcow2 onother.qcow2
img wide.qcow2 8M
img narrow.qcow2 1M
qemu-io -c 'write -P 9 0 1M' -c 'write -P 7 6M 64k' wide.qcow2
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

/** Every command line. */
export const CHAIN_CASES: readonly ImgCase[] = [...COMMIT]
