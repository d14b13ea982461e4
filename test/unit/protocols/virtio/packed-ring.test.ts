import { describe, expect, test } from 'vitest'
import {
  availableTurn,
  decodePackedDescriptor,
  encodePackedDescriptor,
  PACKED_TURN_MASK,
  packedEvent,
  packedEventWanted,
  packedRingBytes,
  RING_EVENT_FLAGS_DESC,
  RING_EVENT_FLAGS_DISABLE,
  RING_EVENT_FLAGS_ENABLE,
  usedTurn,
} from '../../../../src/protocols/virtio/packed-ring.js'

describe('packed ring', () => {
  test('a descriptor by its bytes', () => {
    const bytes = new Uint8Array([1, 2, 3, 4, 5, 6, 7, 0x88, 0x10, 0x20, 0x30, 0xf0, 0x34, 0x12, 0x83, 0x80])
    const descriptor = decodePackedDescriptor(new DataView(bytes.buffer), 0)
    expect(descriptor).toEqual({
      addressLow: 0x04030201,
      addressHigh: 0x88070605,
      length: 0xf0302010,
      id: 0x1234,
      flags: 0x8083,
    })
    const copy = new Uint8Array(16)
    encodePackedDescriptor(new DataView(copy.buffer), 0, descriptor)
    expect(copy).toEqual(bytes)
    expect(packedRingBytes(3)).toBe(48)
  })

  test.each([
    // The flags of a descriptor: AVAIL is bit 7, USED bit 15. Which turn each is of.
    [0x0000, 'used 0'],
    [0x0080, 'available 1'],
    [0x8000, 'available 0'],
    [0x8080, 'used 1'],
    [0x7f7f, 'used 0'],
    [0xffff, 'used 1'],
  ])('flags %i mark a descriptor as %s', (flags, turn) => {
    const word = ((flags << 16) | 0xffff) >>> 0
    const turns = [
      ['available 1', availableTurn(true)],
      ['available 0', availableTurn(false)],
      ['used 1', usedTurn(true)],
      ['used 0', usedTurn(false)],
    ] as const
    expect(turns.filter(([, value]) => (word & PACKED_TURN_MASK) === value).map(([name]) => name)).toEqual([turn])
  })

  test.each([
    [packedEvent(RING_EVENT_FLAGS_ENABLE), [0, 0, 0, 0]],
    [packedEvent(RING_EVENT_FLAGS_DISABLE), [0, 0, 1, 0]],
    [packedEvent(RING_EVENT_FLAGS_DESC, 0x123, false), [0x23, 0x01, 2, 0]],
    [packedEvent(RING_EVENT_FLAGS_DESC, 0x7fff, true), [0xff, 0xff, 2, 0]],
  ])('event suppression %i by its bytes', (event, bytes) => {
    const view = new DataView(new ArrayBuffer(4))
    view.setUint32(0, event, true)
    expect([...new Uint8Array(view.buffer)]).toEqual(bytes)
  })

  const desc = (slot: number, wrap: boolean) => packedEvent(RING_EVENT_FLAGS_DESC, slot, wrap)
  test.each<[string, number, number, boolean, number, boolean]>([
    // In a ring of 8 the other side stands at `next`, with that wrap counter, after so many slots.
    ['always', packedEvent(RING_EVENT_FLAGS_ENABLE), 3, true, 1, true],
    ['never', packedEvent(RING_EVENT_FLAGS_DISABLE), 3, true, 1, false],
    ['the slot written last', desc(2, true), 3, true, 1, true],
    ['the slot to be written next', desc(3, true), 3, true, 3, false],
    ['the first slot of the batch', desc(0, true), 3, true, 3, true],
    ['a slot before the batch', desc(0, true), 3, true, 2, false],
    ['that slot in the next turn', desc(2, false), 3, true, 3, false],
    ['a slot of the turn before, written in this batch', desc(7, true), 1, false, 3, true],
    ['one just before the batch, over the end of the ring', desc(5, true), 1, false, 3, false],
    ['the whole ring', desc(4, true), 4, false, 8, true],
    ['a slot that is not in the ring', desc(0x7000, true), 3, true, 3, false],
    ['reserved flags', (3 << 16) | 5, 3, true, 1, true],
    ['reserved bits beside DISABLE', 0xfffd0000, 3, true, 1, false],
  ])('told: %s', (_name, event, next, wrap, slots, wanted) => {
    expect(packedEventWanted(event, next, wrap, slots, 8, true)).toBe(wanted)
  })

  test('a slot named without an agreed event index asks for everything', () => {
    expect(packedEventWanted(desc(7, true), 3, true, 1, 8, false)).toBe(true)
  })
})
