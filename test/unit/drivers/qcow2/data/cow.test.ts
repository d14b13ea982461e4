// Copy on write: what stands beside a write in its clusters goes to the new place with it, in one request; who waits for whom in
// the same cluster; and what a failure leaves.

import { describe, expect, test } from 'vitest'
import { BlockError } from '../../../../../src/common/error.js'
import { codeOf } from '../../../../support/code-of.js'
import {
  backedBy,
  closeSound,
  filled,
  type OpenOptions,
  type OpenQcow2,
  openQcow2,
  runsOf,
} from '../../../../support/open-qcow2.js'
import { COPIED, type ImageBytes } from '../../../../support/qcow2-bytes.js'
import { handMadeImage } from '../../../../support/qcow2-image.js'
import { drainMicrotasks } from '../../../../support/virtual-clock.js'

const CLUSTER = 4096
const FIRST = 5 * CLUSTER
/** The first cluster behind an image of 8 data clusters. */
const FREE = 13 * CLUSTER

/** Guest clusters 0 to 7 are shared with something that is not to be seen: a snapshot, without its table. */
function shared(): ImageBytes {
  const image = handMadeImage({ clusterBits: 12 })
  for (let index = 0; index < 8; index++) {
    image.setEntry(index, image.entry(index) & ~COPIED)
    image.setRefcount(5 + index, 2n)
  }
  return image
}

/** The disk with its table in memory and nothing noted. */
async function warm(image: ImageBytes, open: OpenOptions = {}): Promise<OpenQcow2> {
  const disk = await openQcow2(image, open)
  await disk.write(100 * CLUSTER, CLUSTER, 0xee)
  await disk.flush()
  disk.requests.length = 0
  return disk
}

describe('a write into a shared cluster', () => {
  test('goes to a new one as a whole: head, data and tail in one request', async () => {
    const disk = await warm(shared())
    await disk.write(2 * CLUSTER + 1000, 96, 0x99)
    expect(disk.requests.map(({ op, offset, bytes }) => [op, offset, bytes])).toEqual([
      ['read', FIRST + 2 * CLUSTER, 1000],
      ['read', FIRST + 2 * CLUSTER + 1096, 3000],
      ['write', FREE + CLUSTER, CLUSTER],
    ])
    expect(runsOf(await disk.read(2 * CLUSTER, CLUSTER))).toEqual([
      [3, 1000],
      [0x99, 96],
      [3, 3000],
    ])
    await disk.close()
  })

  test('leaves the old one to whoever shares it, counted once less', async () => {
    const disk = await warm(shared())
    await disk.write(2 * CLUSTER, CLUSTER, 0x99)
    await disk.flush()
    const { image } = disk
    expect(image.bytes.subarray(FIRST + 2 * CLUSTER, FIRST + 3 * CLUSTER)).toEqual(filled(CLUSTER, 3))
    expect([image.refcount(7), image.refcount(14), image.entry(2)]).toEqual([1n, 1n, COPIED | BigInt(FREE + CLUSTER)])
    await disk.close()
  })

  test('reads nothing where it covers whole clusters', async () => {
    const disk = await warm(shared())
    await disk.write(2 * CLUSTER, 3 * CLUSTER, 0x99)
    expect(disk.taken('read')).toEqual([])
    await disk.close()
  })

  test('and its neighbours copies at both ends only, and is still one request', async () => {
    const disk = await warm(shared())
    await disk.write(2 * CLUSTER + 1024, 3 * CLUSTER, 0x99)
    expect(disk.requests.map(({ op, offset, bytes }) => [op, offset, bytes])).toEqual([
      ['read', FIRST + 2 * CLUSTER, 1024],
      ['read', FIRST + 5 * CLUSTER + 1024, 3072],
      ['write', FREE + CLUSTER, 4 * CLUSTER],
    ])
    expect(runsOf(await disk.read(2 * CLUSTER, 4 * CLUSTER))).toEqual([
      [3, 1024],
      [0x99, 3 * CLUSTER],
      [6, 3072],
    ])
    await disk.close()
  })

  test('is in place from then on', async () => {
    const disk = await warm(shared())
    await disk.write(2 * CLUSTER, 10, 0x99)
    disk.requests.length = 0
    await disk.write(2 * CLUSTER + 20, 10, 0x98)
    expect(disk.requests.map(({ op, offset, bytes }) => [op, offset, bytes])).toEqual([
      ['write', FREE + CLUSTER + 20, 10],
    ])
    await disk.close()
  })
})

