// Commands on qcow2 images that blockgraph-io and qemu-io are given alike, and how the images are made.

import { join } from 'node:path'
import { expect } from 'vitest'
import { main } from '../../src/cli/img/main.js'
import type { Peer } from '../support/peers.js'
import type { IoCase } from './io-pair.js'

/** Makes the images in `folder`, by the tools whose format it is, but for the encrypted volume: theirs refuses on a busy host. */
export async function makeQcow2Fixtures(folder: string, img: Peer, io: Peer): Promise<void> {
  const create = (name: string, size: string, ...options: string[]) => {
    img.check(['create', '-q', '-f', 'qcow2', ...options, name, size], { cwd: folder })
  }
  const fill = (name: string, ...commands: string[]) => {
    io.check(['-f', 'qcow2', ...commands.flatMap((command) => ['-c', command]), name], { cwd: folder })
  }
  const luks = ['-f', 'luks', '--object', 'secret,id=s,data=abc', '-o', 'key-secret=s,iter-time=0']
  expect(await main(['create', '-q', ...luks, join(folder, 'l.luks'), '1M'])).toBe(0)
  create('q.qcow2', '10M')
  create('old.qcow2', '10M', '-o', 'compat=0.10')
  create('tiny.qcow2', '1M', '-o', 'cluster_size=512,refcount_bits=1')
  create('sub.qcow2', '10M', '-o', 'extended_l2=on,lazy_refcounts=on,cluster_size=128k')
  create('base.qcow2', '1M')
  fill('base.qcow2', 'write -P 1 0 512k', 'write -z 512k 64k', 'write -P 2 900k 64k')
  create('over.qcow2', '2M', '-b', 'base.qcow2', '-F', 'qcow2')
  create('filled.qcow2', '4M')
  fill('filled.qcow2', 'write -P 1 0 1M', 'write -P 2 1100k 3000', 'write -zu 2M 64k', 'write -z 3M 128k')
  fill('filled.qcow2', 'write -c -P 3 2560k 64k')
}

const LUKS = ['--object', 'secret,id=s,data=abc', '--image-opts', 'driver=luks,key-secret=s,file.filename=l.luks']

const SNAPSHOT = ['read -v 0 16', 'write -P 0xee 100 64k', 'read -P 0xee 100 1k', 'map', 'discard 0 64k', 'length']

const on = (name: string, ...commands: string[]): IoCase => ({ args: ['-f', 'qcow2', name], commands })

