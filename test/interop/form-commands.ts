// Command lines that make, measure, resize and amend qcow2 images, given to blockgraph-img and qemu-img alike, and the images.

import type { ImgCase } from '../support/tool-pair.js'

/** A shell script that makes the images, by the real tools. */
export const FORM_IMAGES = `
img() { qemu-img create -q -f qcow2 "$@"; }
qemu-img create -q -f raw base.img 1M
qemu-io -f raw -c 'write -P 5 0 1M' base.img
mkdir folder
img v3.qcow2 4M
qemu-io -c 'write -P 7 1M 1M' -c 'write -z 3M 64k' v3.qcow2
img -o compat=0.10 v2.qcow2 4M
qemu-io -c 'write -P 7 1M 1M' v2.qcow2
img -o cluster_size=512 tiny.qcow2 1M
qemu-io -c 'write -P 7 0 4k' -c 'write -P 7 900k 8k' tiny.qcow2
img -o cluster_size=4k small.qcow2 2M
qemu-io -c 'write -P 7 0 64k' -c 'write -z 16k 8k' -c 'write -z 100k 8k' -c 'write -P 7 200k 8k' -c 'write -z -u 200k 8k' small.qcow2
img -o cluster_size=4k -b base.img -F raw over.qcow2 1M
qemu-io -c 'write -P 7 0 64k' -c 'write -z 16k 8k' -c 'write -z 100k 8k' over.qcow2
img -b base.img -F raw short.qcow2 512k
img -b base.img -F raw -o compat=0.10 oldshort.qcow2 512k
img -o extended_l2=on,cluster_size=16k sub.qcow2 4M
qemu-io -c 'write -P 7 1000 10k' sub.qcow2
img -o extended_l2=on -b base.img -F raw subover.qcow2 100k
img -o data_file=data.raw ext.qcow2 4M
qemu-io -c 'write -P 7 0 2M' ext.qcow2
img -o data_file=plain.raw,data_file_raw=on extraw.qcow2 4M
img -o compression_type=zstd zstd.qcow2 1M
img -o lazy_refcounts=on lazy.qcow2 1M
img -o refcount_bits=8 narrow.qcow2 1M
img snap.qcow2 4M
qemu-io -c 'write -P 7 0 2M' snap.qcow2
qemu-img snapshot -c one snap.qcow2
qemu-io -c 'write -P 8 1M 64k' snap.qcow2
img -o compat=0.10 oldsnap.qcow2 4M
qemu-img snapshot -c one oldsnap.qcow2
img dirty.qcow2 4M
qemu-img bitmap --add dirty.qcow2 first
qemu-img bitmap --add -g 512 dirty.qcow2 second
img packed.qcow2 8M
qemu-io -c 'write -P 7 1M 1M' -c 'write -c -P 8 4M 64k' -c 'write -z 6M 1M' packed.qcow2
head -c 300k /dev/zero | tr '\\0' a > odd.img
`

const create = (options: string, ...more: string[]): ImgCase => ({
  args: ['create', '-f', 'qcow2', ...(options === '' ? [] : ['-o', options]), 'n.qcow2', ...more],
})

