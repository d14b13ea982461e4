import { describe, expect, test } from 'vitest'
import { AssertionFailure } from '../../../../../src/common/assert.js'
import { FETCH_CHAIN, FETCH_EMPTY, FETCH_FAULT } from '../../../../../src/devices/virtio/queue/device-queue.js'
import type { InflightTracker } from '../../../../../src/devices/virtio/queue/inflight-tracker.js'
import { BUFFER, RawQueue, TABLE } from '../../../../support/raw-queue.js'

const NEXT = 1
const WRITE = 2
const INDIRECT = 4
const AVAIL = 0x80

const split = (availIndex: number, usedIndex: number) => ({ availIndex, availWrap: false, usedIndex, usedWrap: false })

/** Writes down what it hears. */
function listener(): { calls: unknown[][]; tracker: InflightTracker } {
  const calls: unknown[][] = []
  return {
    calls,
    tracker: {
      taken: (head, descriptors, count) => calls.push(['taken', head, ...descriptors.subarray(0, 4 * count)]),
      returning: (head) => calls.push(['returning', head]),
      published: (index, wrap) => calls.push(['published', index, wrap]),
    },
  }
}

describe('save and load', () => {
  test('a split queue goes on where another one stood, over the end of 16 bits', () => {
    const raw = new RawQueue({}, 8, split(0xffff, 0xffff))
    raw.view.setUint16(raw.plan.avail + 2, 0xffff, true)
    raw.split([{ at: 3 }, { at: 4 }])
    raw.offer(3, 4)
    expect([raw.fetch(), raw.chain.head, raw.fetch(), raw.chain.head]).toEqual([FETCH_CHAIN, 3, FETCH_CHAIN, 4])
    raw.queue.push(4, 9)
    expect(() => raw.queue.save()).toThrow(AssertionFailure)
    raw.queue.publish()
    expect(raw.queue.save()).toEqual(split(1, 0))
    expect([raw.usedIndex, raw.usedElement(7)]).toEqual([0, [4, 9]])
  })

  test.each([
    ['an index of 2^16', split(0x1_0000, 0)],
    ['a negative index', split(0, -1)],
    ['no number', split(Number.NaN, 0)],
    ['more taken than there are entries', split(9, 0)],
    ['returned before it was taken', split(0, 1)],
    ['a wrap counter', { ...split(0, 0), availWrap: true }],
  ])('refused for a split queue: %s', (_name, state) => {
    expect(() => new RawQueue({}, 8, state)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
  })

  test.each([
    ['a slot behind the ring', { availIndex: 8, availWrap: true, usedIndex: 0, usedWrap: true }],
    ['half a slot', { availIndex: 0.5, availWrap: true, usedIndex: 0, usedWrap: true }],
    ['returned before it was taken', { availIndex: 0, availWrap: true, usedIndex: 1, usedWrap: true }],
    ['more taken than there are slots', { availIndex: 2, availWrap: false, usedIndex: 1, usedWrap: true }],
  ])('refused for a packed queue: %s', (_name, state) => {
    expect(() => new RawQueue({ packed: true }, 8, state)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
  })

  test('a packed queue that is loaded full takes nothing before something was returned', () => {
    const raw = new RawQueue({ packed: true }, 2, { availIndex: 1, availWrap: false, usedIndex: 1, usedWrap: true })
    raw.packed([{ at: 1, flags: 0x8000, id: 0 }])
    expect([raw.fetch(), raw.queue.fault]).toEqual([FETCH_FAULT, expect.stringMatching(/than are free/)])
  })

  test('a retired queue gives nothing away', () => {
    const raw = new RawQueue({})
    raw.split([{ at: 0 }])
    raw.offer(0)
    raw.queue.retire()
    expect([raw.queue.live, raw.fetch(), raw.queue.fault]).toEqual([false, FETCH_FAULT, 'the queue was reset'])
    expect(raw.queue.availableBytes({ readable: 1, writable: 1 })).toEqual({ readable: 0, writable: 0 })
  })
})

describe('chains of an earlier life', () => {
  test('split: fetched first, each once, in the order given; what is no head is left out', () => {
    const raw = new RawQueue({}, 8, split(3, 1))
    raw.view.setUint16(raw.plan.avail + 2, 3, true)
    raw.split([
      { at: 5, length: 55 },
      { at: 2, length: 22 },
      { at: 7, length: 77 },
    ])
    raw.offer(7)
    expect(raw.queue.refetch([5, 2, 5, 8, -1, 0.5, Number.NaN, 65536])).toBe(2)
    expect(raw.queue.refetch([2])).toBe(0)
    expect(raw.queue.inFlight).toBe(0)
    expect(raw.queue.allowNotifications()).toBe(true)
    const got: number[][] = []
    while (raw.fetch() === FETCH_CHAIN) got.push([raw.chain.head, raw.chain.readableBytes, raw.queue.inFlight])
    expect(got).toEqual([
      [5, 55, 1],
      [2, 22, 2],
      [7, 77, 3],
    ])
    expect([raw.fetch(), raw.queue.allowNotifications()]).toEqual([FETCH_EMPTY, false])
  })

  test('V06 a head of an earlier life that the driver offers as well', () => {
    const raw = new RawQueue({}, 8)
    raw.split([{ at: 5 }])
    raw.offer(5)
    raw.queue.refetch([5])
    expect([raw.fetch(), raw.fetch(), raw.queue.fault]).toEqual([
      FETCH_CHAIN,
      FETCH_FAULT,
      expect.stringMatching(/offered again/),
    ])
  })

  test('packed: by the descriptors that were read then, since the ring holds something else', () => {
    const { calls, tracker } = listener()
    const first = new RawQueue({ packed: true, indirect: true }, 8, undefined, { tracker })
    first.packed([
      { at: 0, flags: AVAIL | NEXT, length: 1, id: 9 },
      { at: 1, flags: AVAIL | WRITE, length: 2, address: BUFFER + 64, id: 4 },
      { at: 2, flags: AVAIL | INDIRECT, length: 16, address: TABLE, id: 5 },
      { at: 3, flags: AVAIL, length: 4, id: 6 },
    ])
    first.packed([{ at: 0, length: 3, address: BUFFER + 128 }], TABLE)
    for (let i = 0; i < 3; i++) expect(first.fetch()).toBe(FETCH_CHAIN)
    first.queue.push(6, 0)
    first.queue.publish()
    const taken = calls.filter(([what]) => what === 'taken')
    expect(taken).toEqual([
      ['taken', 4, BUFFER, 0, 1, ((AVAIL | NEXT) << 16) | 9, BUFFER + 64, 0, 2, ((AVAIL | WRITE) << 16) | 4],
      ['taken', 5, TABLE, 0, 16, ((AVAIL | INDIRECT) << 16) | 5],
      ['taken', 6, BUFFER, 0, 4, (AVAIL << 16) | 6],
    ])
    const lists = taken.slice(0, 2).map(([, , ...words]) => ({
      slots: words.length / 4,
      descriptors: Uint32Array.from(words as number[]),
    }))
    const second = new RawQueue({ packed: true, indirect: true }, 8, first.queue.save())
    second.packed([{ at: 0, length: 3, address: BUFFER + 128 }], TABLE)
    const bad = { slots: 9, descriptors: new Uint32Array(4) }
    expect(second.queue.refetch([4, 5, 4, 6, 7], [...lists, ...lists.slice(0, 1), bad])).toBe(2)
    expect([second.fetch(), second.chain.head]).toEqual([FETCH_CHAIN, 4])
    expect(second.segments).toEqual([
      [BUFFER, 1],
      [BUFFER + 64, 2],
    ])
    expect([second.fetch(), second.chain.head]).toEqual([FETCH_CHAIN, 5])
    expect(second.segments).toEqual([[BUFFER + 128, 3]])
    second.queue.push(4, 2)
    second.queue.push(5, 0)
    second.queue.publish()
    expect([second.slot(1), second.slot(3)]).toEqual([
      [2, 4, 0x8080 | WRITE],
      [0, 5, 0x8080],
    ])
    const state = second.queue.save()
    expect([state.usedIndex, state.usedWrap]).toEqual([state.availIndex, state.availWrap])
  })

  test('descriptors of an earlier life that break the rules', () => {
    const raw = new RawQueue({ packed: true }, 8, { availIndex: 1, availWrap: true, usedIndex: 0, usedWrap: true })
    const descriptors = Uint32Array.of(0xffff_fff0, 0xffff_ffff, 64, AVAIL << 16)
    expect(raw.queue.refetch([0], [{ slots: 1, descriptors }])).toBe(1)
    expect([raw.fetch(), raw.chain.head, raw.queue.fault]).toEqual([FETCH_FAULT, 0, expect.stringMatching(/outside/)])
  })
})

test('a tracker hears of a head before it is served, of its return before the index moves, of the index after', () => {
  const { calls, tracker } = listener()
  const raw = new RawQueue({}, 8, undefined, { tracker })
  raw.split([{ at: 0 }, { at: 1 }])
  raw.offer(1, 0)
  raw.fetch()
  raw.fetch()
  expect(calls.splice(0)).toEqual([
    ['taken', 1],
    ['taken', 0],
  ])
  const seen: number[] = []
  tracker.returning = () => seen.push(raw.usedIndex)
  tracker.published = (index) => seen.push(index, raw.usedIndex)
  raw.queue.push(0, 0)
  raw.queue.push(1, 0)
  raw.queue.publish()
  expect(seen).toEqual([0, 0, 2, 2])
})

describe('looking ahead', () => {
  test.each([false, true])('up to the limits, taking nothing (packed: %s)', (packed) => {
    const raw = new RawQueue({ packed }, 8)
    const chains = [
      [10, 100],
      [20, 200],
      [30, 300],
    ] as const
    chains.forEach(([readable, writable], i) => {
      const at = 2 * i
      const turn = packed ? AVAIL : 0
      const pair = [
        { at, flags: turn | NEXT, next: at + 1, length: readable },
        { at: at + 1, flags: turn | WRITE, length: writable, id: i },
      ]
      if (packed) raw.packed(pair)
      else raw.split(pair)
    })
    if (!packed) raw.offer(0, 2, 4)
    const look = (readable: number, writable: number) => raw.queue.availableBytes({ readable, writable })
    expect(look(10, 100)).toEqual({ readable: 10, writable: 100 })
    expect(look(11, 0)).toEqual({ readable: 30, writable: 300 })
    expect(look(0, 301)).toEqual({ readable: 60, writable: 600 })
    expect(look(Infinity, Infinity)).toEqual({ readable: 60, writable: 600 })
    expect(raw.queue.inFlight).toBe(0)
    raw.fetch()
    expect([raw.chain.readableBytes, look(Infinity, Infinity)]).toEqual([10, { readable: 50, writable: 500 }])
  })

  test.each([false, true])(
    'a chain that breaks the rules ends it; the fault is for who fetches it (packed: %s)',
    (packed) => {
      const raw = new RawQueue({ packed }, 8)
      const pair = [
        { at: 0, flags: packed ? AVAIL : 0, length: 10 },
        { at: 1, flags: packed ? AVAIL : 0, length: 10, high: 9, id: 1 },
        { at: 2, flags: packed ? AVAIL : 0, length: 10, id: 2 },
      ]
      if (packed) raw.packed(pair)
      else {
        raw.split(pair)
        raw.offer(0, 1, 2)
      }
      expect(raw.queue.availableBytes({ readable: 100, writable: 0 })).toEqual({ readable: 10, writable: 0 })
      expect(raw.queue.fault).toBeUndefined()
      expect([raw.fetch(), raw.fetch()]).toEqual([FETCH_CHAIN, FETCH_FAULT])
    },
  )
})
