import { describe, expect, test } from 'vitest'
import { FETCH_CHAIN, FETCH_FAULT } from '../../../../../src/devices/virtio/queue/device-queue.js'
import { BORDER, BUFFER, RawQueue, TABLE } from '../../../../support/raw-queue.js'

const NEXT = 1
const WRITE = 2
const INDIRECT = 4
const indirect = { indirect: true }

function offered(features: { indirect?: boolean }, size = 8): RawQueue {
  const raw = new RawQueue(features, size)
  raw.offer(0)
  return raw
}

describe('indirect tables of a split ring', () => {
  test('a table is followed by its own next fields, and WRITE on it is ignored (2.7.5.3.2)', () => {
    const raw = offered(indirect)
    raw.split([{ at: 0, flags: INDIRECT | WRITE, address: TABLE, length: 64 }])
    raw.split(
      [
        { at: 0, flags: NEXT, next: 3, length: 1 },
        { at: 3, flags: NEXT | WRITE, next: 1, address: BUFFER + 64, length: 2 },
        { at: 1, flags: WRITE, address: BUFFER + 128, length: 3 },
      ],
      TABLE,
    )
    expect([raw.fetch(), raw.chain.head]).toEqual([FETCH_CHAIN, 0])
    expect(raw.segments).toEqual([
      [BUFFER, 1],
      [BUFFER + 64, 2],
      [BUFFER + 128, 3],
    ])
    expect([raw.chain.readableBytes, raw.chain.writableBytes]).toEqual([1, 5])
  })

  test('normal descriptors may come before the one with the table (2.7.5.3.2)', () => {
    const raw = offered(indirect)
    raw.split([
      { at: 0, flags: NEXT, next: 5, length: 7 },
      { at: 5, flags: NEXT, next: 2, length: 8 },
      { at: 2, flags: INDIRECT, address: TABLE, length: 32 },
    ])
    raw.split(
      [
        { at: 0, flags: NEXT, next: 1, length: 9 },
        { at: 1, flags: WRITE, length: 10 },
      ],
      TABLE,
    )
    expect([raw.fetch(), raw.chain.readableBytes, raw.chain.writableBytes]).toEqual([FETCH_CHAIN, 24, 10])
  })

  test('a table larger than the queue, up to the limit; its chain may have as many descriptors', () => {
    const raw = offered(indirect, 2)
    const entries = 500
    raw.split([{ at: 0, flags: INDIRECT, address: TABLE, length: 16 * entries }])
    raw.split(
      Array.from({ length: entries }, (_, at) => ({
        at,
        flags: at === entries - 1 ? 0 : NEXT,
        next: at + 1,
        length: 1,
      })),
      TABLE,
    )
    expect([raw.fetch(), raw.chain.readableBytes]).toEqual([FETCH_CHAIN, entries])
  })

  test.each([
    ['across two regions', BORDER - 24],
    ['on no word', TABLE + 2],
    ['odd', TABLE + 1],
  ])('a table %s', (_name, address) => {
    const raw = offered(indirect)
    raw.split([{ at: 0, flags: INDIRECT, address, length: 48 }])
    raw.split(
      [
        { at: 0, flags: NEXT, next: 2, length: 1 },
        { at: 2, flags: WRITE, address: BUFFER + 64, length: 2 },
      ],
      address,
    )
    expect(raw.fetch()).toBe(FETCH_CHAIN)
    expect(raw.segments).toEqual([
      [BUFFER, 1],
      [BUFFER + 64, 2],
    ])
  })

  test.each([
    ['length 0', { length: 0 }, /0 bytes/],
    ['length 8', { length: 8 }, /8 bytes/],
    ['length 17', { length: 17 }, /17 bytes/],
    ['over the limit', { length: 16 * 1025 }, /1025 descriptors/],
    ['nearly 4 GiB', { length: 0xffff_fff0 }, /descriptors, more than/],
    ['with NEXT', { length: 16, flags: INDIRECT | NEXT }, /with a next one/],
    ['outside memory', { length: 64, address: 0xfff0 }, /table outside guest memory/],
    ['wrapping 2^64', { length: 64, high: 0xffff_ffff, address: 0xffff_fff0 }, /table outside guest memory/],
  ])('V07 %s', (_name, change, reason) => {
    const raw = offered(indirect)
    raw.split([{ at: 0, flags: INDIRECT, address: TABLE, ...change }])
    expect([raw.fetch(), raw.chain.head, raw.queue.fault]).toEqual([FETCH_FAULT, 0, expect.stringMatching(reason)])
  })

  test('V07 a table in a table, and one that was not agreed', () => {
    const nested = offered(indirect)
    nested.split([{ at: 0, flags: INDIRECT, address: TABLE, length: 16 }])
    nested.split([{ at: 0, flags: INDIRECT, address: TABLE, length: 16 }], TABLE)
    expect([nested.fetch(), nested.queue.fault]).toEqual([FETCH_FAULT, expect.stringMatching(/in an indirect table/)])
    const plain = offered({})
    plain.split([{ at: 0, flags: INDIRECT, address: TABLE, length: 16 }])
    expect([plain.fetch(), plain.queue.fault]).toEqual([FETCH_FAULT, expect.stringMatching(/not agreed/)])
  })

  test('V01 a loop in a table, and a next beyond it', () => {
    const loop = offered(indirect)
    loop.split([{ at: 0, flags: INDIRECT, address: TABLE, length: 32 }])
    loop.split(
      [
        { at: 0, flags: NEXT, next: 1, length: 1 },
        { at: 1, flags: NEXT, next: 0, length: 1 },
      ],
      TABLE,
    )
    expect([loop.fetch(), loop.queue.fault]).toEqual([FETCH_FAULT, expect.stringMatching(/loop/)])
    expect(loop.chain.readableBytes).toBe(2)
    const beyond = offered(indirect)
    beyond.split([{ at: 0, flags: INDIRECT, address: TABLE, length: 32 }])
    beyond.split([{ at: 0, flags: NEXT, next: 2, length: 1 }], TABLE)
    expect([beyond.fetch(), beyond.queue.fault]).toEqual([FETCH_FAULT, expect.stringMatching(/next descriptor 2/)])
  })

  test('V08 readable in a table behind a writable descriptor before it', () => {
    const raw = offered(indirect)
    raw.split([
      { at: 0, flags: NEXT | WRITE, next: 1 },
      { at: 1, flags: INDIRECT, address: TABLE, length: 16 },
    ])
    raw.split([{ at: 0, length: 1 }], TABLE)
    expect([raw.fetch(), raw.queue.fault]).toEqual([FETCH_FAULT, expect.stringMatching(/behind a writable/)])
  })
})
