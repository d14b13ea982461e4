// V14: what a driver changes after the device has read it changes nothing, since the device reads no field twice. Every word
// that is read is spoilt at once, so that a second reading would see something else.

import { afterEach, describe, expect, test, vi } from 'vitest'
import type { GuestRegion } from '../../../../../src/devices/virtio/memory/guest-memory.js'
import { FETCH_CHAIN } from '../../../../../src/devices/virtio/queue/device-queue.js'
import { BORDER, BUFFER, RawQueue, TABLE } from '../../../../support/raw-queue.js'

const NEXT = 1
const WRITE = 2
const INDIRECT = 4
const AVAIL = 0x80

afterEach(() => {
  vi.restoreAllMocks()
})

/** Spoils each word of the queue's arrays, and of guest memory, as it is read; how often each was read, by its address. */
function spoil(raw: RawQueue, fields: readonly string[]): Map<number, number> {
  const reads = new Map<number, number>()
  const plain = new Map<object, Uint16Array | Uint32Array | Int32Array>()
  const read = (array: Uint16Array | Uint32Array | Int32Array, index: number): number => {
    const value = array[index] as number
    const address = array.byteOffset + index * array.BYTES_PER_ELEMENT
    reads.set(address, (reads.get(address) ?? 0) + 1)
    array[index] = 0xdead_beef
    return value
  }
  const proxied = (array: Uint16Array | Uint32Array | Int32Array) => {
    const proxy = new Proxy(array, {
      get: (target, key) => {
        if (typeof key === 'string' && /^\d+$/.test(key)) return read(target, Number(key))
        const value: unknown = Reflect.get(target, key, target)
        return typeof value === 'function' ? value.bind(target) : value
      },
      set: (target, key, value) => Reflect.set(target, key, value, target),
    })
    plain.set(proxy, array)
    return proxy
  }
  for (const field of fields) {
    const array: unknown = Reflect.get(raw.queue, field)
    if (!(array instanceof Uint16Array || array instanceof Uint32Array || array instanceof Int32Array))
      throw new Error(`no ${field}`)
    Reflect.set(raw.queue, field, proxied(array))
  }
  for (const region of raw.memory.regions as GuestRegion[])
    Reflect.set(region, 'words', proxied(region.words as Uint32Array))
  const { store } = Atomics
  vi.spyOn(Atomics, 'load').mockImplementation(((array: Uint32Array, index: number) => {
    const target = plain.get(array)
    return target === undefined ? (array[index] as number) : read(target, index)
  }) as typeof Atomics.load)
  vi.spyOn(Atomics, 'store').mockImplementation(((array: Uint32Array, index: number, value: number) =>
    store((plain.get(array) as Uint32Array) ?? array, index, value)) as typeof Atomics.store)
  return reads
}

const words = (address: number, count: number) => Array.from({ length: count }, (_, i) => address + 4 * i)

describe('V14 each field is read once', () => {
  test('of a split ring: entry, descriptors and an indirect table', () => {
    const raw = new RawQueue({ indirect: true, eventIndex: true })
    raw.split([
      { at: 0, flags: NEXT, next: 3, length: 5 },
      { at: 3, flags: INDIRECT, address: TABLE, length: 48 },
    ])
    raw.split(
      [
        { at: 0, flags: NEXT, next: 2, length: 7, address: BUFFER + 64 },
        { at: 2, flags: WRITE, length: 9, address: BUFFER + 128 },
      ],
      TABLE,
    )
    raw.offer(0)
    const reads = spoil(raw, ['table', 'avail'])
    expect(raw.fetch()).toBe(FETCH_CHAIN)
    expect(raw.segments).toEqual([
      [BUFFER, 5],
      [BUFFER + 64, 7],
      [BUFFER + 128, 9],
    ])
    raw.queue.push(0, 9)
    raw.queue.publish()
    const { table, avail } = raw.plan
    const expected = [
      ...words(table, 4),
      ...words(table + 48, 4),
      ...words(TABLE, 4),
      ...words(TABLE + 32, 4),
      avail + 2,
      avail + 4,
      avail + 4 + 16,
    ]
    expect([...reads.keys()].sort((a, b) => a - b)).toEqual(expected.sort((a, b) => a - b))
    expect([...reads.values()].every((count) => count === 1)).toBe(true)
    expect([raw.usedIndex, raw.usedElement(0)]).toEqual([1, [0, 9]])
  })

  test('of a packed ring: descriptors, with id and flags at once, a table, the event', () => {
    const raw = new RawQueue({ packed: true, indirect: true, eventIndex: true })
    raw.packed([
      { at: 0, flags: AVAIL | NEXT, length: 5 },
      { at: 1, flags: AVAIL | WRITE, length: 6, address: BUFFER + 64, id: 2 },
      { at: 2, flags: AVAIL | INDIRECT, address: TABLE, length: 32, id: 1 },
    ])
    raw.packed(
      [
        { at: 0, length: 7, address: BUFFER + 128 },
        { at: 1, flags: WRITE, length: 8, address: BUFFER + 192 },
      ],
      TABLE,
    )
    const reads = spoil(raw, ['ring', 'turns', 'driverEvent'])
    expect([raw.fetch(), raw.chain.head]).toEqual([FETCH_CHAIN, 2])
    expect(raw.segments).toEqual([
      [BUFFER, 5],
      [BUFFER + 64, 6],
    ])
    expect([raw.fetch(), raw.chain.head]).toEqual([FETCH_CHAIN, 1])
    expect(raw.segments).toEqual([
      [BUFFER + 128, 7],
      [BUFFER + 192, 8],
    ])
    raw.queue.push(1, 8)
    raw.queue.push(2, 6)
    raw.queue.publish()
    const { table, avail } = raw.plan
    expect([...reads.keys()].sort((a, b) => a - b)).toEqual([...words(table, 12), avail, ...words(TABLE, 8)])
    expect([...reads.values()].every((count) => count === 1)).toBe(true)
    expect([raw.slot(0), raw.slot(1)]).toEqual([
      [8, 1, 0x8080 | WRITE],
      [6, 2, 0x8080 | WRITE],
    ])
  })

  test.each([BORDER - 20, TABLE + 2])('a table at %i, which has to be copied, is copied once', (address) => {
    const raw = new RawQueue({ indirect: true })
    raw.split([{ at: 0, flags: INDIRECT, address, length: 48 }])
    raw.split(
      [
        { at: 0, flags: NEXT, next: 1, length: 1 },
        { at: 1, flags: NEXT, next: 2, length: 2, address: BUFFER + 64 },
        { at: 2, length: 3, address: BUFFER + 128 },
      ],
      address,
    )
    raw.offer(0)
    // The memory is spoilt as soon as the device asks where the first buffer lies: its table has been read by then.
    const find = raw.memory.find.bind(raw.memory)
    let asked = 0
    raw.memory.find = (high, low, bytes) => {
      if (asked++ === 1) raw.ram.fill(0xee, address, address + 48)
      return find(high, low, bytes)
    }
    expect(raw.fetch()).toBe(FETCH_CHAIN)
    expect(raw.segments.map(([, bytes]) => bytes)).toEqual([1, 2, 3])
    expect(asked).toBeGreaterThan(1)
  })
})
