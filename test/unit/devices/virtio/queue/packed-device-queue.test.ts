import { describe, expect, test } from 'vitest'
import { createDriverQueue } from '../../../../../src/devices/virtio/driver-queue/create-driver-queue.js'
import { GuestMemory } from '../../../../../src/devices/virtio/memory/guest-memory.js'
import { createDeviceQueue } from '../../../../../src/devices/virtio/queue/create-queue.js'
import { FETCH_CHAIN, FETCH_EMPTY, FETCH_FAULT, NO_HEAD } from '../../../../../src/devices/virtio/queue/device-queue.js'
import { MirroredPackedQueue } from '../../../../../src/devices/virtio/queue/mirrored/mirrored-packed-queue.js'
import { cutMemory } from '../../../../support/cut-memory.js'
import { BORDER, BUFFER, NO_FEATURES, RAM, RawQueue, TABLE } from '../../../../support/raw-queue.js'

const NEXT = 1
const WRITE = 2
const INDIRECT = 4
/** A descriptor that is available, in the first turn of the ring and in the second. */
const AVAIL = 0x80
const AVAIL2 = 0x8000

const packed = { packed: true }

describe('a packed ring as the device reads it', () => {
  test('a zeroed ring has nothing, whatever stands behind the next slot', () => {
    const raw = new RawQueue(packed)
    expect(raw.fetch()).toBe(FETCH_EMPTY)
    raw.packed([{ at: 1, flags: AVAIL }])
    expect(raw.fetch()).toBe(FETCH_EMPTY)
    raw.packed([{ at: 0, flags: AVAIL, id: 3 }])
    expect([raw.fetch(), raw.chain.head, raw.queue.inFlight]).toEqual([FETCH_CHAIN, 3, 1])
  })

  test('a list has the id of its last descriptor, and one used descriptor at its first slot', () => {
    const raw = new RawQueue(packed)
    raw.packed([
      { at: 0, flags: AVAIL | NEXT, length: 16, id: 7 },
      { at: 1, flags: AVAIL | NEXT | WRITE, address: BUFFER + 16, length: 100, id: 6 },
      { at: 2, flags: AVAIL | WRITE, address: BUFFER + 200, length: 1, id: 5 },
      { at: 3, flags: AVAIL, id: 1 },
    ])
    expect([raw.fetch(), raw.chain.head]).toEqual([FETCH_CHAIN, 5])
    expect(raw.segments).toEqual([
      [BUFFER, 16],
      [BUFFER + 16, 100],
      [BUFFER + 200, 1],
    ])
    expect([raw.chain.readableBytes, raw.chain.writableBytes]).toEqual([16, 101])
    expect([raw.fetch(), raw.chain.head]).toEqual([FETCH_CHAIN, 1])
    raw.queue.push(5, 101)
    raw.queue.push(1, 0)
    // Nothing is to be seen before it is published; then WRITE says that something was written.
    expect(raw.slot(0).slice(1)).toEqual([7, AVAIL | NEXT])
    expect(raw.queue.publish()).toBe(true)
    expect(raw.slot(0)).toEqual([101, 5, 0x8080 | WRITE])
    expect(raw.slot(3)).toEqual([0, 1, 0x8080])
    expect(raw.queue.save()).toEqual({ availIndex: 4, availWrap: true, usedIndex: 4, usedWrap: true })
  })

  test('V13 a list across the end of the ring: the wrap counter turns inside', () => {
    const raw = new RawQueue(packed, 3, { availIndex: 2, availWrap: true, usedIndex: 2, usedWrap: true })
    raw.packed([
      { at: 2, flags: AVAIL | NEXT, length: 1 },
      { at: 0, flags: AVAIL2 | NEXT, length: 2 },
      { at: 1, flags: AVAIL2, length: 3, id: 2 },
    ])
    expect([raw.fetch(), raw.chain.head, raw.chain.readableBytes]).toEqual([FETCH_CHAIN, 2, 6])
    raw.queue.push(2, 0)
    raw.queue.publish()
    expect(raw.slot(2)).toEqual([0, 2, 0x8080])
    expect(raw.queue.save()).toEqual({ availIndex: 2, availWrap: false, usedIndex: 2, usedWrap: false })
    // The turn of the other wrap counter.
    raw.packed([{ at: 2, flags: AVAIL, id: 1 }])
    expect(raw.fetch()).toBe(FETCH_EMPTY)
    raw.packed([{ at: 2, flags: AVAIL2, id: 1 }])
    expect(raw.fetch()).toBe(FETCH_CHAIN)
    raw.queue.push(1, 5)
    raw.queue.publish()
    expect(raw.slot(2)).toEqual([5, 1, WRITE])
  })

  test('what completes first takes the slot of what was fetched first', () => {
    const raw = new RawQueue(packed, 4)
    raw.packed([
      { at: 0, flags: AVAIL | NEXT, id: 0 },
      { at: 1, flags: AVAIL, id: 0 },
      { at: 2, flags: AVAIL, id: 1 },
    ])
    raw.fetch()
    raw.fetch()
    raw.queue.push(1, 0)
    raw.queue.publish()
    expect(raw.slot(0)).toEqual([0, 1, 0x8080])
    raw.queue.push(0, 0)
    raw.queue.publish()
    expect(raw.slot(1)).toEqual([0, 0, 0x8080])
    expect(raw.queue.save().usedIndex).toBe(3)
  })
})

