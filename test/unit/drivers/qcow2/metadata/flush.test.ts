// In which order an image reaches its file: data and counts before the tables that use them, and the dirty bit around it all.

import { describe, expect, test } from 'vitest'
import { barrier } from '../../../../../src/drivers/qcow2/metadata/barrier.js'
import { write } from '../../../../../src/io/write.js'
import { codeOf } from '../../../../support/code-of.js'
import { closeSound, type OpenQcow2, openQcow2 } from '../../../../support/open-qcow2.js'
import { handMadeImage } from '../../../../support/qcow2-image.js'
import { edgeOn, MemoryIo, StubNode } from '../../../../support/stub-graph.js'

const CLUSTER = 4096
const image = (options = {}) => handMadeImage({ clusterBits: 12, ...options })

const NAMES: Readonly<Record<number, string>> = {
  0: 'header',
  2: 'counts',
  3: 'L1',
  4: 'L2',
  13: 'data',
}

/** What changed the file since the last call, by what stands there. */
function story(disk: OpenQcow2): string[] {
  return disk.requests
    .splice(0)
    .filter(({ op }) => op !== 'read')
    .map(({ op, offset }) => (op === 'write' ? (NAMES[Math.floor(offset / CLUSTER)] ?? `cluster ${offset}`) : op))
}

describe('an allocating write', () => {
  test('hands its data over at once; with a flush come counts, a barrier, and the table', async () => {
    const disk = await openQcow2(image())
    await disk.write(20 * CLUSTER, CLUSTER, 1)
    expect(story(disk)).toEqual(['data'])
    await disk.flush()
    expect(story(disk)).toEqual(['counts', 'flush', 'L2', 'flush'])
    await disk.flush()
    expect(story(disk)).toEqual([])
    await closeSound(disk)
  })

  test('closing does the same', async () => {
    const disk = await openQcow2(image())
    await disk.write(20 * CLUSTER, CLUSTER, 1)
    disk.requests.length = 0
    await closeSound(disk)
    expect(story(disk)).toEqual(['counts', 'flush', 'L2', 'flush'])
  })

  test('many of them share the barrier', async () => {
    const disk = await openQcow2(image())
    for (let index = 20; index < 30; index++) await disk.write(index * CLUSTER, CLUSTER, 1)
    disk.requests.length = 0
    await disk.flush()
    expect(story(disk)).toEqual(['counts', 'flush', 'L2', 'flush'])
    await closeSound(disk)
  })
})

describe('a discard', () => {
  test('writes the table first, then the counts that fell', async () => {
    const disk = await openQcow2(image(), { options: { 'pass-discard-request': false } })
    await disk.rig.backend.discard(2 * CLUSTER, CLUSTER)
    expect(story(disk)).toEqual([])
    await disk.flush()
    expect(story(disk)).toEqual(['L2', 'flush', 'counts', 'flush'])
    await closeSound(disk)
  })
})

describe('lazy refcounts', () => {
  test('the dirty bit before the first allocation, counts only when the image is closed, the bit last', async () => {
    const disk = await openQcow2(image({ lazyRefcounts: true }))
    await disk.write(20 * CLUSTER, CLUSTER, 1)
    expect(story(disk)).toEqual(['header', 'flush', 'data'])
    await disk.flush()
    expect(story(disk)).toEqual(['flush', 'L2', 'flush'])
    await closeSound(disk)
    expect(story(disk)).toEqual(['counts', 'flush', 'header', 'flush'])
    expect(disk.image.get64(72)).toBe(0n)
  })

  test('an image left with the dirty bit has its counts repaired when it is opened for writing', async () => {
    const open = await openQcow2(image({ lazyRefcounts: true }))
    await open.write(20 * CLUSTER, CLUSTER, 0x99)
    await open.flush()
    const left = open.image
    await open.close()
    expect([left.get64(72), left.refcount(13)]).toEqual([1n, 0n])
    const disk = await openQcow2(left)
    expect(disk.image.refcount(13)).toBe(1n)
    expect((await disk.read(20 * CLUSTER, 1))[0]).toBe(0x99)
    await closeSound(disk)
    expect(disk.image.get64(72)).toBe(0n)
  })
})

describe('a flush that fails', () => {
  test.each([
    ['counts', 'write', 2],
    ['the table', 'write', 4],
  ] as const)('writing %s is reported, and the next one does it all', async (_name, on, cluster) => {
    const disk = await openQcow2(image())
    await disk.write(20 * CLUSTER, CLUSTER, 0x99)
    const fault = disk.faults.add({ on, fail: 'EIO', range: { offset: cluster * CLUSTER, bytes: CLUSTER } })
    expect(await codeOf(() => disk.flush())).toBe('EIO')
    expect(fault.hits).toBe(1)
    await disk.flush()
    expect([disk.image.refcount(13), disk.image.entry(20) >> 63n]).toEqual([1n, 1n])
    await closeSound(disk)
  })

  test('at the barrier leaves the table unwritten until counts are durable', async () => {
    const disk = await openQcow2(image())
    await disk.write(20 * CLUSTER, CLUSTER, 0x99)
    disk.requests.length = 0
    const fault = disk.faults.add({ on: 'flush', fail: 'EIO' })
    expect(await codeOf(() => disk.flush())).toBe('EIO')
    expect([fault.hits, story(disk)]).toEqual([1, ['counts']])
    await disk.flush()
    expect(story(disk)).toEqual(['flush', 'L2', 'flush'])
    await closeSound(disk)
  })
})

test('a barrier makes the data file durable before the image file', async () => {
  const order: string[] = []
  const edge = (name: string) => {
    const io = new MemoryIo(CLUSTER)
    io.flush = () => {
      order.push(name)
    }
    return edgeOn(new StubNode(io))
  }
  const state = { file: edge('image'), dataFile: edge('data') }
  await write(state.file, 0, new Uint8Array(512))
  await write(state.dataFile, 0, new Uint8Array(512))
  await barrier(state)
  expect(order).toEqual(['data', 'image'])
})