/** All say no. */
const REFUSED_OPTIONS = [
  ...['511', '256', '4M', '3k', '0', 'abc'].map((size) => `cluster_size=${size}`),
  ...['compat=0.9', 'compat=v2,lazy_refcounts=on', 'compat=v2,refcount_bits=8', 'compat=v2,refcount_bits=3'],
  ...['3', '0', '128', 'abc'].map((bits) => `refcount_bits=${bits}`),
  ...[
    'compression_type=foo',
    'compat=v2,compression_type=zstd',
    'compat=v2,extended_l2=on',
    'compat=v2,data_file=n.raw',
  ],
  ...['extended_l2=on,cluster_size=8k', 'preallocation=foo', 'data_file_raw=on', 'lazy_refcounts=maybe'],
  ...['backing_fmt=raw', 'backing_file=base.img,backing_fmt=foo', 'backing_file=gone.img,backing_fmt=raw'],
  ...['backing_file=,backing_fmt=raw', 'backing_file=base.img,backing_fmt=', 'extent_size_hint=abc', 'nocow=maybe'],
  ...['metadata', 'falloc', 'full'].map((mode) => `backing_file=base.img,backing_fmt=raw,preallocation=${mode}`),
  'backing_file=base.img,backing_fmt=raw,data_file=n.raw,data_file_raw=on',
  ...['encryption=on', 'encrypt.format=luks', 'encrypt.format=aes', 'encrypt.format=foo', 'encrypt.key-secret=s'],
  ...['encryption=on,encrypt.format=luks', 'encrypt.iter-time=abc', 'foo=bar', ',', 'size=abc'],
  // Two mistakes: the one that is told is the same.
  ...['compat=0.9,cluster_size=511', 'preallocation=foo,compression_type=foo', 'cluster_size=511,refcount_bits=3'],
  ...[
    'compat=v2,extended_l2=on,cluster_size=8k',
    'compat=v2,lazy_refcounts=on,refcount_bits=8',
    'refcount_bits=3,backing_fmt=raw',
  ],
  ...['compat=v2,data_file=n.raw,compression_type=zstd', 'lazy_refcounts=on,data_file_raw=on,compat=v2'],
]

const CREATE: ImgCase[] = [
  ...REFUSED_OPTIONS.map((options) => create(options, '1M')),
  ...['', 'compat=v2', 'compat=v3', 'compat=1.1', 'encryption=off', 'nocow=off', 'extent_size_hint=1M'].map(
    (options) => ({
      ...create(options, '1M'),
      files: ['n.qcow2'],
    }),
  ),
  {
    ...create(
      'backing_file=base.img,backing_fmt=raw,compat=1.1,cluster_size=32k,nocow=on,preallocation=off,refcount_bits=8,' +
        'lazy_refcounts=on,extended_l2=on,data_file=n.raw,data_file_raw=off,compression_type=zlib,encryption=off,' +
        'extent_size_hint=1M,size=3M',
    ),
    files: ['n.qcow2', 'n.raw'],
  },
  create(''),
  create('help'),
  { args: ['create', '-f', 'qcow2', '-o', 'help'] },
  { args: ['create', '-f', 'qcow2', '-o', 'cluster_size=4k,?'] },
  create('size=1M', '1M'),
  create('', '1000'),
  create('cluster_size=512', '129G'),
  create('', '2049T'),
  create('data_file=folder/gone/n.raw', '1M'),
  { args: ['create', '-f', 'qcow2', '.', '1M'] },
  { args: ['create', '-f', 'qcow2', 'gone/n.qcow2', '1M'] },
  { args: ['create', '-f', 'qcow2', '-b', 'base.img', 'n.qcow2'] },
  { args: ['create', '-f', 'qcow2', '-b', 'base.img', '-F', 'raw', 'n.qcow2'], files: ['n.qcow2'] },
  { args: ['create', '-f', 'qcow2', '-b', 'odd.img', '-F', 'raw', 'n.qcow2'], files: ['n.qcow2'] },
  { args: ['create', '-f', 'qcow2', '-b', 'v3.qcow2', '-F', 'qcow2', 'n.qcow2', '8M'], files: ['n.qcow2'] },
  { args: ['create', '-f', 'qcow2', '-b', 'base.img', '-F', 'raw', '-o', 'size=2M', 'n.qcow2'], files: ['n.qcow2'] },
  { args: ['create', '-f', 'qcow2', '-b', '../base.img', '-F', 'raw', 'folder/n.qcow2'], files: ['folder/n.qcow2'] },
  { args: ['create', '-f', 'qcow2', '-b', 'base.img', '-F', 'raw', 'folder/n.qcow2'] },
  { args: ['create', '-f', 'qcow2', '-u', '-b', 'base.img', '-F', 'raw', 'n.qcow2'] },
  { args: ['create', '-f', 'qcow2', '-u', '-b', 'gone.img', '-F', 'raw', 'n.qcow2', '1M'], files: ['n.qcow2'] },
  { args: ['create', '-f', 'qcow2', '-u', '-b', 'base.img', 'n.qcow2', '1M'] },
  { args: ['create', '-f', 'qcow2', '-u', '-b', 'base.img', '-F', 'foo', 'n.qcow2', '1M'] },
  { args: ['create', '-f', 'qcow2', '-b', 'gone.img', 'n.qcow2', '1M'] },
  { args: ['create', '-f', 'qcow2', '-b', 'gone.img', '-F', 'raw', 'n.qcow2'] },
  { args: ['create', '-f', 'qcow2', '-b', 'base.img', '-F', 'qcow2', 'n.qcow2'] },
  { args: ['create', '-f', 'qcow2', '-b', 'base.img', '-F', 'foo', 'n.qcow2'] },
  { args: ['create', '-f', 'qcow2', '-b', 'n.qcow2', '-F', 'raw', 'n.qcow2', '1M'] },
  { args: ['create', '-f', 'qcow2', '-b', 'folder', '-F', 'raw', 'n.qcow2', '1M'] },
  { args: ['create', '-f', 'qcow2', '-b', 'foo:bar', '-F', 'raw', 'n.qcow2', '1M'] },
  { args: ['create', '-f', 'qcow2', '-F', 'raw', 'n.qcow2', '1M'] },
  { args: ['create', '-f', 'qcow2', '-b', 'base.img', '-o', 'backing_fmt=raw', 'n.qcow2'], files: ['n.qcow2'] },
  { args: ['create', '-qf', 'qcow2', '-F', 'raw', '-o', 'backing_file=base.img', 'n.qcow2'], files: ['n.qcow2'] },
]