/** Every run. */
export const IO_QCOW2_CASES: readonly IoCase[] = [
  on('q.qcow2', 'length', 'map', 'alloc 0', 'alloc 0 10M', 'read -P 0 0 1M'),
  on('q.qcow2', 'info'),
  on('q.qcow2', 'write -P 1 100k 64k', 'map', 'alloc 0 1M', 'read -P 1 100k 64k', 'read -P 0 0 100k'),
  on('q.qcow2', 'write -P 1 0 10M', 'map', 'discard 0 64k', 'map', 'discard 100 200k', 'map', 'read -P 0 0 64k'),
  on('q.qcow2', 'write -z 3M 1M', 'map', 'write -zu 4M 1M', 'map', 'write -zn 0 64k', 'write -z 100 1000', 'map'),
  on('q.qcow2', 'write 1 1', 'writev 65535 1 1 1', 'aio_write -P 5 1M 100k', 'aio_flush', 'read -v 1 3', 'map'),
  on('q.qcow2', 'write 10M 1', 'read 10239k 2k', 'write -z 9M 2M', 'discard 10M 1', 'alloc 10M', 'alloc 9M 4M'),
  on('q.qcow2', 'write -f 0 64k', 'flush', 'write -s q.qcow2 64k 10k', 'read -v 65536 32'),
  on(
    'q.qcow2',
    'reopen -r',
    'write 0 1',
    'reopen -w',
    'write -P 7 0 1',
    'read -P 7 0 1',
    'reopen -c none',
    'write 1 5',
  ),
  on('q.qcow2', 'reopen -o lazy-refcounts=on', 'reopen -o l2-cache-size=1M', 'reopen -o foo=1', 'reopen -o backing=x'),
  on('old.qcow2', 'write -P 1 100k 64k', 'map', 'write -z 100k 64k', 'write -zu 0 1M', 'discard 0 1M', 'map'),
  on('tiny.qcow2', 'map', 'write 0 10k', 'map', 'discard 512 1k', 'write -z 4k 1k', 'map', 'alloc 0 10k'),
  on('sub.qcow2', 'map', 'write 0 4k', 'write 10k 3k', 'map', 'write -z 4k 4k', 'discard 0 4k', 'map', 'alloc 0 128k'),
  on(
    'over.qcow2',
    'map',
    'alloc 0 2M',
    'read -P 1 0 512k',
    'read -P 0 512k 64k',
    'read -P 2 900k 64k',
    'read -P 0 1M 1M',
  ),
  on('over.qcow2', 'write -P 9 100k 1k', 'map', 'read -P 1 0 100k', 'read -P 9 100k 1k', 'read -P 1 101k 100k'),
  on('over.qcow2', 'discard 0 64k', 'write -z 64k 64k', 'write -zu 512k 64k', 'map', 'read -P 0 0 128k'),
  { args: ['-C', '-f', 'qcow2', 'over.qcow2'], commands: ['read -q 100k 1k', 'map', 'read -q 0 1M', 'map'] },
  { args: ['-r', 'over.qcow2'], commands: ['map', 'write 0 1'] },
  { args: ['-rU', 'base.qcow2'], commands: ['map', 'alloc 0 1M'] },
  on('filled.qcow2', 'map', 'read -P 1 0 1M', 'read -P 2 1100k 3000', 'read -P 3 2560k 64k', 'alloc 2M 64k'),
  on('filled.qcow2', 'write -P 4 2600k 1k', 'read -P 3 2560k 40k', 'read -P 4 2600k 1k', 'read -P 3 2601k 20k', 'map'),
  on('filled.qcow2', 'discard 0 4M', 'map', 'read -P 0 0 4M'),
  on('filled.qcow2', 'write -zu 0 4M', 'map', 'write -P 1 1M 1M', 'map'),
  {
    ...on('q.qcow2', 'write -c -P 2 1M 64k', 'read -P 2 1M 64k', 'map', 'write -c 2M 128k', 'map'),
    content: ['q.qcow2'],
  },
  {
    ...on('q.qcow2', 'write -c 2M 4k', 'write -c 100 512', 'write -c 0 1M', 'write -c 4980736 512'),
    content: ['q.qcow2'],
  },
  {
    ...on('q.qcow2', 'write -c -P 1 0 64k', 'write -c -P 2 0 64k', 'write -P 3 0 1k', 'read -v 1020 10'),
    content: ['q.qcow2'],
  },
  {
    ...on('q.qcow2', 'write -c 9M 1M', 'write -c 10M 64k', 'write -c 10M 0', 'write -c -z 0 64k'),
    content: ['q.qcow2'],
  },
  on('q.qcow2', 'write -b -P 3 0 1k', 'read -b -P 3 0 1k', 'read -b -qv 0 512', 'read -b -P 0 1k 1M', 'length', 'map'),
  on('q.qcow2', 'write -b 1G 512', 'read -b -P 0xcd 1G 512', 'write -b -c 0 512', 'write -b 512 128k', 'write 0 512'),
  on('q.qcow2', 'write -b 0 100', 'write -b -P 1 -s p.img 0 512', 'write -b -s all.img 0 512', 'read -b -v 200 512'),
  on('q.qcow2', 'reopen -r', 'write -b 0 512', 'read -b 0 512'),
  on('filled.qcow2', 'write -b 0 1k', 'map', 'read -P 1 0 1M'),
  on('sub.qcow2', 'write -b 0 200k', 'read -b -P 0xcd 0 200k'),
  on('q.qcow2', 'truncate 20M', 'length', 'truncate 5M', 'length', 'map', 'truncate -m metadata 30M', 'map'),
  on(
    'q.qcow2',
    'truncate -m falloc 11M',
    'truncate -m full 12M',
    'map',
    'truncate -m foo 13M',
    'truncate 1000',
    'length',
  ),
  on(
    'filled.qcow2',
    'truncate 1M',
    'map',
    'truncate 4M',
    'map',
    'read -P 0 1M 3M',
    'truncate -m off 5M',
    'write 4M 1M',
  ),
  on('filled.qcow2', 'truncate 3000k', 'read -P 3 2560k 64k', 'truncate 3000k', 'truncate -m full 1M'),
  {
    ...on('tiny.qcow2', 'write -P 1 0 10k', 'truncate 3M', 'truncate 5k', 'read -P 1 0 5k', 'write -P 2 0 5k', 'map'),
    content: ['tiny.qcow2'],
  },
  on('over.qcow2', 'truncate 512k', 'truncate 2M', 'read -P 1 0 512k', 'read -P 0 512k 1536k', 'map'),
  on('sub.qcow2', 'write -P 1 0 100k', 'truncate 50k', 'length', 'read -P 1 0 50k', 'map'),
  on('old.qcow2', 'truncate 20M', 'truncate 1M', 'write -P 1 0 1M', 'length'),
  { args: ['-s', '-f', 'raw', 'p.img'], commands: [...SNAPSHOT, 'truncate 1M', 'length', 'write -b 0 512'] },
  { args: ['-s', '-f', 'qcow2', 'filled.qcow2'], commands: SNAPSHOT },
  { args: ['-rs', 'p.img'], commands: ['length', 'map', 'write 0 512'] },
  { args: ['-s', 'p.img'], commands: ['write -P 1 0 512', 'write -s q.qcow2 0 512'] },
  { args: ['-s', 'nope'], commands: ['length'] },
  { args: ['-s', '-f', 'raw', 'odd.img'], commands: ['length', 'read -v 0 16', 'write 500 12', 'read -v 0 16'] },
  { args: [], commands: ['open -s p.img', ...SNAPSHOT, 'close', 'open -r p.img', 'read -v 0 16'] },
  { args: LUKS, commands: ['info', 'length', 'write -P 5 100 1000', 'read -P 5 100 1000', 'map'] },
  { args: ['p.img'], commands: ['write -s q.qcow2 0 512', 'write -s q.qcow2 512 512', 'write -P 1 0 512'] },
  { args: ['-f', 'qcow2', 'p.img'], commands: ['length'] },
  { args: [], commands: ['open -o driver=qcow2 p.img', 'length'] },
  { args: [], commands: ['open q.qcow2', 'write -P 1 0 512', 'close', 'open -r q.qcow2', 'read -P 1 0 512'] },
  { args: ['--image-opts', 'driver=qcow2,file.filename=q.qcow2'], commands: ['write -q 0 1', 'length'] },
  {
    args: ['--image-opts', 'driver=qcow2,file.driver=blkdebug,file.image.driver=file,file.image.filename=filled.qcow2'],
    commands: ['break read_aio a', 'aio_read -P 1 0 512', 'wait_break a', 'resume a', 'aio_flush'],
  },
]
