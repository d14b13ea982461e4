import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { featureSet, VIRTIO_F_EVENT_IDX } from '../../../src/protocols/virtio/features.js'
import {
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
} from '../../../src/protocols/virtio/split-ring.js'
import { BlkMachine, DATA } from '../../support/blk-machine.js'
import { check, cutPlace, DISK, type LegalRequest, same, submit } from '../../support/legal-request.js'

const QUEUE = 64

const legalRequest: fc.Arbitrary<LegalRequest> = fc.record({
  kind: fc.constantFrom('read', 'write', 'flush', 'get-id', 'discard', 'write-zeroes'),
  sector: fc.nat(63),
  sectors: fc.integer({ min: 1, max: 8 }),
  seed: fc.nat(255),
  readCuts: fc.array(cutPlace, { maxLength: 15 }),
  writeCuts: fc.array(cutPlace, { maxLength: 7 }),
})

describe('legal traffic', () => {
  test('any layout, any batch, with and without event index: as a flat disk', async () => {
    const batches = fc.array(fc.array(legalRequest, { minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 8 })
    await fc.assert(
      fc.asyncProperty(batches, fc.boolean(), fc.boolean(), async (list, events, shared) => {
        const machine = new BlkMachine({
          diskBytes: DISK,
          driverQueueSize: QUEUE,
          serial: 'x',
          features: events ? -1n : ~featureSet(VIRTIO_F_EVENT_IDX),
          buffer: shared ? new SharedArrayBuffer(1 << 20) : new ArrayBuffer(1 << 20),
        })
        const model = new Uint8Array(DISK)
        for (const batch of list) {
          const slots = new Map<number, number>()
          // One after the other inside the device too: order is only promised for what does not overlap in flight.
          for (const [slot, request] of batch.entries()) {
            const head = submit(machine, request, slot)
            if (head < 0) continue
            slots.set(head, slot)
            const done = await machine.run()
            expect(done.map((one) => one.head)).toEqual([head])
            check(machine, model, request, slot, done[0]?.used ?? -1)
            machine.driver.queue.enableNotifications()
          }
        }
        expect(same(machine.disk.data, model)).toBe(true)
        expect([machine.device.resetReason, machine.disk.root.inFlight]).toEqual([undefined, 0])
      }),
      { numRuns: 150 },
    )
  }, 120_000)

  test('many in flight, answered in any order', async () => {
    const requests = fc.array(legalRequest, { minLength: 1, maxLength: 12 })
    await fc.assert(
      fc.asyncProperty(requests, fc.infiniteStream(fc.nat()), async (list, order) => {
        const machine = new BlkMachine({ diskBytes: DISK, driverQueueSize: 256, queueSize: 256, serial: 'x' })
        machine.disk.held = []
        const model = new Uint8Array(DISK)
        // Ranges are made disjoint, so that the outcome does not depend on the order.
        const placed = list.map((request, i) => ({ ...request, sector: i * 5, sectors: Math.min(request.sectors, 4) }))
        const slots = new Map(placed.map((request, slot) => [submit(machine, request, slot), slot]))
        machine.driver.kick()
        const done: { head: number; used: number }[] = []
        for (let turn = 0; turn < 200 && done.length < list.length; turn++) {
          await machine.settle()
          const { held } = machine.disk
          const next = held[(order.next().value as number) % Math.max(held.length, 1)]
          if (next !== undefined) {
            held.splice(held.indexOf(next), 1)
            next.settle()
            await machine.settle()
          }
          done.push(...machine.reap())
        }
        expect(done.map((one) => one.head).sort()).toEqual([...slots.keys()].sort())
        for (const { head, used } of done) {
          const slot = slots.get(head) as number
          check(machine, model, placed[slot] as LegalRequest, slot, used)
        }
        expect(same(machine.disk.data, model)).toBe(true)
        expect(machine.driver.queue.free).toBe(256)
      }),
      { numRuns: 60 },
    )
  }, 120_000)
})

/** A descriptor of a driver of bad faith: near enough to good to get far. */
const hostileDescriptor = fc.record({
  address: fc.oneof(
    fc
      .constantFrom(DATA, DATA + 16, DATA + 512, 0x1000, 0x2000, 0xf_ffff, 0x10_0000, 0xffff_ffff)
      .map((low) => ({ high: 0, low })),
    fc.record({ high: fc.constantFrom(0, 0, 0, 1, 0x20_0000, 0xffff_ffff), low: fc.nat(0xf_ffff) }),
  ),
  length: fc.oneof(fc.constantFrom(0, 1, 15, 16, 17, 32, 512, 513, 1024, 0xffff_ffff, 0x8000_0000), fc.nat(4096)),
  flags: fc.oneof(
    {
      weight: 8,
      arbitrary: fc.constantFrom(0, VIRTQ_DESC_F_NEXT, VIRTQ_DESC_F_WRITE, VIRTQ_DESC_F_NEXT | VIRTQ_DESC_F_WRITE),
    },
    { weight: 1, arbitrary: fc.constantFrom(VIRTQ_DESC_F_INDIRECT, 7, 0xfff8, 0xffff) },
  ),
  next: fc.oneof(
    { weight: 9, arbitrary: fc.nat(15) },
    { weight: 1, arbitrary: fc.constantFrom(16, 17, 0x8000, 0xffff) },
  ),
})

const hostileRing = fc.record({
  table: fc.array(hostileDescriptor, { minLength: 16, maxLength: 16 }),
  heads: fc.array(
    fc.oneof({ weight: 12, arbitrary: fc.nat(15) }, { weight: 1, arbitrary: fc.constantFrom(16, 0xffff) }),
    {
      minLength: 1,
      maxLength: 16,
    },
  ),
  skew: fc.oneof(
    { weight: 10, arbitrary: fc.constant(0) },
    { weight: 1, arbitrary: fc.constantFrom(1, -1, 17, 0x8000) },
  ),
  type: fc.oneof(fc.constantFrom(0, 1, 4, 8, 11, 13), fc.nat(0xffff)),
  sector: fc.oneof(fc.nat(80), fc.record({ high: fc.nat(0xffff_ffff), low: fc.nat(0xffff_ffff) })),
  junk: fc.uint8Array({ minLength: 0, maxLength: 64 }),
  events: fc.boolean(),
  flags: fc.constantFrom(0, 1, 0xffff),
  held: fc.boolean(),
})

describe('hostile rings', () => {
  test('success, an I/O error, or one plea for a reset; never an exception, a spin or a wedge', async () => {
    await fc.assert(
      fc.asyncProperty(hostileRing, async (ring) => {
        const machine = new BlkMachine({
          diskBytes: DISK,
          features: ring.events ? -1n : ~featureSet(VIRTIO_F_EVENT_IDX),
        })
        const { plan } = machine.driver
        if (ring.held) machine.disk.held = []
        machine.ram.set(ring.junk, DATA + 16)
        machine.header(ring.type, ring.sector, DATA)
        machine.view.setUint16(plan.avail, ring.flags, true)
        ring.table.forEach((descriptor, i) => void machine.chain([descriptor], i))
        for (const head of ring.heads) machine.offer(head)
        machine.availIndex = (machine.availIndex + ring.skew) & 0xffff
        machine.device.kick(0)
        await machine.settle()
        for (let i = 0; i < 40 && machine.disk.held !== undefined && machine.disk.held.length > 0; i++) {
          for (const held of machine.disk.held.splice(0)) held.settle()
          await machine.settle()
        }
        // Every head that was taken is back, none came back twice, and lengths are possible.
        expect(machine.usedIndex).toBeLessThanOrEqual(16)
        expect(machine.disk.root.inFlight).toBe(0)
        expect(machine.disk.root.busy()).toBe(false)
        expect(machine.configNotifications).toBe(machine.device.resetReason === undefined ? 0 : 1)
        if (machine.device.resetReason === undefined && ring.skew === 0) {
          expect(machine.usedIndex).toBe(ring.heads.length)
        }
        machine.disk.held = undefined
        await machine.restart()
        expect(await machine.works()).toBe(true)
      }),
      { numRuns: 3000 },
    )
  }, 120_000)

  test('a good ring with one word changed', async () => {
    const word = fc.record({ at: fc.nat(16 * 16 + 6 + 32), value: fc.integer({ min: 0, max: 0xffff }) })
    await fc.assert(
      fc.asyncProperty(fc.array(word, { minLength: 1, maxLength: 3 }), async (words) => {
        const machine = new BlkMachine({ diskBytes: DISK })
        for (let i = 0; i < 5; i++) machine.driver.submitRead(i, DATA + i * 512, 512)
        for (const { at, value } of words) machine.view.setUint16(machine.driver.plan.table + (at & ~1), value, true)
        machine.availIndex = 5
        machine.device.kick(0)
        await machine.settle()
        expect(machine.usedIndex).toBeLessThanOrEqual(16)
        expect(machine.disk.root.busy()).toBe(false)
        await machine.restart()
        expect(await machine.works()).toBe(true)
      }),
      { numRuns: 1000 },
    )
  }, 120_000)
})
