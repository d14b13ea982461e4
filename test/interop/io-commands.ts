// Command lines that blockgraph-io and qemu-io are given alike, and the files they are run on.

import type { IoCase } from './io-pair.js'
import { IO_SINGLE_COMMANDS } from './io-single-commands.js'

/** The files that every run finds, by name. */
export function ioFixtures(): Record<string, Buffer> {
  return {
    'p.img': Buffer.from(Array.from({ length: 65536 }, (_, index) => (index * 7 + (index >> 8)) & 0xff)),
    'all.img': Buffer.from(Array.from({ length: 256 }, (_, index) => index)),
    'odd.img': Buffer.from('hello'),
    'zero.img': Buffer.alloc(0),
    'sparse.img': Buffer.alloc(1048576),
  }
}

const RAW = ['-f', 'raw', 'p.img']

/** Each on one image. */
const SEQUENCES: readonly (readonly string[])[] = [
  ['read 0 5', 'foo', 'length'],
  ['quit', 'length'],
  ['foo', 'quit', 'length'],
  ['close', 'length', 'write 0 1', 'sleep 0', 'reopen', 'aio_flush', 'close'],
  ['reopen -r', 'write 0 1', 'write', 'write 0 x', 'write x', 'truncate x', 'aio_write -i 0 512', 'discard x', 'flush'],
  ['reopen -r', 'write -z 0 512', 'writev 0 512', 'discard 0 512', 'reopen -w', 'write 0 1', 'reopen -r', 'write 0 1'],
  ['write 0 1', 'reopen -c none', 'write 0 512', 'reopen -c writeback', 'write 512 5', 'reopen -c unsafe', 'flush'],
  ['write -P 1 0 1k', 'write -P 2 512 1k', 'read -P 1 0 512', 'read -P 2 512 1k', 'read -v 0 20'],
  ['write -P 1 0 64k', 'truncate 32k', 'truncate 64k', 'read -P 0 32k 32k', 'read -P 1 0 32k', 'map', 'length'],
  ['write -P 5 100 1000', 'discard 0 64k', 'write -z 4k 4k', 'read -P 0 4k 4k'],
  ['aio_write -P 5 0 512', 'aio_flush', 'aio_read -P 5 0 512', 'aio_flush', 'length'],
  ['aio_read 0 512', 'close', 'length'],
  ['aio_write -q -P 1 0 64k', 'aio_flush', 'aio_write -q -P 2 1k 512', 'aio_flush', 'read -P 2 1k 512'],
  ['close', 'open -r -o driver=raw p.img', 'length', 'write 0 1'],
  ['close', 'open -o driver=raw p.img', 'write 0 1', 'close', 'open -o driver=raw all.img', 'length'],
  ['truncate 100', 'length', 'read -v 96 32', 'write -P 1 500 12', 'length', 'map'],
]