const measure = (...args: string[]): ImgCase => ({ args: ['measure', ...args] })
const MEASURED_OPTIONS = [
  ...['512', '511', '16k', '2M'].map((size) => `cluster_size=${size}`),
  ...['off', 'metadata', 'falloc', 'full', 'foo'].map((mode) => `preallocation=${mode}`),
  ...['1', '64', '3'].map((bits) => `refcount_bits=${bits}`),
  ...['compat=0.10', 'compat=v2', 'compat=0.10,refcount_bits=8', 'extended_l2=on', 'extended_l2=on,cluster_size=8k'],
  ...[
    'backing_file=base.img',
    'data_file=n.raw,data_file_raw=on',
    'nocow=on',
    'foo=bar',
    'size=2G',
    'compression_type=foo',
  ],
  ...['encrypt.format=luks', 'refcount_bits=abc', 'compat=foo,refcount_bits=3', 'preallocation=foo,refcount_bits=3'],
]

const MEASURE: ImgCase[] = [
  ...MEASURED_OPTIONS.map((options) => measure('-O', 'qcow2', '-o', options, '--size', '1G')),
  ...['0', '1', '511', '70000', '1T', '2P', '2049T', '7E', 'abc', '-1', '9E'].map((size) =>
    measure('-O', 'qcow2', '--size', size),
  ),
  measure('--size', '1G'),
  measure('--size', '1000', '--output=json'),
  measure('-O', 'qcow2', '--output=json', '--size', '1G'),
  measure('-O', 'qcow2', '-o', 'help', '--size', '1G'),
  measure('-O', 'foo', '--size', '1G'),
  measure('-O', 'null-co', '--size', '1G'),
  measure('-O', 'file', '--size', '1G'),
  measure('-O', 'luks', '--size', '1G'),
  measure(),
  measure('-O', 'qcow2'),
  measure('--size', '1G', 'v3.qcow2'),
  measure('-O', 'qcow2', 'v3.qcow2', 'v2.qcow2'),
  measure('-f', 'qcow2', '--size', '1G'),
  measure('-l', 'one', '--size', '1G'),
  measure('--image-opts', '--size', '1G'),
  measure('--image-opts', '-f', 'raw', 'file.filename=v3.qcow2'),
  measure('--output=foo', '--size', '1G'),
  measure('-O', 'qcow2', 'gone.qcow2'),
  measure('-f', 'foo', 'v3.qcow2'),
  measure('-O', 'qcow2', '-o', ',a', '--size', '1G'),
  ...[
    'base.img',
    'odd.img',
    'v3.qcow2',
    'v2.qcow2',
    'packed.qcow2',
    'over.qcow2',
    'short.qcow2',
    'sub.qcow2',
    'ext.qcow2',
  ].flatMap((name) => [[], ['-o', 'cluster_size=4k']].map((options) => measure('-O', 'qcow2', ...options, name))),
  measure('-O', 'raw', 'packed.qcow2'),
  measure('-O', 'qcow2', '-f', 'raw', 'packed.qcow2'),
  measure('-O', 'qcow2', 'dirty.qcow2'),
  measure('-O', 'qcow2', '--output=json', 'dirty.qcow2'),
  measure('-O', 'qcow2', '-o', 'compat=0.10', 'dirty.qcow2'),
  measure('-O', 'qcow2', '-o', 'cluster_size=512', 'dirty.qcow2'),
  measure('-O', 'qcow2', '-o', 'backing_file=base.img', 'over.qcow2'),
  measure('-O', 'qcow2', '-l', 'one', 'snap.qcow2'),
  measure('-O', 'qcow2', '-l', 'gone', 'snap.qcow2'),
  measure('-U', '-O', 'qcow2', '--image-opts', 'driver=qcow2,file.filename=v3.qcow2'),
]

