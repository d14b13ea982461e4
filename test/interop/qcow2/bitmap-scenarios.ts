// Images and the commands with dirty bitmaps that both tools are given on them.

import { createLine as create, ioLine as io, patchLine as patch, type ToolScenario } from './scenario-pair.js'

const onImage = (...words: string[]) => ['bitmap', ...words.slice(0, -1), 'a.qcow2', words.at(-1) ?? '']
const add = (name: string, ...options: string[]) => onImage('--add', ...options, name)
const remove = (name: string) => onImage('--remove', name)
const clear = (name: string) => onImage('--clear', name)
const enable = (name: string) => onImage('--enable', name)
const disable = (name: string) => onImage('--disable', name)
const merge = (from: string, name: string) => onImage('--merge', from, name)
const withOptions = (action: string, driver: string, name: string) => [
  'bitmap',
  action,
  '--image-opts',
  `driver=${driver},node-name=n,file.filename=a.qcow2`,
  name,
]

const TWO = `${create('', '1M')}qemu-img bitmap --add a.qcow2 b\n${io('write 0 64k')}qemu-img bitmap --add -g 4k --disable a.qcow2 e\n`

const damaged = (name: string, ...edits: string[]): ToolScenario => ({
  name: `damaged: ${name}`,
  damaged: true,
  make: TWO + patch(...edits),
  steps: [['snapshot', '-l', 'a.qcow2'], clear('e'), remove('b')],
})

