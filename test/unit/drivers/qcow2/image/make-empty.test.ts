import { describe, expect, test } from 'vitest'
import type { Bytes } from '../../../../../src/common/io-vector.js'
import { flattenBytes } from '../../../../../src/common/io-vector.js'
import { type BlockDriver, defineDriver } from '../../../../../src/global-state/driver.js'
import { changeBackingFile, makeEmpty } from '../../../../../src/global-state/image.js'
import { isAllocated } from '../../../../../src/io/block-status.js'
import {
  type ChunkStore,
  contentOf,
  storageDriver,
  storageOf,
} from '../../../../../src/testing/storage/memory-storage.js'
import { codeOf, openRig, type Rig } from '../../../../support/driver-rig.js'
import { ImageBytes } from '../../../../support/qcow2-bytes.js'
import { runCheck } from '../../../../support/qcow2-check.js'
import { type HandMadeOptions, handMadeImage } from '../../../../support/qcow2-image.js'

const MiB = 1024 * 1024

/** What reached the file, in order. */
type Step = { write: number; bytes: Uint8Array } | { length: number } | 'flush'

/** A file over `store` that keeps account of what is done to it. */
function recordingFile(store: ChunkStore, steps: Step[]): BlockDriver {
  return defineDriver({
    name: 'recorded',
    kind: 'protocol',
    options: {},
    open: () => ({
      state: undefined,
      io: {
        length: () => store.length,
        read: (offset, into: Bytes) => {
          const bytes = new Uint8Array(into.byteLength)
          store.read(offset, bytes)
          flattenInto(into, bytes)
        },
        write: (offset, data: Bytes) => {
          const bytes = flattenBytes(data).slice()
          steps.push({ write: offset, bytes })
          if (offset + bytes.byteLength > store.length) store.resize(offset + bytes.byteLength)
          store.write(offset, bytes)
        },
        truncate: (length) => {
          steps.push({ length })
          store.resize(length)
        },
        flush: () => {
          steps.push('flush')
        },
      },
    }),
  })
}

function flattenInto(into: Bytes, bytes: Uint8Array): void {
  let at = 0
  for (const buffer of into instanceof Uint8Array ? [into] : into.buffers) {
    buffer.set(bytes.subarray(at, at + buffer.byteLength))
    at += buffer.byteLength
  }
}

async function openImage(store: ChunkStore, driver = storageDriver(store)): Promise<Rig> {
  return openRig({ driver: 'qcow2', backing: null, file: { driver: driver.name } }, { drivers: [driver] })
}

async function empty({ graph, backend }: Rig): Promise<void> {
  await graph.mainLoop(async (main) => {
    if (backend.edge !== undefined) await makeEmpty(main, backend.edge)
  })
}

/** An image that was in use: data here and there, and a table or two moved where `grown`. */
async function usedImage(options: HandMadeOptions, grown: boolean): Promise<ChunkStore> {
  const store = storageOf(handMadeImage(options).bytes)
  const rig = await openImage(store)
  for (let at = 0; at < 12; at++) await rig.backend.write(at * 40_000, new Uint8Array(3000).fill(at + 1))
  if (grown) await rig.backend.truncate(16 * MiB)
  if (grown) await rig.backend.write(15 * MiB, new Uint8Array(512).fill(99))
  await rig.close()
  return store
}

const KINDS: [string, HandMadeOptions, boolean][] = [
  ['as it was made', { size: MiB }, false],
  ['with a moved L1 table', { size: MiB }, true],
  ['with wide refcounts', { size: MiB, refcountOrder: 6 }, true],
  ['with narrow refcounts', { size: MiB, refcountOrder: 0 }, true],
  ['with subclusters', { size: MiB, clusterBits: 14, extendedL2: true }, false],
  ['of version 2', { size: MiB, version: 2 }, false],
]