describe('packed rings that break the rules', () => {
  const broken = (raw: RawQueue, reason: RegExp) => {
    expect(raw.fetch()).toBe(FETCH_FAULT)
    expect(raw.chain.head).toBe(NO_HEAD)
    expect(raw.queue.fault).toMatch(reason)
    // V12: one failure; nothing is looked at again.
    raw.packed([{ at: 0, flags: AVAIL, id: 0 }])
    expect([raw.fetch(), raw.queue.allowNotifications()]).toEqual([FETCH_FAULT, false])
  }

  test('V12 V13 a list that goes on with what is not available', () => {
    const raw = new RawQueue(packed)
    raw.packed([{ at: 0, flags: AVAIL | NEXT }])
    broken(raw, /not available.*2\.8\.17/)
  })

  test('V13 the wrap counter turns inside a list that does not cross the end', () => {
    const raw = new RawQueue(packed)
    raw.packed([
      { at: 0, flags: AVAIL | NEXT },
      { at: 1, flags: AVAIL2 },
    ])
    broken(raw, /not available/)
  })

  test('V01 V06 a list longer than what is free in the ring', () => {
    const raw = new RawQueue(packed, 4)
    raw.packed([{ at: 0, flags: AVAIL, id: 0 }])
    raw.fetch()
    for (const at of [1, 2, 3]) raw.packed([{ at, flags: AVAIL | NEXT }])
    raw.packed([{ at: 0, flags: AVAIL2, id: 1 }])
    broken(raw, /more descriptors than are free/)
    const whole = new RawQueue(packed, 4)
    for (const at of [0, 1, 2, 3]) whole.packed([{ at, flags: AVAIL | NEXT }])
    broken(whole, /more descriptors than are free/)
  })

  test('V06 more descriptors than the ring has, one at a time', () => {
    const raw = new RawQueue(packed, 2)
    raw.packed([
      { at: 0, flags: AVAIL, id: 0 },
      { at: 1, flags: AVAIL, id: 1 },
    ])
    expect([raw.fetch(), raw.fetch()]).toEqual([FETCH_CHAIN, FETCH_CHAIN])
    raw.packed([{ at: 0, flags: AVAIL2, id: 0 }])
    broken(raw, /more descriptors than are free/)
    expect(raw.queue.inFlight).toBe(2)
  })

  test.each([
    ['out of range', 8, /head 8 is not/],
    ['far out of range', 0xffff, /head 65535 is not/],
    ['in flight', 3, /head 3 was offered again/],
  ])('V13 a buffer id %s', (_name, id, reason) => {
    const raw = new RawQueue(packed)
    raw.packed([{ at: 0, flags: AVAIL, id: 3 }])
    raw.fetch()
    raw.packed([{ at: 1, flags: AVAIL, id }])
    broken(raw, reason)
    // What was taken before still goes back.
    raw.queue.push(3, 0)
    raw.queue.publish()
    expect(raw.slot(0)).toEqual([0, 3, 0x8080])
  })

  test('V08 V03 V04 rules of buffers hold here too', () => {
    const raw = () => new RawQueue(packed)
    const behind = raw()
    behind.packed([
      { at: 0, flags: AVAIL | NEXT | WRITE },
      { at: 1, flags: AVAIL },
    ])
    broken(behind, /readable descriptor behind/)
    const outside = raw()
    outside.packed([{ at: 0, flags: AVAIL, high: 0xffff_ffff, address: 0xffff_fff0, length: 32 }])
    broken(outside, /outside guest memory/)
    const long = raw()
    long.packed([
      { at: 0, flags: AVAIL | NEXT, length: 16 },
      { at: 1, flags: AVAIL, length: 0xffff_fff0 },
    ])
    broken(long, /2\^32-1/)
  })

  test('V02 a descriptor of length 0 is marked, not followed anywhere', () => {
    const raw = new RawQueue(packed)
    raw.packed([{ at: 0, flags: AVAIL, length: 0, high: 0xffff_ffff }])
    expect([raw.fetch(), raw.chain.hasEmptyBuffer, raw.chain.segments]).toEqual([FETCH_CHAIN, true, 0])
  })
})

