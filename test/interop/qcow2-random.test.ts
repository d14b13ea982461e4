// The same random work on the same image by qemu-io and by us: a guest sees the same, their check finds both images clean, and
// tables stand at the same places, byte for byte. Then each goes on with what the other has left.

import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  BLK_PERM_ALL,
  BLK_PERM_CONSISTENT_READ,
  BLK_PERM_WRITE,
  BlockGraph,
  builtinDrivers,
  closeNode,
  createBackend,
  fileDriver,
  nodeServices,
  openNode,
} from '../../src/node.js'
import { type RandomBelow, seededRandom } from '../../src/testing/crash/seeded-random.js'
import { type Peer, peer } from '../support/peers.js'
import { applyTo, commandOf, type Operation, perform, randomOperations } from './qcow2/operations.js'
import { randomVariant, type Variant } from './qcow2/variants.js'

const SEED = Number(process.env.BLOCKGRAPH_INTEROP_SEED ?? 1)
const IMAGES = 300
const PER_TEST = 30

interface Case {
  seed: number
  folder: string
  variant: Variant
  random: RandomBelow
  content: Uint8Array
  image: Peer
  io: Peer
}

describe('random images, by qemu-io and by us', () => {
  let folder: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'qcow2-random-'))
  })
  afterEach(() => rmSync(folder, { recursive: true, force: true }))

  const batches = Array.from({ length: IMAGES / PER_TEST }, (_, batch) => batch)
  test.each(batches)(
    'batch %i',
    async (batch) => {
      const tools = { image: peer('qemu-img'), io: peer('qemu-io') }
      for (let index = 0; index < PER_TEST; index++) {
        const seed = SEED * 1000 + batch * PER_TEST + index
        const random = seededRandom(seed)
        const variant = randomVariant(random)
        const content = new Uint8Array(variant.geometry.size)
        await runCase({ seed, folder, variant, random, content, ...tools })
      }
    },
    300_000,
  )
})

async function runCase(run: Case): Promise<void> {
  const { variant, random, content } = run
  makeImages(run)
  for (const [ours, theirs] of [
    ['a', 'b'],
    ['b', 'a'],
  ] as const) {
    const operations = randomOperations(variant.geometry, 4 + random(24), random)
    const work = ours === 'a' ? operations : operations.filter(({ kind }) => kind !== 'compressed')
    for (const operation of work) applyTo(content, variant.geometry, operation)
    const told = `seed ${run.seed}: ${variant.options.join(',')}${variant.backing === undefined ? '' : `, backing ${variant.backing}`}, size ${variant.geometry.size}\n${work.map(commandOf).join('\n')}`
    await workByUs(run, ours, work)
    // They take the name of a data file from where they run.
    const cwd = { cwd: run.folder }
    const done = run.io.run(
      ['-d', 'unmap', ...work.flatMap((each) => ['-c', commandOf(each)]), imageOf(run, theirs)],
      cwd,
    )
    expect(done, told).toMatchObject({ status: 0, stderr: '' })
    await judge(run, told)
  }
}

const imageOf = ({ folder }: Case, name: string) => join(folder, `${name}.qcow2`)
const dataOf = ({ folder }: Case, name: string) => join(folder, `${name}.data`)

/** Image `a` and its twin `b`. Names inside an image have the same length, so that the bytes can be compared. */
function makeImages(run: Case): void {
  const { variant, random, content, image } = run
  const backing = variant.backing === undefined ? [] : ['-b', backingFile(run, variant.backing, random), '-F', 'raw']
  for (const name of ['a', 'b']) {
    const list = variant.options.map((option) => option.replace('DATA', `${name}.data`)).join(',')
    rmSync(dataOf(run, name), { force: true })
    const to = [`${name}.qcow2`, String(content.byteLength)]
    image.check(['create', '-q', '-f', 'qcow2', '-o', list, ...backing, ...to], { cwd: run.folder })
  }
  if (!variant.dataFile) copyFileSync(imageOf(run, 'a'), imageOf(run, 'b'))
}

function backingFile(run: Case, bytes: number, random: RandomBelow): string {
  const data = new Uint8Array(bytes)
  for (let at = 0; at < bytes; at += 512) data.fill(random(3) === 0 ? 0 : random(256), at, at + 512)
  writeFileSync(join(run.folder, 'base.raw'), data)
  run.content.set(data.subarray(0, Math.min(bytes, run.content.byteLength)))
  return 'base.raw'
}

async function workByUs(run: Case, name: string, work: readonly Operation[]): Promise<void> {
  await withImage(imageOf(run, name), true, async (backend) => {
    for (const operation of work) await perform(backend, operation)
  })
}

type Backend = Awaited<ReturnType<typeof createBackend>>

async function withImage(path: string, writable: boolean, act: (backend: Backend) => Promise<void>): Promise<void> {
  const graph = new BlockGraph({ drivers: [...builtinDrivers, fileDriver], services: nodeServices })
  const options = {
    driver: 'qcow2',
    discard: 'unmap',
    'read-only': !writable,
    file: { driver: 'file', filename: path },
  }
  const perm = BLK_PERM_CONSISTENT_READ | (writable ? BLK_PERM_WRITE : 0)
  const { node, backend } = await graph.mainLoop(async (main) => {
    const opened = await openNode(main, graph, options)
    return { node: opened, backend: await createBackend(main, graph, { node: opened, perm, shared: BLK_PERM_ALL }) }
  })
  try {
    await act(backend)
  } finally {
    await graph.mainLoop(async (main) => {
      await backend.close(main)
      await closeNode(main, node)
    })
  }
}

async function judge(run: Case, told: string): Promise<void> {
  const { content, variant, image, folder } = run
  writeFileSync(join(folder, 'content.raw'), content)
  for (const name of ['a', 'b']) {
    const path = imageOf(run, name)
    const checked = image.run(['check', '-q', '-f', 'qcow2', path], { cwd: folder })
    expect(checked, `check of ${name}, ${told}`).toEqual({ status: 0, stdout: '', stderr: '' })
    const compared = image.run(['compare', '-q', '-f', 'qcow2', '-F', 'raw', path, 'content.raw'], { cwd: folder })
    expect(compared.status, `content of ${name} as they see it, ${told}`).toBe(0)
    await withImage(path, false, async (backend) => {
      const seen = new Uint8Array(content.byteLength)
      await backend.read(0, seen)
      expect(Buffer.compare(seen, content), `content of ${name} as we see it, ${told}`).toBe(0)
    })
  }
  if (variant.sameBytes) expect(firstDifference(run), `bytes, ${told}`).toBeUndefined()
}

/** Where the two images differ. How far a file reaches behind its last byte that is not zero says nothing. */
function firstDifference(run: Case): number | undefined {
  const [a, b] = [readFileSync(imageOf(run, 'a')), readFileSync(imageOf(run, 'b'))]
  // The name of the data file stands in the header.
  const from = run.variant.dataFile ? run.variant.geometry.clusterSize : 0
  for (let at = from; at < Math.max(a.byteLength, b.byteLength); at++) if ((a[at] ?? 0) !== (b[at] ?? 0)) return at
  return undefined
}