describe('an image is emptied', () => {
  test.each(KINDS)('%s', async (_name, options, grown) => {
    const store = await usedImage(options, grown)
    const rig = await openImage(store)
    await empty(rig)
    const { length } = rig.backend
    expect(await isAllocated(rig.node, 0, length)).toEqual({ allocated: false, bytes: length })
    // It goes on as any other.
    await rig.backend.write(70_000, new Uint8Array(1000).fill(5))
    const read = new Uint8Array(1000)
    await rig.backend.read(70_000, read)
    expect(read).toEqual(new Uint8Array(1000).fill(5))
    await rig.close()
    expect((await runCheck(new ImageBytes(contentOf(store)))).result).toMatchObject({ corruptions: 0, leaks: 0 })
  })

  test('its tables stand where a new image has them, and the file ends behind them', async () => {
    const store = await usedImage({ size: MiB }, true)
    const rig = await openImage(store)
    await empty(rig)
    await rig.close()
    const image = new ImageBytes(contentOf(store))
    expect(image.refcountTableAt).toBe(512)
    expect(image.l1At).toBe(3 * 512)
    const l1Clusters = Math.ceil((image.get32(36) * 8) / 512)
    expect(store.length).toBe((3 + l1Clusters) * 512)
  })
})

test.each([
  ['in place', { size: MiB }, false],
  ['from elsewhere', { size: MiB }, true],
] as [string, HandMadeOptions, boolean][])(
  'stopped anywhere, tables made anew %s are sound',
  async (_name, options, grown) => {
    const before = contentOf(await usedImage(options, grown))
    const store = storageOf(before)
    const steps: Step[] = []
    const rig = await openImage(store, recordingFile(store, steps))
    await empty(rig)
    await rig.close()
    const flushes = steps.flatMap((step, index) => (step === 'flush' ? [index] : []))
    expect(flushes.length).toBeGreaterThan(3)
    let states = 0
    for (const [from, to] of windows(flushes, steps.length)) {
      for (const kept of subsets(to - from)) {
        const image = storageOf(before)
        for (const step of steps.slice(0, from)) apply(image, step)
        for (const index of kept) apply(image, steps[from + index])
        const { result } = await runCheck(new ImageBytes(contentOf(image)))
        expect(result.corruptions).toBe(0)
        states++
      }
    }
    expect(states).toBeGreaterThan(20)
  },
)

function windows(flushes: readonly number[], end: number): [number, number][] {
  return [...flushes, end].map((to, index) => [index === 0 ? 0 : (flushes[index - 1] ?? 0) + 1, to])
}

/** All subsets of few steps; of many, each alone, all but each, and the first ones. */
function subsets(count: number): number[][] {
  const all = Array.from({ length: count }, (_, index) => index)
  if (count <= 5) return Array.from({ length: 2 ** count }, (_, bits) => all.filter((index) => (bits >> index) & 1))
  return all.flatMap((index) => [[index], all.filter((other) => other !== index), all.slice(0, index)])
}

function apply(store: ChunkStore, step: Step | undefined): void {
  if (step === undefined || step === 'flush') return
  if ('length' in step) {
    store.resize(step.length)
    return
  }
  const end = step.write + step.bytes.byteLength
  if (end > store.length) store.resize(end)
  store.write(step.write, step.bytes)
}

describe('the name of the backing file', () => {
  const change = ({ graph, node }: Rig, name: string | undefined, format: string | undefined) =>
    graph.mainLoop((main) => changeBackingFile(main, node, name, format))

  test('is written with its format, changed and taken away', async () => {
    const store = await usedImage({ size: MiB }, false)
    const rig = await openImage(store)
    const plain = contentOf(store).slice(0, 512)
    await change(rig, 'base.img', 'raw')
    const text = new TextDecoder('latin1').decode(contentOf(store).subarray(0, 512))
    expect(text).toContain('base.img')
    expect(text).toContain('raw')
    await change(rig, undefined, undefined)
    expect(contentOf(store).subarray(0, 112)).toEqual(plain.subarray(0, 112))
    await rig.close()
  })

  test('is refused where it is too long, or does not fit', async () => {
    const store = await usedImage({ size: MiB }, false)
    const before = contentOf(store)
    const rig = await openImage(store)
    expect(await codeOf(() => change(rig, 'x'.repeat(1024), 'raw'))).toBe('EINVAL')
    expect(await codeOf(() => change(rig, 'x'.repeat(500), 'raw'))).toBe('ENOSPC')
    expect(await codeOf(() => change(rig, 'x', 'a-format-with-a-long-name'))).toBe('EINVAL')
    expect(contentOf(store)).toEqual(before)
    await rig.close()
  })
})
