import { describe, expect, test } from 'vitest'
import { FETCH_CHAIN, FETCH_EMPTY } from '../../../../../src/devices/virtio/queue/device-queue.js'
import { RawQueue } from '../../../../support/raw-queue.js'

const WRITE = 2
const AVAIL = 0x80

/** Five chains of one writable descriptor with 10 bytes, all fetched: heads 0 to 4. */
function fetched(packed: boolean): RawQueue {
  const raw = new RawQueue({ inOrder: true, packed })
  const heads = [0, 1, 2, 3, 4]
  if (packed) raw.packed(heads.map((at) => ({ at, flags: AVAIL | WRITE, length: 10, id: at })))
  else {
    raw.split(heads.map((at) => ({ at, flags: WRITE, length: 10 })))
    raw.offer(...heads)
  }
  for (const head of heads) expect([raw.fetch(), raw.chain.head]).toEqual([FETCH_CHAIN, head])
  return raw
}

describe('in order over a split ring (2.7.9)', () => {
  test('one used element for a batch: at the place of its first chain, with the head of its last', () => {
    const raw = fetched(false)
    for (const head of [0, 1, 2]) raw.queue.push(head, 10)
    expect(raw.usedIndex).toBe(0)
    expect(raw.queue.publish()).toBe(true)
    expect([raw.usedIndex, raw.usedElement(0), raw.usedElement(1)]).toEqual([3, [2, 10], [0, 0]])
    expect(raw.queue.inFlight).toBe(2)
    for (const head of [4, 3]) raw.queue.push(head, 10)
    raw.queue.publish()
    expect([raw.usedIndex, raw.usedElement(3)]).toEqual([5, [4, 10]])
  })

  test('what completes early is held, and is not something to publish', () => {
    const raw = fetched(false)
    raw.queue.push(1, 10)
    raw.queue.push(2, 10)
    expect([raw.queue.unpublished, raw.queue.publish(), raw.usedIndex, raw.queue.inFlight]).toEqual([
      false,
      false,
      0,
      5,
    ])
    raw.queue.push(0, 10)
    expect([raw.queue.unpublished, raw.queue.publish(), raw.usedIndex]).toEqual([true, true, 3])
    expect(raw.usedElement(0)).toEqual([2, 10])
  })

  test('a chain that was not written whole is the last of its batch: what is skipped counts as used completely', () => {
    const raw = fetched(false)
    const lengths = [10, 3, 10, 0, 10]
    for (const [head, length] of lengths.entries()) raw.queue.push(head, length)
    raw.queue.publish()
    expect(raw.usedIndex).toBe(5)
    expect([0, 2, 4].map((place) => raw.usedElement(place))).toEqual([
      [1, 3],
      [3, 0],
      [4, 10],
    ])
  })
})

describe('in order over a packed ring (2.8.8)', () => {
  test('one used descriptor for a batch, then the slot behind it', () => {
    const raw = fetched(true)
    raw.queue.push(2, 10)
    raw.queue.push(1, 10)
    expect([raw.queue.unpublished, raw.queue.publish()]).toEqual([false, false])
    raw.queue.push(0, 10)
    raw.queue.publish()
    expect(raw.slot(0)).toEqual([10, 2, 0x8080 | WRITE])
    expect(raw.slot(1)).toEqual([10, 1, AVAIL | WRITE])
    raw.queue.push(3, 4)
    raw.queue.push(4, 10)
    raw.queue.publish()
    expect([raw.slot(3), raw.slot(4)]).toEqual([
      [4, 3, 0x8080 | WRITE],
      [10, 4, 0x8080 | WRITE],
    ])
    expect(raw.queue.save()).toEqual({ availIndex: 5, availWrap: true, usedIndex: 5, usedWrap: true })
  })
})

describe('a queue that is saved with chains that are held', () => {
  test.each([false, true])('they go back in their turn, without being fetched again (packed: %s)', (packed) => {
    const first = fetched(packed)
    first.queue.push(1, 10)
    first.queue.push(3, 4)
    expect(first.queue.ordered()).toEqual([
      { head: 0, done: undefined },
      { head: 1, done: { length: 10, writable: 10 } },
      { head: 2, done: undefined },
      { head: 3, done: { length: 4, writable: 10 } },
      { head: 4, done: undefined },
    ])
    const lists = first.queue.ordered().map(({ head, done }) => {
      if (done !== undefined) return { slots: 1, descriptors: new Uint32Array(0), done }
      const at = first.plan.table + 16 * head
      return { slots: 1, descriptors: Uint32Array.from([0, 4, 8, 12], (byte) => first.view.getUint32(at + byte, true)) }
    })
    const second = new RawQueue({ inOrder: true, packed }, 8, first.queue.save())
    second.ram.set(first.ram)
    expect(second.queue.refetch([0, 1, 2, 3, 4], lists)).toBe(5)
    expect(second.queue.inFlight).toBe(2)
    for (const head of [0, 2, 4]) expect([second.fetch(), second.chain.head]).toEqual([FETCH_CHAIN, head])
    expect(second.fetch()).toBe(FETCH_EMPTY)
    expect(second.queue.publish()).toBe(false)
    for (const head of [4, 2, 0]) second.queue.push(head, 10)
    second.queue.publish()
    const state = second.queue.save()
    expect([state.usedIndex, second.queue.inFlight, second.queue.ordered()]).toEqual([5, 0, []])
    if (packed)
      expect([second.slot(0).slice(0, 2), second.slot(4).slice(0, 2)]).toEqual([
        [4, 3],
        [10, 4],
      ])
    else
      expect([second.usedElement(0), second.usedElement(4)]).toEqual([
        [3, 4],
        [4, 10],
      ])
  })

  test.each([
    ['more written than there was room for', { length: 11, writable: 10 }],
    ['a negative length', { length: -1, writable: 10 }],
    ['room for more than a chain can have', { length: 0, writable: 2 ** 32 }],
    ['no number', { length: Number.NaN, writable: 10 }],
  ])('left out: %s', (_name, done) => {
    const raw = new RawQueue({ inOrder: true })
    expect(raw.queue.refetch([0], [{ slots: 1, descriptors: new Uint32Array(0), done }])).toBe(0)
  })

  test('left out: a completion of a queue in any order', () => {
    const raw = new RawQueue({})
    const list = { slots: 1, descriptors: new Uint32Array(0), done: { length: 0, writable: 0 } }
    expect([raw.queue.refetch([0], [list]), raw.queue.ordered()]).toEqual([0, []])
  })
})