/** Each without an image, opened by a command. */
const OPENS: readonly (readonly string[])[] = [
  ['open p.img', 'length', 'info'],
  ['open -r p.img', 'write 0 1', 'write -z 0 1', 'discard 0 512', 'truncate 1', 'aio_write 0 1', 'flush', 'writev 0 1'],
  ['open -o driver=raw p.img', 'length'],
  ['o -o driver=raw,file.filename=p.img', 'length'],
  ['open -o driver=foo p.img', 'length'],
  ['open -r -o read-only=off p.img', 'length', 'write 0 1'],
  ['open -o read-only=on p.img', 'length', 'write 0 1'],
  ['open p.img all.img'],
  ['open -z p.img'],
  ['open -t none p.img', 'length'],
  ['open -t foo p.img', 'length'],
  ['open -d foo p.img', 'length'],
  ['open -d ignore -o driver=raw p.img', 'discard 0 64k', 'read -v 0 10'],
  ['open -i foo p.img', 'length'],
  ['open -i native p.img', 'length'],
  ['open -k p.img', 'length'],
  ['open -nk p.img', 'read 0 512'],
  ['open -i threads -o driver=raw p.img', 'read 0 512'],
  ['open -n p.img', 'length', 'read 100 1000', 'write 100 1000'],
  ['open -U p.img', 'length'],
  ['open -rU p.img', 'length'],
  ['open -rC p.img', 'length'],
  ['open -C p.img', 'length'],
  ['open -m p.img', 'length'],
  ['open nope', 'length'],
  ['open -r nope'],
  ['open foo:bar', 'length'],
  ['open -o driver=raw,foo=1 p.img', 'length'],
  ['open -o driver=raw,x p.img', 'length'],
  ['open -o driver=raw,offset=0,size=32k p.img', 'length', 'reopen -o offset=512,size=1k', 'length'],
  ['open -o offset=1024,driver=raw,size=512 p.img', 'length', 'read -v 0 20', 'read 512 1'],
  ['open -o offset=1024 -o driver=raw p.img', 'length'],
  ['open -o offset=7 -o driver=raw p.img', 'length', 'read -v 0 4'],
  ['open p.img', 'close', 'length', 'open -r p.img', 'length', 'close', 'close'],
  ['open -t none -n p.img', 'length'],
  ['open -o driver=raw -r -q p.img'],
  ['open -o'],
  ['open'],
  ['open -r'],
  ['open -r -- p.img', 'length'],
  ['open p.img -r', 'write 0 1'],
  ['open -o driver=null-co,size=1M', 'length', 'open p.img'],
  ['open json:{"driver":"raw","file.filename":"p.img"}', 'length'],
  ['open -o cache.direct=on p.img', 'length'],
  ['open -o force-share=on p.img', 'length'],
  ['open -o driver=raw,node-name=x p.img', 'reopen -o node-name=y', 'reopen -r', 'reopen -w'],
  ['open -o driver=raw,file.filename=p.img p.img', 'length'],
  ['open -o driver=raw,file.locking=off p.img', 'length'],
  ['open -o driver=raw,file.driver=file,file.filename=p.img,file.locking=off', 'length'],
  ['open -o driver p.img'],
  ['open -r .'],
  ['open p.img/x'],
  ['read'],
  ['read x'],
  ['length 1'],
  ['sleep 1', 'sleep x', 'sleep'],
  ['break a b', 'wait_break a', 'reopen -Z', 'help length'],
]

