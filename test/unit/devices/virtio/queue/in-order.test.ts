import { describe, expect, test } from 'vitest'
import { FETCH_CHAIN } from '../../../../../src/devices/virtio/queue/device-queue.js'
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
