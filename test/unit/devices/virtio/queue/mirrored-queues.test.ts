// What holds for queues whose parts lie in one region each holds for those that cross regions: the same tests once more, over
// memory with a border every 16 bytes of the queue.

import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { FETCH_CHAIN } from '../../../../../src/devices/virtio/queue/device-queue.js'
import { MirroredPackedQueue } from '../../../../../src/devices/virtio/queue/mirrored/mirrored-packed-queue.js'
import { MirroredSplitQueue } from '../../../../../src/devices/virtio/queue/mirrored/mirrored-split-queue.js'
import { RawQueue } from '../../../../support/raw-queue.js'

RawQueue.cut = true
afterAll(() => {
  RawQueue.cut = false
})

await import('./split-device-queue.test.js')
await import('./packed-device-queue.test.js')
await import('./indirect.test.js')
await import('./in-order.test.js')
await import('./queue-state.test.js')

describe('the queue of a layout that crosses regions', () => {
  test('is one over mirrors', () => {
    expect(new RawQueue({}).queue).toBeInstanceOf(MirroredSplitQueue)
    expect(new RawQueue({ packed: true }).queue).toBeInstanceOf(MirroredPackedQueue)
  })
})

describe('the order of accesses across regions', () => {
  const { load, store } = Atomics

  afterEach(() => {
    Atomics.load = load
    Atomics.store = store
  })

  /** Does `act` just before the next atomic load. */
  function beforeLoad(act: () => void): void {
    Atomics.load = ((array: Uint16Array | Uint32Array, index: number) => {
      Atomics.load = load
      act()
      return load(array, index)
    }) as typeof Atomics.load
  }

  /** Calls `see` at the next atomic store, before it is done. */
  function atStore(see: () => void): void {
    Atomics.store = ((array: Uint16Array | Uint32Array, index: number, value: number) => {
      // The inner queue's mirror is nobody's to see.
      if (array.buffer.byteLength === 0x10000) {
        Atomics.store = store
        see()
      }
      return store(array, index, value)
    }) as typeof Atomics.store
  }

  test('split: entries and descriptors are read behind the index, elements written before it', () => {
    const raw = new RawQueue({})
    beforeLoad(() => {
      raw.split([{ at: 3, length: 99 }])
      raw.offer(3)
    })
    expect([raw.fetch(), raw.chain.head, raw.chain.readableBytes]).toEqual([FETCH_CHAIN, 3, 99])
    raw.queue.push(3, 7)
    const seen: unknown[] = []
    atStore(() => seen.push(raw.usedElement(0), raw.usedIndex))
    raw.queue.publish()
    expect([...seen, raw.usedIndex]).toEqual([[3, 7], 0, 1])
  })

  test('packed: a descriptor is read behind its flags; the first used one of a batch is marked last', () => {
    const raw = new RawQueue({ packed: true })
    beforeLoad(() =>
      raw.packed([
        { at: 0, flags: 0x80, length: 99, id: 5 },
        { at: 1, flags: 0x80, length: 98, id: 4 },
      ]),
    )
    expect([raw.fetch(), raw.chain.head, raw.chain.readableBytes]).toEqual([FETCH_CHAIN, 5, 99])
    expect([raw.fetch(), raw.chain.head, raw.chain.readableBytes]).toEqual([FETCH_CHAIN, 4, 98])
    raw.queue.push(4, 7)
    raw.queue.push(5, 8)
    const seen: unknown[] = []
    atStore(() => seen.push(raw.slot(0), raw.slot(1)))
    raw.queue.publish()
    expect([...seen, raw.slot(0)]).toEqual([
      [7, 5, 0x80],
      [8, 5, 0x8082],
      [7, 4, 0x8082],
    ])
  })
})
