// Hostile images, by the ids of the list of threats the format is known for: each ends in one error with a code, or in a disk that
// is safe to use.

import { afterEach, describe, expect, it } from 'vitest'
import { BlockError } from '../../../../src/common/error.js'
import { BLK_PERM_ALL, BLK_PERM_CONSISTENT_READ, BLK_PERM_WRITE } from '../../../../src/common/permissions.js'
import { builtinDrivers } from '../../../../src/drivers/index.js'
import { type BlockBackend, createBackend } from '../../../../src/global-state/backend.js'
import { BlockGraph } from '../../../../src/global-state/graph.js'
import { closeNode } from '../../../../src/global-state/life/close.js'
import { openNode } from '../../../../src/global-state/life/open.js'
import { contentOf, storageDriver, storageOf } from '../../../../src/testing/storage/memory-storage.js'
import { emptyImage } from '../../../support/qcow2-image.js'

const SIZE = 256 * 1024
const CLUSTER = 512

interface Opened {
  backend: BlockBackend
  store: ReturnType<typeof storageOf>
  close(): Promise<void>
}

const closing: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

/** An image with numbers changed: [byte offset, width, value]. */
function damaged(changes: readonly (readonly [number, 4 | 8, bigint | number])[], kind = {}): Uint8Array {
  const bytes = emptyImage(SIZE, kind)
  const view = new DataView(bytes.buffer)
  for (const [at, width, value] of changes) {
    if (width === 4) view.setUint32(at, Number(value))
    else view.setBigUint64(at, BigInt(value))
  }
  return bytes
}

async function open(bytes: Uint8Array, writable = true): Promise<Opened> {
  const store = storageOf(bytes)
  const graph = new BlockGraph({ drivers: [...builtinDrivers, storageDriver(store)] })
  const options = { driver: 'qcow2', 'read-only': !writable, file: { driver: 'storage' } }
  const perm = BLK_PERM_CONSISTENT_READ | (writable ? BLK_PERM_WRITE : 0)
  const { node, backend } = await graph.mainLoop(async (main) => {
    const opened = await openNode(main, graph, options)
    return { node: opened, backend: await createBackend(main, graph, { node: opened, perm, shared: BLK_PERM_ALL }) }
  })
  let open = true
  const close = async () => {
    if (!open) return
    open = false
    await graph.mainLoop(async (main) => {
      await backend.close(main)
      await closeNode(main, node)
    })
  }
  closing.push(close)
  return { backend, store, close }
}

async function refusal(bytes: Uint8Array, writable = true): Promise<string> {
  try {
    await open(bytes, writable)
  } catch (error) {
    expect(error).toBeInstanceOf(BlockError)
    return (error as BlockError).code
  }
  return 'opened'
}

/** Where the tables of the small image stand. */
function places(bytes: Uint8Array): { l1: number; refcountTable: number; refcountBlock: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  const refcountTable = Number(view.getBigUint64(48))
  return { l1: Number(view.getBigUint64(40)), refcountTable, refcountBlock: Number(view.getBigUint64(refcountTable)) }
}

describe('is refused at open', () => {
  it.each([
    ['I01: an L1 table of 2^32 - 1 entries', [[36, 4, 0xffffffff]], 'EFBIG'],
    ['I01: an L1 table of 2^31 - 1 entries', [[36, 4, 0x7fffffff]], 'EFBIG'],
    ['I02: cluster bits of 0', [[20, 4, 0]], 'EINVAL'],
    ['I02: cluster bits of 63', [[20, 4, 63]], 'EINVAL'],
    ['I03: a header of 2^32 - 1 bytes', [[100, 4, 0xffffffff]], 'EINVAL'],
    ['I03: a header of 2^31 - 1 bytes', [[100, 4, 0x7fffffff]], 'EINVAL'],
    ['I04: a refcount table of 2^32 - 1 clusters', [[56, 4, 0xffffffff]], 'EINVAL'],
    ['I04: a refcount table nowhere', [[48, 8, 0x1234567890abcdefn]], 'EINVAL'],
    [
      'I07: many snapshots in a table at the end of the numbers',
      [
        [60, 4, 0xffff],
        [64, 8, 0xffff_ffff_ffff_0000n],
      ],
      'EINVAL',
    ],
    ['I10: an unknown incompatible feature', [[72, 8, 1n << 33n]], 'ENOTSUP'],
    [
      'I11: an unknown extension of 2^31 - 1 bytes',
      [
        [112, 4, 0x12345678],
        [116, 4, 0x7fffffff],
      ],
      'EINVAL',
    ],
    ['a refcount width beyond 64 bits', [[96, 4, 7]], 'EINVAL'],
    ['a disk larger than its L1 table', [[24, 8, 1n << 40n]], 'EINVAL'],
    ['an L1 table between two clusters', [[40, 8, 700]], 'EINVAL'],
    ['an unknown encryption', [[32, 4, 3]], 'EINVAL'],
  ] as const)('%s', async (_name, changes, code) => {
    expect(await refusal(damaged(changes))).toBe(code)
  })

  it('I10 names the feature by the table of the image', async () => {
    const name = new TextEncoder().encode('a feature of tomorrow')
    const bytes = damaged([[72, 8, 1n << 33n]])
    const view = new DataView(bytes.buffer)
    view.setUint32(112, 0x6803f857)
    view.setUint32(116, 48)
    bytes.set([0, 33], 120)
    bytes.set(name, 122)
    await expect(open(bytes)).rejects.toThrow('a feature of tomorrow')
  })
})