const DATA_FILES: Readonly<Record<string, string>> = { 'ext.qcow2': 'data.raw', 'extraw.qcow2': 'plain.raw' }

/** `image` shows the same disk in both folders afterwards, and is the same byte by byte where `bytes`. */
function changed(args: readonly string[], image: string, bytes: boolean): ImgCase {
  const data = DATA_FILES[image]
  const files = [...(bytes ? [image] : []), ...(data === undefined ? [] : [data])]
  return { args, files, images: [image] }
}

const resized = (image: string, change: string, { options = [] as string[], bytes = true } = {}): ImgCase =>
  changed(['resize', ...options, image, change], image, bytes)

const RESIZE: ImgCase[] = [
  resized('v3.qcow2', '8M'),
  resized('v3.qcow2', '+1M'),
  resized('v3.qcow2', '+0'),
  resized('v3.qcow2', '4M'),
  resized('v3.qcow2', '2G'),
  resized('v2.qcow2', '3G'),
  resized('tiny.qcow2', '3M'),
  resized('tiny.qcow2', '100M'),
  resized('sub.qcow2', '9M'),
  resized('ext.qcow2', '6M'),
  resized('extraw.qcow2', '6M'),
  resized('short.qcow2', '2M'),
  resized('subover.qcow2', '2M'),
  resized('snap.qcow2', '8M'),
  { args: ['resize', '-q', 'dirty.qcow2', '8M'], images: ['dirty.qcow2'] },
  ...['metadata', 'falloc', 'full'].flatMap((mode) => [
    ...['v3.qcow2', 'v2.qcow2', 'sub.qcow2', 'ext.qcow2', 'lazy.qcow2', 'narrow.qcow2'].map((image) =>
      resized(image, '6M', { options: [`--preallocation=${mode}`] }),
    ),
    resized('tiny.qcow2', '1500k', { options: [`--preallocation=${mode}`] }),
    resized('subover.qcow2', '1M', { options: [`--preallocation=${mode}`], bytes: false }),
    resized('short.qcow2', '1M', { options: [`--preallocation=${mode}`], bytes: false }),
  ]),
  ...['1M', '1536k', '64k', '512', '3M'].map((size) => resized('v3.qcow2', size, { options: ['--shrink'] })),
  resized('tiny.qcow2', '100k', { options: ['--shrink'] }),
  resized('tiny.qcow2', '64k', { options: ['--shrink'] }),
  resized('sub.qcow2', '1M', { options: ['--shrink'] }),
  resized('ext.qcow2', '1M', { options: ['--shrink'] }),
  resized('extraw.qcow2', '1M', { options: ['--shrink'] }),
  resized('snap.qcow2', '1M', { options: ['--shrink'] }),
  resized('over.qcow2', '64k', { options: ['--shrink'] }),
  { args: ['resize', 'v3.qcow2', '1M'] },
  { args: ['resize', 'v3.qcow2', '--', '-1M'] },
  { args: ['resize', 'v3.qcow2', '--', '-100M'] },
  { args: ['resize', 'v3.qcow2', '-1M'] },
  { args: ['resize', '--shrink', 'v3.qcow2', '-1M'], files: ['v3.qcow2'] },
  { args: ['resize', '--shrink', 'v3.qcow2', '1000'] },
  { args: ['resize', 'v3.qcow2', '0'] },
  { args: ['resize', 'v3.qcow2', '3P'] },
  { args: ['resize', 'v3.qcow2', '16E'] },
  { args: ['resize', 'v3.qcow2', 'abc'] },
  { args: ['resize', 'v3.qcow2', '+'] },
  { args: ['resize', 'v3.qcow2', ''] },
  { args: ['resize', 'v3.qcow2'] },
  { args: ['resize'] },
  { args: ['resize', 'v3.qcow2', '5M', '-q'] },
  { args: ['resize', 'v3.qcow2', 'v2.qcow2', '5M'] },
  { args: ['resize', '--preallocation=foo', 'v3.qcow2', '5M'] },
  { args: ['resize', '--preallocation=falloc', 'v3.qcow2', '4M'] },
  { args: ['resize', '--preallocation=falloc', '--shrink', 'v3.qcow2', '1M'] },
  { args: ['resize', 'oldsnap.qcow2', '8M'] },
  { args: ['resize', '--shrink', 'oldsnap.qcow2', '1M'] },
  { args: ['resize', 'oldshort.qcow2', '2M'], files: ['oldshort.qcow2'] },
  { args: ['resize', 'gone.qcow2', '5M'] },
  { args: ['resize', '-f', 'foo', 'v3.qcow2', '5M'] },
  { args: ['resize', '-U', 'v3.qcow2', '5M'] },
  { args: ['resize', '--image-opts', '-f', 'qcow2', 'file.filename=v3.qcow2', '5M'] },
  { args: ['resize', '--image-opts', 'driver=qcow2,file.filename=v3.qcow2', '5M'], files: ['v3.qcow2'] },
  { args: ['resize', '-f', 'raw', 'base.img', '2M'], files: ['base.img'] },
  { args: ['resize', '-f', 'raw', '--shrink', 'base.img', '500k'], files: ['base.img'] },
  { args: ['resize', '-f', 'raw', '--preallocation=full', 'base.img', '2M'], files: ['base.img'] },
  { args: ['resize', '-f', 'raw', '--preallocation=metadata', 'base.img', '2M'] },
  { args: ['resize', 'base.img', '2M'], files: ['base.img'] },
]