describe('a write where nothing is', () => {
  test('behind the end of the file needs no copy: what is not written there reads as zeroes', async () => {
    const disk = await warm(handMadeImage({ clusterBits: 12 }))
    await disk.write(20 * CLUSTER + 1024, 512, 0x99)
    expect([disk.requests.length, disk.taken('write')]).toEqual([1, [[FREE + CLUSTER + 1024, 512]]])
    expect(runsOf(await disk.read(20 * CLUSTER, CLUSTER))).toEqual([
      [0, 1024],
      [0x99, 512],
      [0, 2560],
    ])
    await closeSound(disk)
  })

  test('in a cluster that held something writes zeroes around the data', async () => {
    const disk = await warm(handMadeImage({ clusterBits: 12 }))
    await disk.rig.backend.discard(3 * CLUSTER, CLUSTER)
    await disk.flush()
    disk.requests.length = 0
    await disk.write(20 * CLUSTER + 1024, 512, 0x99)
    expect(disk.taken('write')).toEqual([[FIRST + 3 * CLUSTER, CLUSTER]])
    expect(runsOf(await disk.read(20 * CLUSTER, CLUSTER))).toEqual([
      [0, 1024],
      [0x99, 512],
      [0, 2560],
    ])
    await closeSound(disk)
  })

  test('takes head and tail from the backing file, zeroes where that is shorter', async () => {
    const base = new Uint8Array(20 * CLUSTER + 3000).fill(0xbb)
    const disk = await warm(handMadeImage({ clusterBits: 12 }), backedBy(base))
    await disk.write(20 * CLUSTER + 1000, 100, 0x99)
    expect(disk.taken('write')).toEqual([[FREE + CLUSTER, CLUSTER]])
    expect(runsOf(await disk.read(20 * CLUSTER, CLUSTER))).toEqual([
      [0xbb, 1000],
      [0x99, 100],
      [0xbb, 1900],
      [0, 1096],
    ])
    await disk.close()
  })

  test('in subclusters copies no more than those it touches', async () => {
    const image = handMadeImage({ clusterBits: 14, extendedL2: true })
    const disk = await openQcow2(image, backedBy(new Uint8Array(2 ** 20).fill(0xbb)))
    await disk.write(40 * 16_384, 512, 1)
    disk.requests.length = 0
    await disk.write(20 * 16_384 + 1000, 1000, 0x99)
    // Bytes 1000 to 2000 lie in subclusters 1 to 3, of 512 bytes each.
    const [request] = disk.taken('write')
    expect([(request?.[0] ?? 0) % 16_384, request?.[1]]).toEqual([512, 3 * 512])
    await disk.flush()
    expect(disk.image.get64(disk.image.entryAt(20) + 8)).toBe(0b1110n)
    await disk.close()
  })
})

