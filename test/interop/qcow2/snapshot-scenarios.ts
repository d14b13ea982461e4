// Images and the commands with snapshots that both tools are given on them.

import { createLine as create, ioLine as io, patchLine as patch, type ToolScenario } from './scenario-pair.js'

const take = (name: string) => ['snapshot', '-c', name, 'a.qcow2']
const apply = (name: string) => ['snapshot', '-a', name, 'a.qcow2']
const remove = (name: string) => ['snapshot', '-d', name, 'a.qcow2']
const list = ['snapshot', '-l', 'a.qcow2']

const LONG = 'x'.repeat(300)

const damaged = (name: string, ...edits: string[]): ToolScenario => ({
  name: `damaged: ${name}`,
  damaged: true,
  make: `${create('', '1M')}${io('write 0 64k')}qemu-img snapshot -c s a.qcow2\n${patch(...edits)}`,
  steps: [list, apply('s'), ['convert', '-l', 's', '-O', 'raw', 'a.qcow2', 'o.raw']],
})

/** Every scenario. */
export const SNAPSHOT_SCENARIOS: readonly ToolScenario[] = [
  {
    name: 'take, list, apply, delete',
    make: create('', '1M') + io('write 0 64k', 'write 300k 10k'),
    steps: [list, take('s1'), take('s2'), list, apply('s1'), remove('s1'), list, remove('s2'), list],
  },
  {
    name: 'several L2 tables, zero and compressed clusters',
    make:
      create('-o cluster_size=512', '1M') +
      io('write 0 1k', 'write 1000k 2k', 'write -z 100k 3k', 'write -c 200k 512', 'write -c 201k 512'),
    steps: [take('a'), take('b'), remove('a'), apply('b'), remove('b')],
  },
  {
    name: 'subclusters',
    make:
      create('-o extended_l2=on', '8M') +
      io('write 0 1k', 'write 1000k 2k', 'write -z 100k 3k', 'write -c 128k 64k', 'write -z 2M 64k', 'write 4M 100k'),
    steps: [take('a'), take('b'), remove('a'), apply('b'), remove('b')],
  },
  {
    name: 'refcounts of 1 bit, empty',
    make: create('-o refcount_bits=1', '1M'),
    steps: [take('a'), list, remove('a')],
  },
  {
    name: 'refcounts of 2 bits',
    make: create('-o refcount_bits=2,cluster_size=1k', '1M') + io('write 0 64k'),
    steps: [take('a'), take('b'), remove('a'), take('c')],
  },
  {
    name: 'version 2',
    make: create('-o compat=0.10', '1M') + io('write 0 64k'),
    steps: [take('a'), take('b'), apply('a'), remove('a')],
  },
  {
    name: 'lazy refcounts, all clusters allocated',
    make: create('-o preallocation=metadata,lazy_refcounts=on', '20M'),
    steps: [take('a'), take('b'), apply('a'), remove('a')],
  },
  { name: 'a disk without length', make: create('', '0'), steps: [take('a'), list, apply('a'), remove('a')] },
  {
    name: 'a backing file',
    make: `qemu-img create -q -f raw base.raw 2M\n${create('-b base.raw -F raw', '1M')}${io('write 64k 64k')}`,
    steps: [take('a'), ['snapshot', '-c', 'b', '--image-opts', 'driver=qcow2,file.filename=a.qcow2'], apply('a')],
  },
  {
    name: 'an external data file',
    make: create('-o data_file=data.raw', '1M'),
    steps: [take('a'), list, apply('a'), remove('a')],
  },
  {
    name: 'dirty bitmaps',
    make: `${create('', '1M')}qemu-img bitmap --add a.qcow2 b\n`,
    steps: [take('a'), apply('a'), remove('a')],
  },
  {
    name: 'disks of another length',
    make: `${create('-o cluster_size=512', '1M')}${io('write 0 64k')}qemu-img snapshot -c a a.qcow2
qemu-img resize -q a.qcow2 4M\n${io('write 3M 64k')}qemu-img snapshot -c b a.qcow2\n`,
    steps: [
      ['convert', '-l', 'a', '-O', 'raw', 'a.qcow2', 'o.raw'],
      apply('a'),
      ['convert', '-l', 'b', '-O', 'raw', 'a.qcow2', 'o.raw'],
      apply('b'),
      remove('a'),
    ],
  },
  {
    name: 'a disk that has become shorter',
    make: `${create('', '1M')}${io('write 0 1M')}qemu-img snapshot -c a a.qcow2
qemu-img resize -q --shrink a.qcow2 192k\n${io('write 0 64k')}`,
    steps: [take('b'), apply('a'), apply('b'), remove('a'), remove('b')],
  },
  {
    name: 'names and ids',
    make: create('', '1M'),
    steps: [
      take('x'),
      take('x'),
      take('1'),
      take('a b'),
      take(LONG),
      list,
      apply('2'),
      remove('2'),
      remove('x'),
      remove('1'),
      list,
      take('y'),
      list,
      apply(''),
      remove(''),
    ],
  },
  {
    name: 'command lines',
    make: create('', '1M'),
    steps: [
      ['snapshot'],
      ['snapshot', 'a.qcow2'],
      take('x'),
      ['snapshot', 'a.qcow2'],
      ['snapshot', '-l', 'a.qcow2', 'a.qcow2'],
      ['snapshot', '-l', '-l', 'a.qcow2'],
      ['snapshot', '-a', 'x', '-d', 'x', 'a.qcow2'],
      ['snapshot', '-lU', 'a.qcow2'],
      ['snapshot', '-q', '-c', 'q', 'a.qcow2'],
      ['snapshot', '-U', '-c', 'z', 'a.qcow2'],
      ['snapshot', '-l', '--image-opts', 'driver=qcow2,file.filename=a.qcow2'],
      ['snapshot', '-l', '--image-opts', 'a.qcow2'],
      ['snapshot', '-l', 'nope.qcow2'],
      ['snapshot', '-c'],
      ['snapshot', '-Z'],
      ['snapshot', '--list', 'a.qcow2'],
      ['snapshot', '-f', 'qcow2', '-l', 'a.qcow2'],
      ['snapshot', '-l', '--object', 'foo', 'a.qcow2'],
      apply('nope'),
      remove('nope'),
      ['convert', '-l', 'nope', '-O', 'raw', 'a.qcow2', 'o.raw'],
      ['convert', '-l', 'x', '-O', 'raw', 'a.qcow2', 'a.qcow2', 'o.raw'],
      ['convert', '-l', 'x', '-f', 'raw', '-O', 'raw', 'a.qcow2', 'o.raw'],
      ['convert', '-l', 'snapshot.foo=1', '-O', 'raw', 'a.qcow2', 'o.raw'],
      ['convert', '-l', 'snapshot.id=1,snapshot.name=q', '-O', 'raw', 'a.qcow2', 'o.raw'],
      ['convert', '-l', 'snapshot.id=1,snapshot.name=x', '-O', 'raw', 'a.qcow2', 'o.raw'],
    ],
  },
  {
    name: 'what other programs write into the table',
    make:
      create('', '1M') +
      'qemu-img snapshot -c s a.qcow2\n' +
      patch(
        'snapshots+16,>I,1000000000',
        'snapshots+24,>Q,81985529216486895',
        'snapshots+40,>Q,4660',
        'snapshots+56,>Q,0xffffffffffffffff',
      ),
    steps: [list, take('t'), list],
  },
  damaged('an L1 table in no place', 'snapshots,>Q,0x12345'),
  damaged('an L1 table that is too large', 'snapshots+8,>I,0x10000000'),
  damaged('too much extra data', 'snapshots+36,>I,1025'),
  damaged('a length that is none', 'snapshots+48,>Q,0x100001'),
  damaged('a table in no place', '64,>Q,0x10001'),
  damaged('a table behind everything', '64,>Q,0xffffffffffff0000'),
  damaged('too many snapshots', '60,>I,65537'),
  damaged('no snapshots in the table', '64,>Q,0'),
]
