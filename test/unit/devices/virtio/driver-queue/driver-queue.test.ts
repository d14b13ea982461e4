import { describe, expect, test } from 'vitest'
import { AssertionFailure } from '../../../../../src/common/assert.js'
import { createDriverQueue } from '../../../../../src/devices/virtio/driver-queue/create-driver-queue.js'
import type { DriverQueue } from '../../../../../src/devices/virtio/driver-queue/driver-queue.js'
import { planQueue } from '../../../../../src/devices/virtio/driver-queue/queue-plan.js'
import { GuestMemory } from '../../../../../src/devices/virtio/memory/guest-memory.js'
import type { QueueFeatures } from '../../../../../src/devices/virtio/queue/create-queue.js'
import { decodePackedDescriptor } from '../../../../../src/protocols/virtio/packed-ring.js'
import { decodeDescriptor } from '../../../../../src/protocols/virtio/split-ring.js'
import { NO_FEATURES } from '../../../../support/raw-queue.js'

const SIZE = 4
const RAM = 0x4000

interface Guest {
  queue: DriverQueue
  view: DataView
  ram: Uint8Array
}

function guest(features: Partial<QueueFeatures>, tableEntries = 0): Guest {
  const ram = new Uint8Array(RAM)
  // A driver begins with empty rings, whatever was there.
  ram.fill(0xff)
  const memory = new GuestMemory([{ address: 0, memory: ram }])
  const plan = planQueue(0x1000, SIZE, { packed: features.packed ?? false, tableEntries })
  return {
    queue: createDriverQueue(memory, plan, { ...NO_FEATURES, ...features }),
    view: new DataView(ram.buffer),
    ram,
  }
}

/** Adds a chain of so many buffers of 16 bytes, the last one writable. */
function add(queue: DriverQueue, buffers: number): number {
  const head = queue.begin(buffers)
  if (head < 0) return head
  for (let i = 1; i <= buffers; i++) queue.append(0x2000 + 16 * i, 16, i === buffers)
  queue.end()
  return head
}