describe('two writes', () => {
  /** Holds the first write of data of guest cluster 20 on. */
  async function held(disk: OpenQcow2) {
    const fault = disk.faults.add({ on: 'write', stick: true, range: { offset: FREE + CLUSTER, bytes: 2 ** 30 } })
    const first = disk.write(20 * CLUSTER, 1024, 0xa1)
    await fault.stuckOnce
    return { fault, first }
  }

  test('to one cluster share one allocation: the second waits for the first', async () => {
    const disk = await warm(handMadeImage({ clusterBits: 12 }))
    const { fault, first } = await held(disk)
    let done = false
    const second = disk.write(20 * CLUSTER + 2048, 1024, 0xa2).then(() => {
      done = true
    })
    await drainMicrotasks()
    expect([done, disk.state.allocations.count, disk.requests.length]).toEqual([false, 1, 0])
    fault.release()
    await first
    await second
    expect(runsOf(await disk.read(20 * CLUSTER, CLUSTER))).toEqual([
      [0xa1, 1024],
      [0, 1024],
      [0xa2, 1024],
      [0, 1024],
    ])
    expect(disk.state.freeClusterIndex).toBe(15)
    await closeSound(disk)
  })

  test('to clusters side by side do not wait for each other', async () => {
    const disk = await warm(handMadeImage({ clusterBits: 12 }))
    const { fault, first } = await held(disk)
    await disk.write(21 * CLUSTER, 1024, 0xa2)
    expect((await disk.read(21 * CLUSTER, 1))[0]).toBe(0xa2)
    // Nor does a reader of the first cluster: it is not there yet.
    expect((await disk.read(20 * CLUSTER, 1))[0]).toBe(0)
    fault.release()
    await first
    expect((await disk.read(20 * CLUSTER, 1))[0]).toBe(0xa1)
    await closeSound(disk)
  })

  test('one over many clusters begins before the one that is being allocated, and ends behind it', async () => {
    const disk = await warm(handMadeImage({ clusterBits: 12 }))
    const { fault, first } = await held(disk)
    const second = disk.write(18 * CLUSTER, 5 * CLUSTER, 0xa2)
    await drainMicrotasks()
    expect((await disk.read(18 * CLUSTER, 2 * CLUSTER)).every((byte) => byte === 0xa2)).toBe(true)
    fault.release()
    await first
    await second
    expect(runsOf(await disk.read(18 * CLUSTER, 5 * CLUSTER))).toEqual([[0xa2, 5 * CLUSTER]])
    await closeSound(disk)
  })

  test('the second succeeds where the first one fails', async () => {
    const disk = await warm(handMadeImage({ clusterBits: 12 }))
    const fault = disk.faults.add({
      on: 'write',
      stick: true,
      fail: 'EIO',
      range: { offset: FREE + CLUSTER, bytes: 2 ** 30 },
    })
    const first = codeOf(() => disk.write(20 * CLUSTER, 1024, 0xa1))
    await fault.stuckOnce
    const second = disk.write(20 * CLUSTER + 2048, 1024, 0xa2)
    fault.release()
    expect(await first).toBe('EIO')
    await second
    const bytes = await disk.read(20 * CLUSTER + 1024, 3072)
    expect(runsOf(bytes)).toEqual([
      [0, 1024],
      [0xa2, 1024],
      [0, 1024],
    ])
    await closeSound(disk)
  })
})

describe('a copy that fails', () => {
  /** A write into the middle of a shared cluster, struck by `rule`. */
  async function struck(on: 'read' | 'write', nth: number): Promise<OpenQcow2> {
    const disk = await warm(shared())
    const fault = disk.faults.add({ on, fail: 'EIO', nth })
    expect(await codeOf(() => disk.write(2 * CLUSTER + 1000, 96, 0x99))).toBe('EIO')
    expect(fault.hits).toBe(1)
    return disk
  }

  test.each([
    ['reading the head', 'read', 1],
    ['reading the tail', 'read', 2],
    ['writing', 'write', 1],
  ] as const)('%s: the old data stays, nothing is in flight, the new cluster is free again', async (_name, on, nth) => {
    const disk = await struck(on, nth)
    expect(runsOf(await disk.read(2 * CLUSTER, CLUSTER))).toEqual([[3, CLUSTER]])
    expect(disk.state.allocations.count).toBe(0)
    await disk.flush()
    expect([disk.image.refcount(7), disk.image.refcount(14), disk.image.entry(2)]).toEqual([
      2n,
      0n,
      BigInt(FIRST + 2 * CLUSTER),
    ])
    // It is tried again, in the same place.
    disk.requests.length = 0
    await disk.write(2 * CLUSTER + 1000, 96, 0x99)
    expect(disk.taken('write')).toEqual([[FREE + CLUSTER, CLUSTER]])
    // The eight clusters that were shared have a reference that nothing here shows.
    await closeSound(disk, 8)
  })

  test('of many pieces fails with the first error when all have ended', async () => {
    const disk = await warm(shared())
    // The second cluster of the range is in place, so there are three pieces.
    await disk.write(3 * CLUSTER, CLUSTER, 0x55)
    const fault = disk.faults.add({ on: 'write', fail: 'ENOSPC', later: true, nth: 1 })
    await expect(disk.write(2 * CLUSTER, 3 * CLUSTER, 0x99)).rejects.toBeInstanceOf(BlockError)
    expect([fault.hits, disk.state.allocations.count]).toEqual([1, 0])
    const runs = runsOf(await disk.read(2 * CLUSTER, CLUSTER))
    expect(runs).toEqual([[3, CLUSTER]])
    await disk.close()
  })
})