describe('indirect tables of a packed ring', () => {
  const indirect = { packed: true, indirect: true }
  const table = (length: number, flags = 0) => ({
    at: 0,
    flags: AVAIL | INDIRECT | flags,
    address: TABLE,
    length,
    id: 2,
  })

  test('V13 of a descriptor in it all flags but WRITE, and the id, mean nothing; WRITE means nothing on it (2.8.7)', () => {
    const raw = new RawQueue(indirect)
    raw.packed([table(80, WRITE)])
    raw.packed(
      [
        { at: 0, flags: NEXT, length: 5, id: 9 },
        { at: 1, flags: AVAIL | WRITE, length: 6, id: 0xffff },
        { at: 2, flags: AVAIL2 | WRITE | NEXT, length: 7 },
        { at: 3, flags: INDIRECT | WRITE, address: TABLE, length: 16 },
        { at: 4, flags: 0xffff, length: 1 },
      ],
      TABLE,
    )
    expect([raw.fetch(), raw.chain.head]).toEqual([FETCH_CHAIN, 2])
    expect([raw.chain.readableBytes, raw.chain.writableBytes]).toEqual([5, 30])
    // A buffer like any other, not the table once more.
    expect(raw.segments[3]).toEqual([TABLE, 16])
    expect(raw.queue.save().availIndex).toBe(1)
  })

  test('a table across two regions, and one on no word', () => {
    for (const address of [BORDER - 24, TABLE + 2]) {
      const raw = new RawQueue(indirect)
      raw.packed([{ ...table(48), address }])
      raw.packed(
        [0, 1, 2].map((at) => ({ at, length: at + 1, address: BUFFER + at * 64 })),
        address,
      )
      expect(raw.fetch()).toBe(FETCH_CHAIN)
      expect(raw.segments).toEqual([
        [BUFFER, 1],
        [BUFFER + 64, 2],
        [BUFFER + 128, 3],
      ])
    }
  })

  test.each([
    ['length 0', 0, 0, /0 bytes/],
    ['length 8', 8, 0, /8 bytes/],
    ['length 17', 17, 0, /17 bytes/],
    ['over the limit', 16 * 1025, 0, /1025 descriptors/],
    ['nearly 4 GiB', 0xffff_fff0, 0, /descriptors, more than/],
    ['with NEXT', 16, NEXT, /indirect descriptor in a list/],
  ])('V07 %s', (_name, length, flags, reason) => {
    const raw = new RawQueue(indirect)
    raw.packed([table(length, flags)])
    expect([raw.fetch(), raw.queue.fault]).toEqual([FETCH_FAULT, expect.stringMatching(reason)])
  })

  test('V07 in a list, outside memory, or not agreed', () => {
    const listed = new RawQueue(indirect)
    listed.packed([
      { at: 0, flags: AVAIL | NEXT },
      { at: 1, flags: AVAIL | INDIRECT, address: TABLE, length: 16 },
    ])
    const outside = new RawQueue(indirect)
    outside.packed([{ ...table(64), address: 0xfff0 }])
    const plain = new RawQueue(packed)
    plain.packed([table(16)])
    const reasons = [/in a list/, /table outside guest memory/, /not agreed/]
    for (const [i, raw] of [listed, outside, plain].entries()) {
      expect([raw.fetch(), raw.queue.fault]).toEqual([FETCH_FAULT, expect.stringMatching(reasons[i] as RegExp)])
    }
  })
})