/** Every scenario. */
export const BITMAP_SCENARIOS: readonly ToolScenario[] = [
  {
    name: 'add, clear, merge, enable, disable, remove',
    make: create('', '1M') + io('write 0 64k'),
    steps: [
      add('b0'),
      add('b1', '-g', '4k'),
      add('b2', '--disable'),
      add('b3', '-g', '1k', '--enable'),
      remove('b1'),
      clear('b2'),
      merge('b3', 'b2'),
      enable('b2'),
      disable('b0'),
      remove('b0'),
      remove('b2'),
      remove('b3'),
    ],
  },
  {
    name: 'bitmaps of several clusters',
    make: `${create('-o cluster_size=512', '8M')}qemu-img bitmap --add -g 512 a.qcow2 b\n${io('write 0 2M', 'write 6M 512')}`,
    steps: [add('c', '-g', '1k'), merge('b', 'c'), disable('c'), remove('b')],
  },
  {
    name: 'names and granularities',
    make: create('', '1M'),
    steps: [
      add('b0'),
      add('b0'),
      add('b4', '--add'),
      add('tmp', '--remove'),
      onImage('--enable', '--disable', 'b0'),
      ...['3', '256', '4G', '2G', 'abc', '0', '-1'].map((size) => add(`g${size}`, '-g', size)),
      withOptions('--add', 'qcow2', ''),
      withOptions('--add', 'qcow2', 'x'.repeat(1023)),
      withOptions('--add', 'qcow2', 'x'.repeat(1024)),
    ],
  },
  {
    name: 'bitmaps that are not there',
    make: TWO,
    steps: [remove('no'), clear('no'), enable('no'), disable('no'), merge('no', 'b'), merge('b', 'no')],
  },
  {
    name: 'command lines',
    make: TWO,
    steps: [
      ['bitmap'],
      ['bitmap', 'a.qcow2'],
      ['bitmap', 'a.qcow2', 'b'],
      ['bitmap', '--add', 'a.qcow2'],
      ['bitmap', '--add', 'a.qcow2', 'b', 'c'],
      ['bitmap', '-g', '1k', '--enable', 'a.qcow2'],
      ['bitmap', '-g', '1k', 'a.qcow2', 'b'],
      ['bitmap', '-b', 'x', '--add'],
      ['bitmap', '-F', 'x', '--add'],
      ['bitmap', '-F', 'x', '-b', 'y', '--add', 'a.qcow2', 'b'],
      ['bitmap', '-b', 'nope.qcow2', '--merge', 'b', 'a.qcow2', 'e'],
      ['bitmap', '-U', '--add', 'a.qcow2', 'z'],
      ['bitmap', '--merge'],
      ['bitmap', '--merge=b', 'a.qcow2', 'e'],
      ['bitmap', '--object', 'foo', '--add', 'a.qcow2', 'z'],
      withOptions('--add', 'raw', 'x'),
      withOptions('--enable', 'raw', 'x'),
      withOptions('--add', 'qcow2', 'b'),
      ['bitmap', '--image-opts', '-f', 'qcow2', '--add', 'driver=qcow2,file.filename=a.qcow2', 'q'],
    ],
  },
  {
    name: 'merging from another image',
    make: `${TWO}cp a.qcow2 c.qcow2\n${io('write 640k 64k')}qemu-img create -q -f qcow2 d.qcow2 2M\nqemu-img bitmap --add d.qcow2 z\n`,
    steps: [
      ['bitmap', '--merge', 'b', '-b', 'c.qcow2', '-F', 'qcow2', 'a.qcow2', 'e'],
      ['bitmap', '--merge', 'z', '-b', 'd.qcow2', 'a.qcow2', 'e'],
    ],
  },
  {
    name: 'version 2',
    make: create('-o compat=0.10', '1M'),
    steps: [withOptions('--add', 'qcow2', 'b'), remove('b')],
  },
  { name: 'an external data file', make: create('-o data_file=data.raw', '1M'), steps: [add('b'), disable('b')] },
  {
    name: 'too large',
    make: create('', '4T'),
    steps: [
      withOptions('--add', 'qcow2', 'small'),
      ['bitmap', '--add', '-g', '512', '--image-opts', 'driver=qcow2,node-name=n,file.filename=a.qcow2', 'b'],
      add('c', '-g', '1k'),
    ],
  },
  {
    name: 'left in use by a crash',
    make: TWO + patch('bitmaps+12,>I,3'),
    steps: [clear('b'), enable('b'), disable('b'), merge('b', 'e'), merge('e', 'b'), add('b'), add('c'), remove('b')],
  },
  {
    name: 'another length, with bitmaps left in use by a crash',
    make: TWO + patch('bitmaps+12,>I,3'),
    steps: [
      ['resize', 'a.qcow2', '2M'],
      ['resize', '--shrink', 'a.qcow2', '512K'],
      ['amend', '-o', 'size=3M', 'a.qcow2'],
      remove('b'),
      ['resize', 'a.qcow2', '2M'],
    ],
  },
  {
    name: 'written to by a program without bitmaps',
    make: TWO + patch('88,>Q,0'),
    steps: [{ args: add('q'), err: 'any' }],
    damaged: true,
  },
  { name: 'features unknown here', make: TWO + patch('88,>Q,9'), steps: [add('q')] },
  {
    name: 'converted',
    make: `${TWO}qemu-img create -q -f qcow2 small.qcow2 1M\nqemu-img create -q -f qcow2 large.qcow2 2M\n`,
    steps: [
      ['convert', '-n', '--bitmaps', '-O', 'qcow2', 'a.qcow2', 'small.qcow2'],
      ['convert', '-n', '--bitmaps', '-O', 'qcow2', 'a.qcow2', 'large.qcow2'],
      ['convert', '--bitmaps', '-O', 'raw', 'a.qcow2', 'o.raw'],
      ['convert', '--bitmaps', '-O', 'qcow2', 'a.qcow2', 'a.qcow2', 'o.qcow2'],
      ['convert', '--bitmaps', '-f', 'raw', '-O', 'qcow2', 'a.qcow2', 'o.qcow2'],
      ['convert', '--skip-broken-bitmaps', '-O', 'qcow2', 'a.qcow2', 'o.qcow2'],
      ['convert', '--bitmaps', '-l', 'x', '-O', 'qcow2', 'a.qcow2', 'o.qcow2'],
    ],
  },
  {
    name: 'converted without those in use',
    make: `${TWO}${patch('bitmaps+12,>I,1')}qemu-img create -q -f qcow2 o.qcow2 1M\n`,
    steps: [
      ['convert', '-n', '--bitmaps', '-O', 'qcow2', 'a.qcow2', 'o.qcow2'],
      ['convert', '-n', '--bitmaps', '--skip-broken-bitmaps', '-O', 'qcow2', 'a.qcow2', 'o.qcow2'],
    ],
  },
  damaged('fewer than said', 'extension,>I,3'),
  damaged('more than said', 'extension,>I,1'),
  damaged('none', 'extension,>I,0'),
  damaged('too many', 'extension,>I,65536'),
  damaged('reserved bits', 'extension+4,>I,1'),
  damaged('a directory that is too short', 'extension+8,>Q,32'),
  damaged('a directory without length', 'extension+8,>Q,0'),
  damaged('a directory that is too long', 'extension+8,>Q,0x4000008'),
  damaged('a directory in no place', 'extension+16,>Q,0x123'),
  damaged('an extension of another length', 'extension-4,>I,32'),
  damaged('a table in no place', 'bitmaps,>Q,0x123'),
  damaged('a table without entries', 'bitmaps+8,>I,0'),
  damaged('a table with too many entries', 'bitmaps+8,>I,0xffffffff'),
  damaged('unknown flags', 'bitmaps+12,>I,8'),
  damaged('compatible extra data', 'bitmaps+12,>I,4'),
  damaged('another type', 'bitmaps+16,>B,0'),
  damaged('a granularity that is too fine', 'bitmaps+17,>B,8'),
  damaged('a granularity that is too coarse', 'bitmaps+17,>B,32'),
  damaged('the coarsest granularity', 'bitmaps+17,>B,31'),
  {
    name: 'damaged: no name',
    damaged: true,
    make: TWO + patch('bitmaps+18,>H,0'),
    steps: [{ args: ['snapshot', '-l', 'a.qcow2'], err: 'until' }],
  },
  damaged('a name that is too long', 'bitmaps+18,>H,1024'),
  damaged('extra data', 'bitmaps+20,>I,1'),
  damaged('the same name twice', 'bitmaps+24,>B,101'),
  damaged('a table entry with reserved bits', 'table,>Q,0x40001'),
  damaged('a table entry in no place', 'table,>Q,0x40200'),
  damaged('a table entry that says ones', 'table,>Q,1'),
]