describe('while writing', () => {
  it('I13: an L1 entry that names the L1 table: the write is refused, the image marked, and only readable from then on', async () => {
    const bytes = damaged([])
    const { l1 } = places(bytes)
    new DataView(bytes.buffer).setBigUint64(l1, BigInt(l1) | (1n << 63n))
    const { backend, store, close } = await open(bytes)
    await expect(backend.write(0, new Uint8Array(CLUSTER).fill(1))).rejects.toMatchObject({ code: 'EIO' })
    await expect(backend.write(64 * CLUSTER, new Uint8Array(CLUSTER).fill(1))).rejects.toMatchObject({ code: 'EIO' })
    await close().catch(() => {})
    const after = contentOf(store)
    expect(new DataView(after.buffer).getBigUint64(72) & 2n).toBe(2n)
    expect(await refusal(after)).toBe('EACCES')
    expect(await refusal(after, false)).toBe('opened')
  })

  it('I14: an L2 entry that names a refcount block', async () => {
    const bytes = damaged([])
    const { refcountBlock } = places(bytes)
    const first = await open(bytes)
    await first.backend.write(0, new Uint8Array(CLUSTER).fill(1))
    await first.close()
    const image = contentOf(first.store)
    const view = new DataView(image.buffer)
    const l2 = Number(view.getBigUint64(places(image).l1) & 0x00ff_ffff_ffff_fe00n)
    view.setBigUint64(l2, BigInt(refcountBlock) | (1n << 63n))
    const { backend, store } = await open(image)
    const before = contentOf(store).slice(refcountBlock, refcountBlock + CLUSTER)
    await expect(backend.write(0, new Uint8Array(CLUSTER).fill(7))).rejects.toMatchObject({ code: 'EIO' })
    expect(contentOf(store).slice(refcountBlock, refcountBlock + CLUSTER)).toEqual(before)
  })

  it('I15: an empty refcount table: nothing is ever placed over the header', async () => {
    const bytes = damaged([])
    new DataView(bytes.buffer).setBigUint64(places(bytes).refcountTable, 0n)
    const { backend, store } = await open(bytes)
    await expect(backend.write(0, new Uint8Array(CLUSTER).fill(1))).rejects.toMatchObject({ code: 'EIO' })
    expect(new DataView(contentOf(store).buffer).getUint32(0)).toBe(0x514649fb)
  })

  it('I17: a refcount block between two clusters', async () => {
    // Larger clusters: an offset can be a multiple of 512 and no cluster boundary.
    const bytes = damaged([], { clusterBits: 12 })
    const { refcountTable, refcountBlock } = places(bytes)
    new DataView(bytes.buffer).setBigUint64(refcountTable, BigInt(refcountBlock + 512))
    const { backend } = await open(bytes)
    await expect(backend.write(0, new Uint8Array(CLUSTER).fill(1))).rejects.toBeInstanceOf(BlockError)
  })
})

describe('while reading', () => {
  it.each([
    ['I12: an L2 entry beyond every file', 0xbfff_ffff_ffff_0000n],
    ['I17: an L2 entry between two clusters', 0x8000_0000_0000_2200n],
  ])('%s', async (_name, entry) => {
    const bytes = damaged([], { clusterBits: 12 })
    const first = await open(bytes)
    await first.backend.write(0, new Uint8Array(4096).fill(1))
    await first.close()
    const image = contentOf(first.store)
    const view = new DataView(image.buffer)
    const l2 = Number(view.getBigUint64(places(image).l1) & 0x00ff_ffff_ffff_fe00n)
    view.setBigUint64(l2, entry)
    const { backend } = await open(image, false)
    await expect(backend.read(0, new Uint8Array(4096))).rejects.toBeInstanceOf(BlockError)
    const rest = new Uint8Array(4096).fill(1)
    await backend.read(4096, rest)
    expect(rest.every((byte) => byte === 0)).toBe(true)
  })

  it('I33: an image cut at any byte opens to zeroes or errors, never to a crash', async () => {
    const { backend, store, close } = await open(damaged([]))
    await backend.write(0, new Uint8Array(CLUSTER * 3).fill(9))
    await close()
    const whole = contentOf(store)
    for (let length = 0; length < whole.byteLength; length += length < 700 ? 1 : 37) {
      try {
        const cut = await open(whole.slice(0, length), false)
        const seen = new Uint8Array(CLUSTER * 4)
        await cut.backend.read(0, seen)
        expect(seen.every((byte) => byte === 0 || byte === 9)).toBe(true)
        await cut.close()
      } catch (error) {
        expect(error).toBeInstanceOf(BlockError)
      }
    }
  })

  it('I06: images that do not open leave nothing behind', async () => {
    const graph = new BlockGraph({ drivers: [...builtinDrivers, storageDriver(storageOf(damaged([[20, 4, 63]])))] })
    for (let i = 0; i < 10_000; i++) {
      const opening = graph.mainLoop((main) => openNode(main, graph, { driver: 'qcow2', file: { driver: 'storage' } }))
      await expect(opening).rejects.toMatchObject({ code: 'EINVAL' })
    }
    expect(graph.nodes.size).toBe(0)
  })
})