describe('where a queue lies', () => {
  test('each part on a cache line of its own; the tables behind', () => {
    const split = planQueue(0x1001, 4, { tableEntries: 3 })
    expect([split.table, split.avail, split.used, split.tables, split.end]).toEqual([
      0x1040, 0x1080, 0x10c0, 0x1100, 0x11c0,
    ])
    expect(split.config).toEqual({
      size: 4,
      descriptorTable: { high: 0, low: 0x1040 },
      availRing: { high: 0, low: 0x1080 },
      usedRing: { high: 0, low: 0x10c0 },
    })
    const packed = planQueue(0x1000, 4, { packed: true })
    expect([packed.table, packed.avail, packed.used, packed.end]).toEqual([0x1000, 0x1040, 0x1080, 0x1084])
    for (const size of [1, 2, 64, 32768]) {
      expect(planQueue(0, size, { packed: true }).end).toBeLessThanOrEqual(planQueue(0, size).end)
    }
  })

  test('a part, or the tables, outside memory', () => {
    const memory = new GuestMemory([{ address: 0, memory: new ArrayBuffer(0x1090) }])
    const create = (packed: boolean, tableEntries: number, at: number) => () =>
      createDriverQueue(memory, planQueue(at, SIZE, { packed, tableEntries }), {
        ...NO_FEATURES,
        packed,
        indirect: true,
      })
    expect(create(false, 0, 0x1000)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
    expect(create(true, 8, 0x1000)).toThrow(/indirect tables/)
    expect(create(true, 0, 0x1000)).not.toThrow()
  })
})

describe('what a split driver writes', () => {
  test('a chain, its entry, and the index when it is published', () => {
    const { queue, view, ram } = guest({})
    expect([...ram.subarray(0x1000, 0x1000 + 64)].every((byte) => byte === 0)).toBe(true)
    const head = add(queue, 3)
    const at = (index: number) => decodeDescriptor(view, queue.plan.table + 16 * index)
    const second = at(head).next
    const third = at(second).next
    expect([at(head), at(second), at(third)]).toEqual([
      { addressHigh: 0, addressLow: 0x2010, length: 16, flags: 1, next: second },
      { addressHigh: 0, addressLow: 0x2020, length: 16, flags: 1, next: third },
      { addressHigh: 0, addressLow: 0x2030, length: 16, flags: 2, next: 0 },
    ])
    expect(new Set([head, second, third]).size).toBe(3)
    expect(view.getUint16(queue.plan.avail + 2, true)).toBe(0)
    expect([queue.publish(), queue.publish()]).toEqual([true, false])
    expect([view.getUint16(queue.plan.avail + 2, true), view.getUint16(queue.plan.avail + 4, true)]).toEqual([1, head])
    expect([queue.free, queue.inFlight, add(queue, 2)]).toEqual([1, 1, -1])
  })

  test('a table for a chain, with one descriptor of the queue', () => {
    const { queue, view } = guest({ indirect: true }, 3)
    const head = add(queue, 3)
    const table = queue.plan.tables + head * 48
    expect(decodeDescriptor(view, queue.plan.table + 16 * head)).toEqual({
      addressHigh: 0,
      addressLow: table,
      length: 48,
      flags: 4,
      next: 0,
    })
    expect([0, 1, 2].map((i) => decodeDescriptor(view, table + 16 * i))).toMatchObject([
      { flags: 1, next: 1, addressLow: 0x2010 },
      { flags: 1, next: 2, addressLow: 0x2020 },
      { flags: 2, addressLow: 0x2030 },
    ])
    expect(queue.free).toBe(3)
    // One buffer needs none, four do not fit in one.
    const single = add(queue, 1)
    expect(decodeDescriptor(view, queue.plan.table + 16 * single)).toMatchObject({ flags: 2, addressLow: 0x2010 })
    expect([add(queue, 4), queue.free]).toEqual([-1, 2])
  })

  test('in order: descriptors in ring order, over the end of the table (2.7.5.2)', () => {
    const { queue, view } = guest({ inOrder: true })
    expect([add(queue, 3), add(queue, 1)]).toEqual([0, 3])
    queue.publish()
    // One element for both.
    view.setUint32(queue.plan.used + 4, 3, true)
    view.setUint32(queue.plan.used + 8, 9, true)
    view.setUint16(queue.plan.used + 2, 2, true)
    expect([queue.reap(), queue.usedLength, queue.reap(), queue.usedLength, queue.reap()]).toEqual([0, 16, 3, 9, -1])
    add(queue, 3)
    expect(add(queue, 1)).toBe(3)
    queue.publish()
    view.setUint32(queue.plan.used + 4 + 16, 0, true)
    view.setUint16(queue.plan.used + 2, 3, true)
    expect(queue.reap()).toBe(0)
    expect(add(queue, 2)).toBe(0)
    expect(decodeDescriptor(view, queue.plan.table)).toMatchObject({ flags: 1, next: 1 })
  })

  test.each([true, false])('notifications are asked for by event index or flag (event index: %s)', (eventIndex) => {
    const { queue, view } = guest({ eventIndex })
    const { avail, used } = queue.plan
    queue.enableNotifications(3)
    expect([view.getUint16(avail, true), view.getUint16(avail + 4 + 8, true)]).toEqual([0, eventIndex ? 2 : 0])
    queue.disableNotifications()
    expect([view.getUint16(avail, true), view.getUint16(avail + 12, true)]).toEqual(eventIndex ? [0, 0xffff] : [1, 0])
    // The device does not want to be kicked: by its event index, far ahead, or by its flag.
    view.setUint16(used, 1, true)
    view.setUint16(used + 4 + 32, 7, true)
    add(queue, 1)
    expect(queue.publish()).toBe(false)
  })
})

describe('what a packed driver writes', () => {
  test('a list with its id in the last descriptor, whose first flags are written last', () => {
    const { queue, view } = guest({ packed: true })
    const id = add(queue, 2)
    const at = (slot: number) => decodePackedDescriptor(view, queue.plan.table + 16 * slot)
    expect([at(0).flags, at(1).flags, at(1).id]).toEqual([0, 0x82, id])
    expect([queue.publish(), queue.publish()]).toEqual([true, false])
    expect(at(0)).toMatchObject({ flags: 0x81, addressLow: 0x2010, length: 16 })
    expect([queue.free, add(queue, 3)]).toEqual([2, -1])
    // Two more and the ring is full; then the wrap counter turns.
    const second = add(queue, 2)
    expect(second).not.toBe(id)
    queue.publish()
    view.setUint16(queue.plan.table + 12, second, true)
    view.setUint16(queue.plan.table + 14, 0x8080, true)
    expect([queue.pending(), queue.reap(), queue.usedLength]).toEqual([1, second, 0])
    add(queue, 2)
    queue.publish()
    expect([at(0).flags, at(1).flags]).toEqual([0x8001, 0x8002])
  })

  test('a table for a list: only WRITE in it (2.8.19)', () => {
    const { queue, view } = guest({ packed: true, indirect: true }, 3)
    const id = add(queue, 3)
    queue.publish()
    const table = queue.plan.tables + id * 48
    expect(decodePackedDescriptor(view, queue.plan.table)).toEqual({
      addressHigh: 0,
      addressLow: table,
      length: 48,
      id,
      flags: 0x84,
    })
    expect([0, 1, 2].map((i) => decodePackedDescriptor(view, table + 16 * i).flags)).toEqual([0, 0, 2])
  })

  test('in order: one used descriptor for a batch', () => {
    const { queue, view } = guest({ packed: true, inOrder: true })
    const ids = [add(queue, 2), add(queue, 1), add(queue, 1)]
    queue.publish()
    view.setUint32(queue.plan.table + 8, 7, true)
    view.setUint32(queue.plan.table + 12, (ids[1] as number) | 0x8082_0000, true)
    expect(queue.pending()).toBe(2)
    expect([queue.reap(), queue.usedLength, queue.pending()]).toEqual([ids[0], 16, 1])
    expect([queue.reap(), queue.usedLength, queue.pending(), queue.reap()]).toEqual([ids[1], 7, 0, -1])
    view.setUint32(queue.plan.table + 48 + 12, (ids[2] as number) | 0x8080_0000, true)
    expect([queue.reap(), queue.usedLength, queue.free]).toEqual([ids[2], 0, 4])
  })

  test('notifications: by slot and wrap counter, counted in descriptors of a chain of the mean length', () => {
    const { queue, view } = guest({ packed: true, eventIndex: true })
    const asked = () => view.getUint32(queue.plan.avail, true)
    queue.enableNotifications()
    expect(asked()).toBe(0x2_8000)
    add(queue, 2)
    add(queue, 2)
    queue.publish()
    expect(queue.enableNotifications(2)).toBe(false)
    expect(asked()).toBe(0x2_8002)
    queue.enableNotifications(9)
    expect(asked()).toBe(0x2_8003)
    queue.disableNotifications()
    expect(asked()).toBe(0x1_0000)
  })
})

describe('a device that does not keep to the rules', () => {
  const rejects = (act: () => unknown, reason: RegExp) =>
    expect(act).toThrow(expect.objectContaining({ code: 'EPROTO', message: expect.stringMatching(reason) }))

  test.each([true, false])('split: heads it does not have, more than it has, and twice (in order: %s)', (inOrder) => {
    const returned = (id: number, index: number) => {
      const { queue, view } = guest({ inOrder })
      add(queue, 1)
      add(queue, 1)
      queue.publish()
      view.setUint32(queue.plan.used + 4, id, true)
      view.setUint32(queue.plan.used + 12, id, true)
      view.setUint16(queue.plan.used + 2, index, true)
      return queue
    }
    for (const id of [2, 4, 0xffff_ffff]) rejects(() => returned(id, 1).reap(), /does not have/)
    rejects(() => returned(0, 3).reap(), /returned 3 chains of 2/)
    rejects(() => returned(0, 0xffff).pending(), /of 2/)
    const twice = returned(0, 2)
    expect(twice.reap()).toBe(0)
    rejects(() => twice.reap(), /returned 0/)
  })

  test('split, in order: a batch that is larger than the index moved', () => {
    const { queue, view } = guest({ inOrder: true })
    for (let i = 0; i < 3; i++) add(queue, 1)
    queue.publish()
    view.setUint32(queue.plan.used + 4, 2, true)
    view.setUint16(queue.plan.used + 2, 2, true)
    expect(queue.reap()).toBe(0)
    rejects(() => queue.reap(), /not among the oldest/)
  })

  test.each([true, false])('packed: ids it does not have (in order: %s)', (inOrder) => {
    for (const id of [2, 4, 0xffff]) {
      const { queue, view } = guest({ packed: true, inOrder })
      add(queue, 1)
      add(queue, 1)
      queue.publish()
      view.setUint32(queue.plan.table + 12, id | 0x8080_0000, true)
      rejects(() => queue.reap(), /does not have/)
      rejects(() => queue.pending(), /does not have/)
    }
  })
})

test('a chain with fewer buffers than were begun is a mistake of the caller', () => {
  for (const packed of [false, true]) {
    const { queue } = guest({ packed })
    queue.begin(2)
    queue.append(0x2000, 1, false)
    expect(() => queue.end()).toThrow(AssertionFailure)
  }
})