/** The tool's own command line. */
const TOOL: readonly IoCase[] = [
  { args: [] },
  { args: ['p.img'] },
  { args: RAW },
  { args: RAW, input: 'length\nread 0 512\nfoo\n\nquit\nlength\n' },
  { args: RAW, input: 'length' },
  { args: RAW, input: ' read 0 5\n  length\n#x\n\tlength\nquit 5\nlength\n' },
  { args: RAW, input: 'help length\nread 0 x\nclose\nlength\n' },
  { args: RAW, input: 'leng\0th\nlength\n' },
  { args: [], input: 'sleep 1\n\nopen -r -o driver=raw p.img\nlength\naio_read 0 16\naio_flush\nclose\n' },
  { args: ['-h'], out: 'any' },
  { args: ['-hZ'], out: 'any' },
  { args: ['-Zh'], out: 'any' },
  { args: ['-V'], out: 'any' },
  { args: ['--foo'], out: 'any' },
  { args: ['--foo=3'], out: 'any' },
  { args: ['-c'], out: 'any' },
  { args: ['-rZ'], out: 'any' },
  { args: ['-rc'], out: 'any' },
  { args: ['--format'], out: 'any' },
  { args: ['--nocache=3'], out: 'any' },
  { args: ['--fo', 'raw'], out: 'any' },
  { args: ['--c=length'], out: 'any' },
  { args: ['p.img', 'all.img'], out: 'any' },
  { args: ['-t', 'foo', 'p.img'] },
  { args: ['-d', 'foo', 'p.img'] },
  { args: ['-i', 'foo', 'p.img'] },
  { args: ['--ca', 'foo', '-Z'] },
  { args: ['-r', ...RAW], commands: ['length', 'write 0 1'] },
  { args: ['-t', 'none', ...RAW], commands: ['length', 'read 1 5', 'write 1 5'] },
  { args: ['-mn', ...RAW], commands: ['read 0 4k', 'write -P 4 0 4k', 'read -P 4 100 1000'] },
  { args: ['-d', 'unmap', ...RAW], commands: ['discard 0 64k', 'read -P 0 0 64k'] },
  { args: ['-d', 'off', ...RAW], commands: ['discard 0 64k', 'read -P 0 0 64k'] },
  { args: ['-i', 'native', ...RAW], commands: ['length'] },
  { args: ['-n', '-i', 'native', ...RAW], commands: ['length'] },
  { args: ['-k', ...RAW], commands: ['length'] },
  { args: ['-C', ...RAW], commands: ['length'] },
  { args: ['-C', '-r', ...RAW], commands: ['length'] },
  { args: ['-U', ...RAW], commands: ['length'] },
  { args: ['-rU', ...RAW], commands: ['length'] },
  { args: ['-f', 'foo', 'p.img'], commands: ['length'] },
  { args: ['-f', 'raw', 'nope'], commands: ['length'] },
  { args: ['nope'], commands: ['length'] },
  { args: ['-f', 'raw', 'foo:bar'], commands: ['length'] },
  { args: ['-f', 'raw', '.'], commands: ['length'], err: 'until' },
  { args: ['-f', 'raw'], commands: ['length'] },
  { args: ['--image-opts'], commands: ['length'] },
  { args: ['--image-opts', 'driver=raw,file.filename=p.img'], commands: ['length', 'read 0 5'] },
  { args: ['--image-opts', '-f', 'raw', 'driver=raw,file.filename=p.img'], commands: ['length'] },
  { args: ['--image-opts', 'p.img'], commands: ['length'] },
  { args: ['--image-opts', 'foo=1'], commands: ['length'] },
  { args: ['--image-opts', 'driver=raw,file.filename=nope'], commands: ['length'] },
  { args: ['--image-opts', 'driver=null-co,size=1M,foo=bar'], commands: ['length'] },
  { args: ['--image-opts'], commands: ['open driver=raw,file.filename=p.img', 'length'] },
  { args: ['--image-opts'], commands: ['open -o driver=raw p.img', 'length'] },
  { args: ['--image-opts'], commands: ['open -r', 'open x=1', 'open p.img'] },
  { args: ['json:{}'], commands: ['length'] },
  { args: ['json:{"driver":"raw","file.filename":"p.img"}'], commands: ['length'] },
  { args: ['-f', 'raw', 'file:p.img'], commands: ['length'] },
  { args: ['-f', 'raw', '--', 'p.img'], commands: ['length'] },
  { args: ['p.img', '-f', 'raw'], commands: ['length'] },
  { args: ['-fraw', '-clength', 'p.img'] },
  { args: ['--cmd=length', '--cmd', 'info', ...RAW] },
  { args: ['--object', 'secret,id=a,data=x', ...RAW], commands: ['length'] },
  { args: ['--object', 'secret', ...RAW], commands: ['length'] },
  { args: ['--object', 'foo,id=a', ...RAW], commands: ['length'] },
  { args: ['--object', 'secret,id=a', ...RAW], commands: ['length'] },
  { args: ['-f', 'raw', 'sparse.img'], commands: ['map', 'alloc 0', 'alloc 0 1M', 'alloc 4k 64k', 'alloc 100 10000'] },
  { args: ['--image-opts', 'driver=file,filename=sparse.img'], commands: ['map', 'info', 'alloc 0 64k'] },
  { args: ['-f', 'raw', 'odd.img'], commands: ['map', 'length', 'alloc 0 512', 'alloc 0 5', 'read -v 0 512'] },
  {
    args: ['-f', 'raw', 'odd.img'],
    commands: ['read 0 5', 'read 512 1', 'read 5 5', 'discard 0 512', 'write -P 1 500 12'],
  },
  { args: ['-f', 'raw', 'odd.img'], commands: ['write -z 0 512', 'length', 'write -P 1 2 3', 'read -v 0 20'] },
  { args: ['-r', 'odd.img'], commands: ['read -v 0 20', 'length'] },
  { args: ['-n', '-f', 'raw', 'odd.img'], commands: ['read -v 0 20', 'length'] },
  { args: ['-f', 'raw', 'zero.img'], commands: ['map', 'length', 'alloc 0 512', 'read 0 0', 'read 0 1', 'info'] },
  { args: ['-r', '-f', 'raw', 'all.img'], commands: ['read -v 0 256', 'read -v 3 1', 'readv -v 250 3 3'] },
  { args: ['p.img'], commands: ['write -P 1 0 512', 'write 512 512', 'read 0 512'] },
]

