// New qcow2 images against those of the real qemu-img: for the same options the same bytes at every offset, of the image and of its
// data file, over a table of options and random ones.

import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Peer, peer } from '../support/peers.js'
import { runOurs } from '../support/tool-pair.js'

const MiB = 1024 * 1024
const TOOL = 'qemu-img'
let root = ''

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'blockgraph-create-'))
})

afterAll(() => {
  rmSync(root, { recursive: true, force: true })
})

const OPTION_SETS: readonly (readonly [options: string, size: number])[] = [
  ['', 0],
  ['', 1],
  ['', 1000],
  ['', 1024 ** 4],
  ['', 2 * 1024 ** 5],
  ...([512, 1024, 2048, 4096, 8192, 16384, 2 * MiB].map((bytes) => [`cluster_size=${bytes}`, 8 * MiB]) as [
    string,
    number,
  ][]),
  ...([1, 2, 4, 8, 32, 64].map((bits) => [`cluster_size=512,refcount_bits=${bits}`, 1024 ** 3]) as [string, number][]),
  ['cluster_size=512', 32 * 1024 ** 3],
  ['cluster_size=512,refcount_bits=64', 16 * 1024 ** 3],
  ['compat=0.10', 1024 ** 3],
  ['compat=0.10,preallocation=metadata', MiB],
  ['lazy_refcounts=on,compression_type=zstd', MiB],
  ['extended_l2=on,preallocation=metadata', 2_144_768],
  ['extended_l2=on,preallocation=falloc', 2_144_768],
  ['cluster_size=512,preallocation=metadata', MiB],
  ['cluster_size=512,preallocation=falloc', MiB],
  ['cluster_size=512,preallocation=falloc,refcount_bits=64', 4 * MiB],
  ['cluster_size=512,preallocation=full', 100_000],
  ['preallocation=falloc', 0],
  ['data_file=n.raw', 100_000],
  ['data_file=n.raw,data_file_raw=on', 100_000],
  ['data_file=n.raw,preallocation=full,cluster_size=4k', 100_000],
  ['backing_file=base.img,backing_fmt=raw', 3 * MiB],
  ['backing_file=base.img,backing_fmt=raw,cluster_size=512', 3 * MiB],
  ['backing_file=base.img,backing_fmt=raw,extended_l2=on,preallocation=metadata', 3 * MiB],
]

test.each(OPTION_SETS)('%s, %d bytes', async (options, size) => {
  expect(await difference(peer(TOOL), options, size)).toBe('none')
})

/** Options that go together, and a size of which an image is made in no time. */
const optionSets = fc
  .record({
    clusterBits: fc.constantFrom(9, 9, 10, 12, 14, 16, 16, 21),
    refcountBits: fc.constantFrom(1, 2, 4, 8, 16, 16, 32, 64),
    old: fc.boolean(),
    lazy: fc.boolean(),
    subclusters: fc.boolean(),
    zstd: fc.boolean(),
    data: fc.constantFrom('', '', '', 'data_file=n.raw', 'data_file=n.raw,data_file_raw=on'),
    backing: fc.boolean(),
    preallocation: fc.constantFrom('off', 'metadata', 'falloc', 'full'),
    size: fc.nat(),
  })
  .map((set) => {
    const v3 = !set.old || set.data !== ''
    const subclusters = v3 && set.subclusters && set.clusterBits >= 14
    const backing = set.backing && !set.data.includes('raw=on')
    const places = !backing || subclusters ? set.preallocation : 'off'
    const options = [
      `cluster_size=${2 ** set.clusterBits}`,
      ...(v3 ? [`refcount_bits=${set.refcountBits}`] : ['compat=0.10']),
      ...(v3 && set.lazy ? ['lazy_refcounts=on'] : []),
      ...(subclusters ? ['extended_l2=on'] : []),
      ...(v3 && set.zstd ? ['compression_type=zstd'] : []),
      ...(set.data === '' ? [] : [set.data]),
      ...(backing ? ['backing_file=base.img,backing_fmt=raw'] : []),
      ...(places === 'off' ? [] : [`preallocation=${places}`]),
    ]
    const most =
      places !== 'off' || set.data !== '' ? (set.clusterBits < 12 ? MiB : 8 * MiB) : 4 ** set.clusterBits * 64
    return { options: options.join(','), size: set.size % most }
  })

test('random options', async () => {
  const qemu = peer(TOOL)
  await fc.assert(
    fc.asyncProperty(optionSets, async ({ options, size }) => {
      expect(await difference(qemu, options, size)).toBe('none')
    }),
    { numRuns: 60 },
  )
}, 120_000)

/** Makes the image with both tools and says where the results differ. */
async function difference(qemu: Peer, options: string, size: number): Promise<string> {
  const folders = [join(root, 'theirs'), join(root, 'ours')] as const
  for (const folder of folders) {
    mkdirSync(folder)
    qemu.check(['create', '-q', '-f', 'raw', 'base.img', '1M'], { cwd: folder })
  }
  const args = ['create', '-f', 'qcow2', ...(options === '' ? [] : ['-o', options]), 'n.qcow2', String(size)]
  const expected = qemu.run(args, { cwd: folders[0] })
  const actual = await runOurs(args, folders[1])
  const found = [
    expected.status === actual.status ? '' : `exit code ${actual.status}: ${actual.stderr}`,
    expected.stdout === actual.stdout ? '' : `says ${actual.stdout}`,
    ...['n.qcow2', ...(options.includes('n.raw') ? ['n.raw'] : [])].map((name) => {
      const [theirs, ours] = [readFileSync(join(folders[0], name)), readFileSync(join(folders[1], name))]
      if (theirs.equals(ours)) return ''
      const at = theirs.findIndex((byte, index) => byte !== ours[index])
      return `${name}: ${ours.length} bytes instead of ${theirs.length}, different at ${at}`
    }),
  ]
  for (const folder of folders) rmSync(folder, { recursive: true })
  return found.filter((line) => line !== '').join('; ') || 'none'
}