const amended = (image: string, options: string): ImgCase => changed(['amend', '-o', options, image], image, true)

const AMEND: ImgCase[] = [
  amended('v2.qcow2', 'compat=1.1'),
  amended('v2.qcow2', 'compat=v3,lazy_refcounts=on'),
  amended('v3.qcow2', 'compat=0.10'),
  amended('v3.qcow2', 'compat=v3'),
  amended('small.qcow2', 'compat=v2'),
  amended('over.qcow2', 'compat=0.10'),
  amended('lazy.qcow2', 'compat=0.10'),
  amended('lazy.qcow2', 'lazy_refcounts=off'),
  amended('v3.qcow2', 'lazy_refcounts=on'),
  ...['1', '2', '4', '8', '16', '32', '64'].flatMap((bits) => [
    amended('v3.qcow2', `refcount_bits=${bits}`),
    amended('tiny.qcow2', `refcount_bits=${bits}`),
  ]),
  amended('small.qcow2', 'refcount_bits=64'),
  amended('snap.qcow2', 'refcount_bits=2'),
  amended('narrow.qcow2', 'compat=0.10,refcount_bits=16'),
  amended('v2.qcow2', 'compat=1.1,size=2M,lazy_refcounts=on,refcount_bits=8'),
  amended('v3.qcow2', 'size=8M'),
  amended('v3.qcow2', 'size=2M'),
  amended('v3.qcow2', 'compat=0.10,size=8M'),
  amended('ext.qcow2', 'data_file=data.raw'),
  amended('extraw.qcow2', 'data_file_raw=on'),
  amended('extraw.qcow2', 'data_file_raw=off'),
  amended('over.qcow2', 'backing_file=base.img,backing_fmt=raw'),
  { args: ['amend', '-o', 'data_file=other.raw', 'ext.qcow2'], files: ['ext.qcow2'] },
  { args: ['amend', '-o', 'data_file=', 'ext.qcow2'], files: ['ext.qcow2'] },
  ...[
    ['v3.qcow2', 'compat=0.9'],
    ['v3.qcow2', 'refcount_bits=3'],
    ['v3.qcow2', 'refcount_bits=0'],
    ['v3.qcow2', 'refcount_bits=abc'],
    ['v3.qcow2', 'lazy_refcounts=maybe'],
    ['v3.qcow2', 'size=abc'],
    ['v3.qcow2', 'size=1000'],
    ['v3.qcow2', 'size=3P'],
    ['v3.qcow2', 'backing_file=base.img,backing_fmt=raw'],
    ['v3.qcow2', 'backing_fmt=raw'],
    ['over.qcow2', 'backing_file=base.img'],
    ['over.qcow2', 'backing_file='],
    ['v3.qcow2', 'cluster_size=512'],
    ['v3.qcow2', 'encryption=on'],
    ['v3.qcow2', 'compression_type=zstd'],
    ['v3.qcow2', 'preallocation=full'],
    ['v3.qcow2', 'foo=bar'],
    ['v3.qcow2', 'data_file=n.raw'],
    ['v3.qcow2', 'data_file_raw=on'],
    ['ext.qcow2', 'data_file_raw=on'],
    ['v3.qcow2', 'encrypt.state=active'],
    ['v3.qcow2', 'compat=foo,refcount_bits=3'],
    ['v2.qcow2', 'refcount_bits=8'],
    ['v2.qcow2', 'lazy_refcounts=on'],
    ['v2.qcow2', 'compat=0.10,lazy_refcounts=on'],
    ['v3.qcow2', 'compat=0.10,lazy_refcounts=on'],
    ['v3.qcow2', 'compat=0.10,refcount_bits=8'],
    ['narrow.qcow2', 'compat=0.10'],
    ['sub.qcow2', 'compat=0.10'],
    ['ext.qcow2', 'compat=0.10'],
    ['v3.qcow2', ''],
    ['v3.qcow2', ','],
  ].map(([image = '', options = '']) => ({ args: ['amend', '-o', options, image], files: [image] })),
  // Theirs takes clusters before it sees that a count does not fit, and leaves the file longer.
  { args: ['amend', '-o', 'refcount_bits=1', 'snap.qcow2'] },
  { args: ['amend', '-p', '-o', 'compat=0.10', 'small.qcow2'], progress: 'ends', files: ['small.qcow2'] },
  { args: ['amend', '-p', '-o', 'refcount_bits=64', 'tiny.qcow2'], progress: 'ends', files: ['tiny.qcow2'] },
  { args: ['amend', '-q', '-p', '-o', 'compat=1.1', 'v2.qcow2'], files: ['v2.qcow2'] },
  { args: ['amend', '--force', '-t', 'none', '-o', 'compat=1.1', 'v2.qcow2'], files: ['v2.qcow2'] },
  { args: ['amend', '--image-opts', '-o', 'compat=1.1', 'driver=qcow2,file.filename=v2.qcow2'], files: ['v2.qcow2'] },
  { args: ['amend', 'v3.qcow2'] },
  { args: ['amend'] },
  { args: ['amend', '-o', 'compat=1.1'] },
  { args: ['amend', '-o', 'compat=1.1', 'v3.qcow2', 'v2.qcow2'] },
  { args: ['amend', '-o', 'compat=1.1', 'gone.qcow2'] },
  { args: ['amend', '-t', 'foo', '-o', 'compat=1.1', 'v3.qcow2'] },
  { args: ['amend', '-f', 'foo', '-o', 'compat=1.1', 'v3.qcow2'] },
  { args: ['amend', '-f', 'raw', '-o', 'size=1M', 'base.img'] },
  { args: ['amend', '-o', 'help'] },
  { args: ['amend', '-o', 'help', '-f', 'qcow2'] },
  { args: ['amend', '-o', 'help', '-f', 'luks'] },
  { args: ['amend', '-o', 'help', '-f', 'raw'] },
  { args: ['amend', '-o', 'help', '-f', 'foo'] },
  { args: ['amend', '-o', '?', 'v3.qcow2'] },
]

/** Every command line. */
export const FORM_CASES: readonly ImgCase[] = [...CREATE, ...MEASURE, ...RESIZE, ...AMEND]