describe('notifications of a packed ring', () => {
  const event = (raw: RawQueue, address: number) => raw.view.getUint32(address, true)

  test('the device says what it wants: nothing, everything, or its next slot', () => {
    const raw = new RawQueue(packed)
    raw.queue.suppressNotifications()
    expect(event(raw, raw.plan.used)).toBe(0x1_0000)
    expect(raw.queue.allowNotifications()).toBe(false)
    expect(event(raw, raw.plan.used)).toBe(0)
    raw.packed([{ at: 0, flags: AVAIL }])
    expect(raw.queue.allowNotifications()).toBe(true)
    const indexed = new RawQueue({ packed: true, eventIndex: true }, 8, {
      availIndex: 5,
      availWrap: true,
      usedIndex: 5,
      usedWrap: true,
    })
    indexed.queue.allowNotifications()
    expect(event(indexed, indexed.plan.used)).toBe(0x2_8005)
  })

  test('the driver is told as it asked, also across a batch of several slots', () => {
    const raw = new RawQueue({ packed: true, eventIndex: true })
    raw.packed([
      { at: 0, flags: AVAIL | NEXT },
      { at: 1, flags: AVAIL | NEXT },
      { at: 2, flags: AVAIL, id: 0 },
      { at: 3, flags: AVAIL, id: 1 },
    ])
    raw.fetch()
    raw.fetch()
    // Slot 1 is never written, but passed.
    raw.view.setUint32(raw.plan.avail, 0x2_8001, true)
    raw.queue.push(0, 0)
    expect(raw.queue.publish()).toBe(true)
    raw.queue.push(1, 0)
    expect(raw.queue.publish()).toBe(false)
    expect(raw.queue.publish()).toBe(false)
  })
})

describe('V09 V18 where a packed queue may lie', () => {
  test.each([1, 3, 7, 255])('size %i need not be a power of two', (size) => {
    expect(new RawQueue(packed, size).queue.size).toBe(size)
  })

  type Config = RawQueue['plan']['config']
  test.each<[string, (config: Config) => void]>([
    ['size 0', (c) => Object.assign(c, { size: 0 })],
    ['size over the maximum', (c) => Object.assign(c, { size: 65 })],
    ['half a size', (c) => Object.assign(c, { size: 7.5 })],
    ['ring unaligned', (c) => Object.assign(c.descriptorTable, { low: 0x1008 })],
    ['event suppression unaligned', (c) => Object.assign(c.availRing, { low: c.availRing.low + 2 })],
    ['the other one unaligned', (c) => Object.assign(c.usedRing, { low: c.usedRing.low + 1 })],
    ['parts overlap', (c) => Object.assign(c.usedRing, { low: c.availRing.low })],
    ['an event suppression in the ring', (c) => Object.assign(c.usedRing, { low: c.descriptorTable.low + 124 })],
    ['ring end past memory', (c) => Object.assign(c.descriptorTable, { low: RAM - 64 })],
    ['on no memory', (c) => Object.assign(c.usedRing, { high: 0xffff_ffff })],
  ])('refused: %s', (_name, change) => {
    const raw = new RawQueue(packed)
    const config = structuredClone(raw.plan.config)
    const create = () => createDeviceQueue(raw.memory, config, 64, { ...NO_FEATURES, packed: true })
    expect(create).not.toThrow()
    change(config)
    expect(create).toThrow(expect.objectContaining({ code: 'EINVAL' }))
  })

  test('a ring may cross from one region into the next, and not a hole; a driver of this library puts it into one', () => {
    const { ram, plan } = new RawQueue(packed)
    const create = (memory: GuestMemory) => {
      return createDeviceQueue(memory, plan.config, 8, { ...NO_FEATURES, packed: true })
    }
    const border = plan.table + 64
    const neighbours = cutMemory(ram, [border])
    expect(create(neighbours)).toBeInstanceOf(MirroredPackedQueue)
    expect(create(cutMemory(ram, [BORDER]))).not.toBeInstanceOf(MirroredPackedQueue)
    const hole = new GuestMemory([
      { address: 0, memory: ram.subarray(0, border) },
      { address: border + 16, memory: ram.subarray(border + 16) },
    ])
    expect(() => create(hole)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
    const driver = () => createDriverQueue(neighbours, plan, { ...NO_FEATURES, packed: true })
    expect(driver).toThrow(expect.objectContaining({ code: 'EINVAL' }))
  })
})