const ZEROES = 'driver=null-co,read-zeroes=on,size='
const SIZES = [
  '0',
  '512',
  '1000',
  '1025',
  '1536',
  '1048064',
  '1M',
  '1572864',
  '1073742336',
  '1.5G',
  '1500000000000',
  '3P',
]

/** Images that hold nothing: how sizes are written. */
const NULLS: readonly IoCase[] = [
  ...SIZES.map((size): IoCase => ({ args: ['--image-opts', `${ZEROES}${size}`], commands: ['length'] })),
  {
    args: ['--image-opts', `${ZEROES}1T`],
    commands: [
      'read -v 8589934592 20',
      'read -v 4294967290 20',
      'alloc 8589934593',
      'alloc 1000',
      'alloc 100000',
      'alloc 1048575',
      'alloc 1073741823',
      'map',
      'info',
      'write -z 0 0',
    ],
  },
  {
    args: ['--image-opts', 'driver=null-aio,size=1M'],
    commands: ['info', 'read -q 0 512', 'write -q 0 512', 'truncate 5'],
  },
  { args: ['--image-opts', 'driver=raw,file.driver=null-co,file.size=1M'], commands: ['info', 'length'] },
]

const blkdebug = (more = '') => [
  '--image-opts',
  `driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename=p.img${more}`,
]
const injected = (event: string, more = '') => blkdebug(`,file.inject-error.0.event=${event}${more}`)

/** Requests that fail and requests that are held. */
const DEBUG: readonly IoCase[] = [
  { args: blkdebug(), commands: ['length', 'info', 'map'] },
  {
    args: blkdebug(),
    commands: ['break read_aio a', 'aio_read 0 512', 'wait_break a', 'resume a', 'aio_flush'],
  },
  {
    args: blkdebug(),
    commands: ['break write_aio a', 'aio_write 0 512', 'wait_break a', 'read 0 512', 'resume a', 'aio_flush'],
  },
  {
    args: blkdebug(),
    commands: [
      'break pwritev a',
      'break pwritev b',
      'aio_write 0 512',
      'wait_break a',
      'wait_break b',
      'resume b',
      'resume a',
      'aio_flush',
      'resume a',
    ],
  },
  {
    args: blkdebug(),
    commands: ['break foo a', 'break none a', 'break read_aio a', 'remove_break a', 'remove_break a', 'resume a'],
  },
  { args: injected('write_aio'), commands: ['write 0 512', 'writev 0 512', 'aio_write 0 512', 'write -z 0 512'] },
  {
    args: injected('read_aio', ',file.inject-error.0.errno=28'),
    commands: ['read 0 512', 'readv 0 512', 'aio_read 0 512', 'aio_flush', 'read -q 0 512', 'aio_read -q 0 512'],
  },
  { args: injected('none', ',file.inject-error.0.iotype=block-status'), commands: ['map', 'alloc 0 512'] },
  { args: injected('none', ',file.inject-error.0.iotype=discard'), commands: ['discard 0 512', 'write -z 0 512'] },
  {
    args: injected('none', ',file.inject-error.0.iotype=write-zeroes,file.inject-error.0.errno=95'),
    commands: ['write -z 0 512', 'write -zn 0 512', 'aio_write -z 0 512', 'aio_flush'],
  },
  { args: injected('none', ',file.inject-error.0.iotype=flush'), commands: ['write 0 512', 'write -f 0 512'] },
  {
    args: ['-t', 'writethrough', ...injected('none', ',file.inject-error.0.iotype=flush')],
    commands: ['write 0 512', 'reopen -c writeback'],
  },
  {
    args: ['-t', 'unsafe', ...injected('none', ',file.inject-error.0.iotype=flush')],
    commands: ['write 0 512', 'flush', 'write -f 0 512'],
  },
  {
    args: injected('none', ',file.inject-error.0.iotype=read,file.inject-error.0.sector=3,file.inject-error.0.once=on'),
    commands: ['read 0 512', 'read 1k 1k', 'read 1k 1k'],
  },
]

/** Every run. */
export const IO_CASES: readonly IoCase[] = [
  ...IO_SINGLE_COMMANDS.map((line): IoCase => ({ args: RAW, commands: [line] })),
  ...SEQUENCES.map((commands): IoCase => ({ args: RAW, commands })),
  ...OPENS.map((commands): IoCase => ({ args: [], commands })),
  ...TOOL,
  ...NULLS,
  ...DEBUG,
]
